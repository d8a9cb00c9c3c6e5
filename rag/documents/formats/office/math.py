"""Equations of Office files as one line of text: a fraction as a/b, a power as x^2, a root as √(x)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rag.documents.formats.office.ooxml import child, long, short

_SKIPPED = {"m:rPr", "m:ctrlPr", "w:rPr", "w:del", "w:moveFrom", "w:delText", "w:instrText", "a:rPr"}


@dataclass(slots=True)
class _Part:
    """An element under way: the texts of its children, each with the child's name."""

    name: str
    element: Any
    texts: list[tuple[str, str]] = field(default_factory=list)

    def all(self, *names: str) -> list[str]:
        return [text for name, text in self.texts if not names or name in names]

    def of(self, name: str) -> str:
        return "".join(self.all(name))


def equation(element: Any) -> str:
    """The text of <m:oMath> or <m:oMathPara>: every letter of it, once, in the order in which it is read aloud."""
    from lxml import etree

    stack = [_Part("", None)]
    walker = etree.iterwalk(element, events=("start", "end"))
    for event, node in walker:
        name = short(node.tag)
        if event == "start":
            if name in _SKIPPED:
                walker.skip_subtree()
            stack.append(_Part(name, node))
        else:
            part = stack.pop()
            stack[-1].texts.append((name, "" if name in _SKIPPED else _written(part)))
    return "".join(stack[0].all()).strip()


def _written(part: _Part) -> str:
    if part.name in ("m:t", "w:t", "a:t"):
        return part.element.text or ""
    if part.name == "m:oMathPara":
        return "\n".join(filter(None, part.all("m:oMath")))
    write = _WRITERS.get(part.name)
    return write(part) if write else "".join(part.all())


def _one(text: str) -> str:
    """The text as one operand: in brackets where it is more than a word or number."""
    return text if text.isalnum() or len(text) < 2 else f"({text})"


def _scripts(part: _Part) -> str:
    below = part.of("m:sub") or part.of("m:lim") * (part.name == "m:limLow")
    above = part.of("m:sup") or part.of("m:lim") * (part.name == "m:limUpp")
    return (f"_{_one(below)}" if below else "") + (f"^{_one(above)}" if above else "")


def _property(part: _Part, name: str, default: str) -> str:
    found = child(part.element, f"{part.name}Pr", name)
    return default if found is None else found.get(long("m:val"), "")


def _fraction(part: _Part) -> str:
    return f"{_one(part.of('m:num'))}/{_one(part.of('m:den'))}"


def _power(part: _Part) -> str:
    return part.of("m:e") + _scripts(part)


def _before(part: _Part) -> str:
    return _scripts(part) + part.of("m:e")


def _root(part: _Part) -> str:
    return f"{part.of('m:deg')}√{_one(part.of('m:e'))}"


def _sum(part: _Part) -> str:
    return f"{_property(part, 'm:chr', '∫')}{_scripts(part)} {part.of('m:e')}"


def _brackets(part: _Part) -> str:
    inside = _property(part, "m:sepChr", "|").join(part.all("m:e"))
    return _property(part, "m:begChr", "(") + inside + _property(part, "m:endChr", ")")


def _function(part: _Part) -> str:
    return f"{part.of('m:fName')} {part.of('m:e')}"


def _lines(part: _Part) -> str:
    return "; ".join(part.all("m:e", "m:mr"))


def _cells(part: _Part) -> str:
    return ", ".join(part.all("m:e"))


_WRITERS = {
    "m:f": _fraction,
    "m:sSup": _power,
    "m:sSub": _power,
    "m:sSubSup": _power,
    "m:limLow": _power,
    "m:limUpp": _power,
    "m:sPre": _before,
    "m:rad": _root,
    "m:nary": _sum,
    "m:d": _brackets,
    "m:func": _function,
    "m:eqArr": _lines,
    "m:m": _lines,
    "m:mr": _cells,
}
