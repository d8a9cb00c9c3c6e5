"""How a PDF's page is shown: from the coordinates of the file to those of the page.

Places are in points as the page is shown, turned pages turned: x to the right, y downwards, (0, 0) at the top left.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, top, right, bottom
_SAMPLED = 15  # characters of a page that are asked for their direction


@dataclass(frozen=True, slots=True)
class View:
    """From the coordinates of a PDF's page to those that it is shown in."""

    left: float
    bottom: float
    right: float
    top: float
    rotation: int

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the page as it is shown."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.rotation in (90, 270) else (width, height)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point of the page as it is shown."""
        if self.rotation == 90:
            return y - self.bottom, x - self.left
        if self.rotation == 180:
            return self.right - x, y - self.bottom
        if self.rotation == 270:
            return self.top - y, self.right - x
        return x - self.left, self.top - y

    def back(self, x: float, y: float) -> tuple[float, float]:
        """The point of the PDF that is shown at a point."""
        if self.rotation == 90:
            return y + self.left, x + self.bottom
        if self.rotation == 180:
            return self.right - x, y + self.bottom
        if self.rotation == 270:
            return self.right - y, self.top - x
        return x + self.left, self.top - y

    def box(self, left: float, bottom: float, right: float, top: float) -> Box:
        """A rectangle of the page as it is shown."""
        x0, y0 = self.point(left, bottom)
        x1, y1 = self.point(right, top)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def view_of(page) -> View:
    """The view of a page of pypdfium2."""
    left, bottom, right, top = page.get_bbox()
    return View(left, bottom, right, top, page.get_rotation())


def upright_view(page, text_page) -> View:
    """The view of a page in which most of its text stands upright, whichever way the page is shown."""
    from pypdfium2.raw import FPDFText_GetCharAngle

    view = view_of(page)
    n_chars = text_page.count_chars()
    asked = [FPDFText_GetCharAngle(text_page.raw, n) for n in range(0, n_chars, max(n_chars // _SAMPLED, 1))]
    turns = [round(angle / (math.pi / 2)) % 4 for angle in asked if angle > 0]  # clockwise; 0 for spaces, too
    if len(turns) * 2 <= len(asked):
        return dataclasses.replace(view, rotation=0) if asked else view
    return dataclasses.replace(view, rotation=-90 * max(set(turns), key=turns.count) % 360)
