"""Formulas of LaTeX as MathML, which browsers draw by themselves.

latex2mathml makes the tree; it is written here, since that package writes what a formula says without escaping it.
"""

from __future__ import annotations

import functools
import re
from html import escape, unescape
from xml.etree.ElementTree import Element

MAX_CHARACTERS = 1_000
MAX_DEPTH = 30
"""Braces within braces, and elements within elements. Deeper ones are shown as they are written."""

ELEMENTS = (
    "math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts "
    "mprescripts mtable mtr mtd mlabeledtr mstyle mpadded mphantom menclose none"
)
ATTRIBUTES = (
    "display displaystyle scriptlevel stretchy fence form separator accent accentunder movablelimits largeop "
    "mathvariant columnalign rowspacing columnspacing linethickness lspace rspace width minsize maxsize notation "
    "symmetric"
)
_ELEMENTS, _ATTRIBUTES = frozenset(ELEMENTS.split()), frozenset(ATTRIBUTES.split())
_VALUE = re.compile(r"[a-z-]{1,20}(?: [a-z-]{1,20}){0,20}|[+-]?\d{0,2}(?:\.\d{1,4})?(?:em|ex|px|pt|mu|%)?")
_FORBIDDEN = re.compile(
    r"\\(?:(?:re)?new|provide|declare|def|let|gdef|edef|href|url|class|style|input|include|require|text?color|color|"
    r"f?colorbox|verb|catcode|csname|mathchoice|rule|raise|lower|move|kern|mkern|hskip|mskip|hspace|mspace)",
    re.I,
)
"""Commands that define others, load something or move things about: a formula with one is shown as it is written."""


@functools.lru_cache(maxsize=512)
def mathml(latex: str, *, block: bool = False) -> str:
    """A formula as MathML; "" where it cannot be read, is too long or too deep, or latex2mathml is not installed."""
    latex = latex.strip()
    if not latex or len(latex) > MAX_CHARACTERS or _FORBIDDEN.search(latex) or _depth(latex) > MAX_DEPTH:
        return ""
    try:
        from latex2mathml.converter import Converter
    except ImportError:
        return ""
    try:
        tree = Converter(display="block" if block else "inline").convert_to_element(latex)
        return _written(tree)
    except Exception:  # whatever it stumbles over, which is not always one of its own errors
        return ""


def _depth(latex: str) -> int:
    """How deep a formula may become: its braces within braces, and commands that hold what follows them."""
    deepest = depth = 0
    for ch in latex:
        depth = max(depth + (ch == "{") - (ch == "}"), 0)
        deepest = max(deepest, depth)
    return max(deepest, latex.count(r"\left"), latex.count(r"\begin"), latex.count(r"\sqrt"))


def _written(element: Element, depth: int = 0) -> str:
    """An element with all that it holds; raises ValueError for one that is no part of a formula, or lies too deep."""
    if element.tag not in _ELEMENTS or depth > 4 * MAX_DEPTH:
        raise ValueError(element.tag)
    attributes = "".join(
        f' {name}="{escape(value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and _VALUE.fullmatch(value)
    )
    inner = "".join(_written(child, depth + 1) + _text(child.tail) for child in element)
    return f"<{element.tag}{attributes}>{_text(element.text)}{inner}</{element.tag}>"


def _text(text: str | None) -> str:
    """The package writes signs as character references."""
    return escape(unescape(text or ""))
