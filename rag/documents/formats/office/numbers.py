"""Numbers as a spreadsheet shows them, by their formats."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction

from rag.documents.formats.office.dates import shown_date
from rag.documents.formats.office.formats import Section, sections_of


def shown_number(value: str, code: str, date1904: bool = False) -> str:
    """A stored number as its format shows it; one that cannot be shown so, as it stands without rounding dust."""
    try:
        n = Decimal(value.strip())
    except InvalidOperation:
        return value
    if not n.is_finite() or not -400 < n.adjusted() < 400:
        return value
    sections = sections_of(code)
    section, is_absolute = _section_for(n, sections)
    if section is None or section.has("general", "@"):
        general = _general(n)
        literal = (
            "".join(text if kind == "literal" else general for kind, text in section.tokens) if section else general
        )
        return literal.strip()
    if not section.tokens:  # such a format hides the number
        return "" if n == 0 else _general(n)
    if section.has("date", "elapsed"):
        return shown_date(n, section, date1904) or _general(n)
    return _number(abs(n) if is_absolute else n, section)


def shown_text(value: str, code: str) -> str:
    """A stored text as its format shows it: what the format has around `@`."""
    sections = sections_of(code)
    section = next((each for each in reversed(sections) if each.has("@")), None)
    if section is None:
        return value
    return "".join(value if kind == "@" else text for kind, text in section.tokens if kind in ("@", "literal"))


def _section_for(n: Decimal, sections: tuple[Section, ...]) -> tuple[Section | None, bool]:
    """The section for a number, and whether it writes the sign itself."""
    numeric = [each for each in sections if not each.has("@")] or list(sections)
    if any(each.condition for each in numeric):
        tests = {"<": n.__lt__, ">": n.__gt__, "<=": n.__le__, ">=": n.__ge__, "=": n.__eq__, "<>": n.__ne__}
        for each in numeric:
            if each.condition is None or tests[each.condition[0]](each.condition[1]):
                return each, False
        return None, False
    if n < 0 and len(numeric) > 1:
        return numeric[1], True
    if n == 0 and len(numeric) > 2:
        return numeric[2], True
    return numeric[0], False


def _general(n: Decimal) -> str:
    """A number without rounding dust and without zeros at its end."""
    n = _without_dust(n)
    text = f"{n:f}" if -16 < n.adjusted() < 21 else f"{n.normalize():e}"
    return (text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text) or "0"


def _without_dust(n: Decimal) -> Decimal:
    """A number in fifteen digits, as many as are sure: 2.675 is stored as a little less. Whole numbers stay."""
    return n if n == n.to_integral_value() else Decimal(f"{n:.14e}")


def _rounded(n: Decimal, places: int) -> Decimal:
    n = _without_dust(n)
    return n if n.adjusted() + places > 26 else n.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def _number(n: Decimal, section: Section) -> str:
    kinds = [kind for kind, _ in section.tokens]
    if "digit" not in kinds:
        literal = "".join(text for kind, text in section.tokens if kind in ("literal", "/", "."))
        return ("-" if n < 0 and literal.strip() else "") + literal.strip()
    n *= Decimal(100) ** kinds.count("%")
    if "/" in kinds:
        return _fraction(n, section)
    first, last = kinds.index("digit"), len(kinds) - 1 - kinds[::-1].index("digit")
    point = kinds.index(".") if "." in kinds else len(kinds)
    commas = [at for at, kind in enumerate(kinds) if kind == ","]
    grouped = any(first < at < min(last, point) for at in commas)
    n = n.scaleb(-3 * sum(1 for at in commas if at > last or at + 1 == point))
    power = ""
    if "exponent" in kinds and n:
        exponent = n.adjusted()
        n = n.scaleb(-exponent)
        sign = "-" if exponent < 0 else "+" * (("exponent", "E+") in section.tokens)
        power = f"{sign}{abs(exponent)}"
    end = kinds.index("exponent") if "exponent" in kinds else len(kinds)
    places = sum(1 for at, kind in enumerate(kinds) if kind == "digit" and point < at < end)
    rounded = _rounded(n, places)
    whole, _, decimals = f"{abs(rounded):f}".partition(".")
    text = _filled(section.tokens[:end], point, whole.lstrip("0"), decimals, grouped)
    if power or "exponent" in kinds:
        width = sum(1 for kind in kinds[end:] if kind == "digit")
        digits = (power or "+0").lstrip("+-").zfill(width)
        text += "E" + (power or "+0")[0] * (not (power or "+0")[0].isdigit()) + digits
    return ("-" if rounded < 0 else "") + text.strip()


def _filled(tokens: tuple[tuple[str, str], ...], point: int, whole: str, decimals: str, grouped: bool) -> str:
    """The digits in their places, the whole ones from the right, among what the format writes between them."""
    n_whole = sum(1 for kind, _ in tokens[:point] if kind == "digit")
    before: list[str] = []
    n_left = n_whole
    for kind, text in tokens[:point]:
        if kind == "digit":
            digits = whole[: max(len(whole) - n_left + 1, 0)] or ("0" if text == "0" else "")
            whole = whole[max(len(whole) - n_left + 1, 0) :]
            n_left -= 1
            before.append(digits)
        elif kind in ("literal", "%"):
            before.append(text if not grouped else f"\x00{text}\x00")
    left = "".join(before)
    if grouped:  # what is literal stands between the marks
        parts = left.split("\x00")
        left = "".join(
            f"{int(part):,}" if not at % 2 and part.isdigit() and part[0] != "0" else part
            for at, part in enumerate(parts)
        )
    right: list[str] = []
    patterns = [text for kind, text in tokens[point:] if kind == "digit"]
    for at, (_, text) in enumerate(token for token in tokens[point:] if token[0] == "digit"):
        rest_is_optional = all(pattern != "0" for pattern in patterns[at:]) and not decimals[at:].strip("0")
        right.append("" if rest_is_optional or (text != "0" and at >= len(decimals)) else decimals[at : at + 1])
    digits = "".join(right)
    tail = "".join(text for kind, text in tokens[point:] if kind in ("literal", "%"))
    return f"{left}{'.' if digits else ''}{digits}{tail}"


def _fraction(n: Decimal, section: Section) -> str:
    """12.75 as 12 3/4: the nearest fraction that the format has room for."""
    written = "".join(text for kind, text in section.tokens if kind in ("digit", "/", "literal"))
    fixed = re.search(r"/\s*([1-9]\d*)", written)
    room = len(re.search(r"/\s*([?#0]*)", written)[1])  # type: ignore[index]
    whole, rest = divmod(abs(n), 1)
    if fixed:
        share = Fraction(round(rest * int(fixed[1])), int(fixed[1]))
        part = f"{round(rest * int(fixed[1]))}/{fixed[1]}" if share else ""
    else:
        share = Fraction(rest).limit_denominator(10 ** min(max(room, 1), 4) - 1)
        part = f"{share.numerator}/{share.denominator}" if share else ""
    if share == 1:
        whole, part = whole + 1, ""
    text = " ".join(filter(None, [f"{whole:f}" if whole or not part else "", part]))
    return ("-" if n < 0 else "") + text
