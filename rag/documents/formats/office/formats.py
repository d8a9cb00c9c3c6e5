"""The number formats of Office files as tokens (ECMA-376 part 1, 18.8.30 and 18.8.31)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    5: "$#,##0",
    6: "$#,##0",
    7: "$#,##0.00",
    8: "$#,##0.00",
    14: "m/d/yyyy",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "m/d/yyyy h:mm",
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "m/d/yyyy"),
    37: "#,##0;-#,##0",
    38: "#,##0;-#,##0",
    39: "#,##0.00;-#,##0.00",
    40: "#,##0.00;-#,##0.00",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss.0",
    48: "##0.0E+0",
    49: "@",
}
"""The formats that a file names by their number alone."""

_TOKEN = re.compile(
    r'"([^"]*)"?|\\(.)|_.|\*.|\[([^\]]{0,255})\]|(AM/PM|A/P)|(General)|([yY]+|[mM]+|[dD]+|[hH]+|[sS]+)|(E[+-])|(\.0+)|(.)',
    re.S,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[\d.]+)")
_MOST_CHARACTERS = 255  # the longest format that Excel takes


@dataclass(frozen=True, slots=True)
class Section:
    """One of a format's parts: its tokens as (kind, text), and the numbers that it is for."""

    tokens: tuple[tuple[str, str], ...]
    condition: tuple[str, Decimal] | None

    def has(self, *kinds: str) -> bool:
        return any(kind in kinds for kind, _ in self.tokens)


@lru_cache(maxsize=1024)
def sections_of(code: str) -> tuple[Section, ...]:
    """The parts of a format, for positive and negative numbers, zero and text, as far as it has them."""
    sections = []
    tokens: list[tuple[str, str]] = []
    condition = None
    for match in _TOKEN.finditer(code[:_MOST_CHARACTERS]):
        quoted, escaped, bracket, noon, general, date, exponent, split_seconds, other = match.groups()
        if other == ";":
            sections.append(Section(_minutes(tokens), condition))
            tokens, condition = [], None
        elif quoted is not None or escaped is not None:
            tokens.append(("literal", quoted if quoted is not None else escaped))
        elif bracket is not None:
            if re.fullmatch(r"h+|m+|s+", bracket, re.I):
                tokens.append(("elapsed", bracket.lower()))
            elif found := _CONDITION.fullmatch(bracket):
                condition = (found[1], Decimal(found[2])) if re.fullmatch(r"-?\d+(?:\.\d*)?", found[2]) else None
            elif bracket.startswith("$"):  # a currency, with the language behind a hyphen
                tokens.append(("literal", bracket[1:].split("-")[0]))
        elif noon or date:
            tokens.append(("date", noon or date.lower()))
        elif general:
            tokens.append(("general", ""))
        elif exponent:
            tokens.append(("exponent", exponent))
        elif split_seconds:
            tokens.append(("split", split_seconds))
        elif other is None:  # _x is a gap as wide as x, *x fills the cell with x
            tokens.append(("literal", " " if match[0].startswith("_") else ""))
        else:
            kind = {"@": "@", "%": "%", ",": ",", ".": ".", "/": "/"}.get(
                other, "digit" if other in "0#?" else "literal"
            )
            tokens.append((kind, other))
    return (*sections, Section(_minutes(tokens), condition))


def _minutes(tokens: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The tokens of a section: `m` beside hours or seconds is minutes; `.00` behind no seconds is digits."""
    places = [
        n for n, (kind, text) in enumerate(tokens) if kind == "elapsed" or (kind == "date" and text[0] in "ymdhs")
    ]
    result = list(tokens)
    for at, n in enumerate(places):
        if tokens[n][0] == "date" and tokens[n][1][0] == "m" and len(tokens[n][1]) < 3:
            before = tokens[places[at - 1]][1] if at else ""
            after = tokens[places[at + 1]][1] if at + 1 < len(places) else ""
            if before.startswith("h") or after.startswith("s"):
                result[n] = ("date", "minutes" if tokens[n][1] == "m" else "minutes2")
    if not places:
        split = [
            [(".", "."), *(("digit", "0") for _ in text[1:])] if kind == "split" else [(kind, text)]
            for kind, text in result
        ]
        result = [token for part in split for token in part]
    return tuple(result)
