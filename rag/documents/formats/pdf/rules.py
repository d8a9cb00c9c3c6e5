"""The ruling lines of a PDF's page, and the grids that they make."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rag.documents.formats.pdf.view import Box, View

_THIN = 3.0  # points; a rectangle no thicker is a line
_SHORTEST = 6.0  # points of a line that may rule a table
_MAX_OBJECTS = 20_000
_MAX_RULES = 3_000  # a drawing has more
_MAX_SEGMENTS = 1_500  # of one path
_MAX_DEPTH = 8  # of drawings inside drawings
_NEAR = 3.0  # points between lines that touch

Matrix = tuple[float, float, float, float, float, float]
_PLAIN: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(slots=True)
class Rules:
    """Lines across (y, from x, to x) and upright (x, from y, to y), in points of the page as shown."""

    across: list[tuple[float, float, float]] = field(default_factory=list)
    upright: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Add the line from one point to another, if it is one across or upright."""
        if abs(y1 - y0) <= 1 and abs(x1 - x0) >= _SHORTEST:
            self.across.append(((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
        elif abs(x1 - x0) <= 1 and abs(y1 - y0) >= _SHORTEST:
            self.upright.append(((x0 + x1) / 2, min(y0, y1), max(y0, y1)))

    def add_box(self, box: Box) -> None:
        """Add a thin rectangle as a line, another as its four sides."""
        x0, y0, x1, y1 = box
        if y1 - y0 <= _THIN:
            self.add(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2)
        elif x1 - x0 <= _THIN:
            self.add((x0 + x1) / 2, y0, (x0 + x1) / 2, y1)
        else:
            for line in ((x0, y0, x1, y0), (x0, y1, x1, y1), (x0, y0, x0, y1), (x1, y0, x1, y1)):
                self.add(*line)


@dataclass(frozen=True, slots=True)
class Grid:
    """Crossing lines: `xs` and `ys` are where they stand, `across` and `upright` the lines themselves."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    across: tuple[tuple[float, float, float], ...]
    upright: tuple[tuple[float, float, float], ...]

    @property
    def box(self) -> Box:
        """The rectangle around it."""
        return self.xs[0], self.ys[0], self.xs[-1], self.ys[-1]

    def walls(self, x: float) -> list[tuple[float, float]]:
        """From where to where upright lines stand at a place."""
        return [(low - 1, high + 1) for place, low, high in self.upright if abs(place - x) <= _NEAR]

    def floors(self, y: float) -> list[tuple[float, float]]:
        """From where to where lines across stand at a place."""
        return [(low - 1, high + 1) for place, low, high in self.across if abs(place - y) <= _NEAR]


def read_rules(page, view: View) -> Rules:
    """The ruling lines of a page of pypdfium2; none of a page that is drawn like a map."""
    import pypdfium2.raw as pdfium

    rules = Rules()
    n_seen = 0
    stack: list[tuple[Callable, object, int, Matrix, int]] = [
        (pdfium.FPDFPage_GetObject, page.raw, pdfium.FPDFPage_CountObjects(page.raw), _PLAIN, 0)
    ]
    while stack:
        get, holder, n_objects, outer, depth = stack.pop()
        for n in range(n_objects):
            n_seen += 1
            if n_seen > _MAX_OBJECTS or len(rules.across) + len(rules.upright) > _MAX_RULES:
                return Rules()
            item = get(holder, n)
            kind = pdfium.FPDFPageObj_GetType(item)
            if kind == pdfium.FPDF_PAGEOBJ_PATH:
                _add_path(rules, item, outer, view)
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _MAX_DEPTH:
                inner = _times(_matrix(item), outer)
                count = pdfium.FPDFFormObj_CountObjects(item)
                stack.append((pdfium.FPDFFormObj_GetObject, item, count, inner, depth + 1))
    return rules


def _add_path(rules: Rules, path, outer: Matrix, view: View) -> None:
    """Add the lines of a path: its straight pieces."""
    import pypdfium2.raw as pdfium

    n_segments = pdfium.FPDFPath_CountSegments(path)
    if not 2 <= n_segments <= _MAX_SEGMENTS:
        return
    matrix = _times(_matrix(path), outer)
    x, y = ctypes.c_float(), ctypes.c_float()
    here = start = (0.0, 0.0)
    pieces: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for n in range(n_segments):
        segment = pdfium.FPDFPath_GetPathSegment(path, n)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = view.point(*_moved(matrix, x.value, y.value))
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            pieces.append((here, point))
        here = point
        if pdfium.FPDFPathSegment_GetClose(segment):
            pieces.append((here, start))
            here = start
    _add_pieces(rules, pieces)


def _add_pieces(rules: Rules, pieces: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """Add straight pieces: a thin rectangle as one line, others as they are."""
    points = [point for piece in pieces for point in piece]
    if not points:
        return
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if max(xs) - min(xs) <= _THIN or max(ys) - min(ys) <= _THIN:
        rules.add_box((min(xs), min(ys), max(xs), max(ys)))
        return
    for (x0, y0), (x1, y1) in pieces:
        rules.add(x0, y0, x1, y1)


def _matrix(item) -> Matrix:
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(item, matrix):
        return _PLAIN
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _times(a: Matrix, b: Matrix) -> Matrix:
    """First `a`, then `b`."""
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
        a[4] * b[0] + a[5] * b[2] + b[4],
        a[4] * b[1] + a[5] * b[3] + b[5],
    )


def _moved(m: Matrix, x: float, y: float) -> tuple[float, float]:
    return m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5]


def grids_of(rules: Rules) -> list[Grid]:
    """The grids that lines make: at least two lines each way that touch each other."""
    across, upright = _merged(rules.across), _merged(rules.upright)
    if len(across) < 2 or len(upright) < 2 or len(across) * len(upright) > 250_000:
        return []
    grids = []
    for group_across, group_upright in _touching(across, upright):
        if len(group_across) < 2 or len(group_upright) < 1:
            continue
        xs = _places([line[0] for line in group_upright])
        ys = _places([line[0] for line in group_across])
        left, right = min(line[1] for line in group_across), max(line[2] for line in group_across)
        top, bottom = min(line[1] for line in group_upright), max(line[2] for line in group_upright)
        xs = [*([left] if left < xs[0] - 10 else []), *xs, *([right] if right > xs[-1] + 10 else [])]
        ys = [*([top] if top < ys[0] - 6 else []), *ys, *([bottom] if bottom > ys[-1] + 6 else [])]
        if len(xs) > 1 and len(ys) > 1:
            grids.append(Grid(tuple(xs), tuple(ys), tuple(group_across), tuple(group_upright)))
    return grids


def _merged(lines: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Lines one behind the other, or nearly one upon the other, made one."""
    merged: list[tuple[float, float, float]] = []
    for group in _groups(sorted(lines)):
        place = sum(line[0] for line in group) / len(group)
        start, end = None, 0.0
        for _, low, high in sorted(group, key=lambda line: line[1]):
            if start is not None and low <= end + _NEAR:
                end = max(end, high)
                continue
            if start is not None:
                merged.append((place, start, end))
            start, end = low, high
        if start is not None:
            merged.append((place, start, end))
    return merged


def _groups(lines: list[tuple[float, float, float]]) -> Iterator[list[tuple[float, float, float]]]:
    """Sorted lines whose places are nearly the same."""
    group: list[tuple[float, float, float]] = []
    for line in lines:
        if group and line[0] - group[0][0] > _NEAR:
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _touching(across: list, upright: list) -> Iterator[tuple[list, list]]:
    """The lines that touch one another, directly or by others."""
    free_across, free_upright = set(range(len(across))), set(range(len(upright)))
    while free_across:
        taken_across, taken_upright = {free_across.pop()}, set()
        fresh_across = set(taken_across)
        while fresh_across:
            fresh_upright = {v for v in free_upright if any(_touch(across[h], upright[v]) for h in fresh_across)}
            free_upright -= fresh_upright
            taken_upright |= fresh_upright
            fresh_across = {h for h in free_across if any(_touch(across[h], upright[v]) for v in fresh_upright)}
            free_across -= fresh_across
            taken_across |= fresh_across
        yield [across[h] for h in sorted(taken_across)], [upright[v] for v in sorted(taken_upright)]


def _touch(across: tuple[float, float, float], upright: tuple[float, float, float]) -> bool:
    y, x0, x1 = across
    x, y0, y1 = upright
    return x0 - _NEAR <= x <= x1 + _NEAR and y0 - _NEAR <= y <= y1 + _NEAR


def _places(values: list[float]) -> list[float]:
    """Sorted values, those nearly the same once."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > _NEAR:
            places.append(value)
    return places
