"""Dates, times and durations of spreadsheets as their formats show them.

Dates in digits alone are written as 2024-03-01: 01/03/2024 is two days, and which one depends on the reader's country.
"""

from __future__ import annotations

import datetime
import re
from decimal import ROUND_HALF_UP, Decimal

from rag.documents.formats.office.formats import Section

_MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def shown_date(n: Decimal, section: Section, date1904: bool) -> str:
    """A number of days as a date, time or duration; '' outside the calendar."""
    if section.has("elapsed"):
        return _elapsed(n, section)
    moment = moment_of(n, date1904)
    if moment is None:
        return ""
    fields = [text for kind, text in section.tokens if kind == "date" and text[0] in "ymd" and "minutes" not in text]
    names = any(len(text) > 2 and text[0] in "md" for text in fields)
    words = any(kind == "literal" and re.search(r"[^\W\d_]", text.replace("T", "")) for kind, text in section.tokens)
    if {"y", "m", "d"} <= {text[0] for text in fields} and not names and not words:
        time = _fields(moment, section, "hs")
        return f"{moment:%Y-%m-%d}" + (f" {time}" if time and moment.time() != datetime.time() else "")
    return _fields(moment, section, "ymdhs")


def moment_of(n: Decimal, date1904: bool = False) -> datetime.datetime | None:
    """The moment that a number of days stands for, 1900 a leap year as in Excel; None outside the calendar."""
    if not 0 <= n < 2_958_466:
        return None
    first = datetime.datetime(1904, 1, 1) if date1904 else datetime.datetime(1899, 12, 30 if n >= 60 else 31)
    milliseconds = int((n * 86_400_000).to_integral_value(ROUND_HALF_UP))
    try:
        return first + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _fields(moment: datetime.datetime, section: Section, wanted: str) -> str:
    """The fields of a date and time in their order, with what the format writes between those that are wanted."""
    is_half_day = any(text in ("AM/PM", "A/P") for _, text in section.tokens)
    fraction = next((len(text) - 1 for kind, text in section.tokens if kind == "split"), 0)
    has_seconds = any(kind == "date" and text[0] == "s" for kind, text in section.tokens)
    if fraction == 0 and has_seconds:
        moment += datetime.timedelta(milliseconds=500)
    parts: list[str] = []
    gap = ""
    for kind, text in section.tokens:
        if kind == "split":
            parts.append(f".{moment.microsecond // 1000:03}"[: len(text)])
        elif kind == "date":
            is_time = text[0] in "hsA" or text.startswith("minutes")
            if (is_time and "h" in wanted) or (not is_time and "y" in wanted):
                parts.append((gap if parts else gap.strip(" ,-/.T")) + _field(moment, text, is_half_day))
            gap = ""
        elif kind in ("literal", "/", ",", ".", "digit"):
            gap += text
    return "".join(parts).strip() + (gap.rstrip() if "y" in wanted else "")


def _field(moment: datetime.datetime, text: str, is_half_day: bool) -> str:
    hour = (moment.hour % 12 or 12) if is_half_day else moment.hour
    if text in ("AM/PM", "A/P"):
        letters = "AM" if moment.hour < 12 else "PM"
        return letters if text == "AM/PM" else letters[0]
    if text.startswith("minutes"):
        return f"{moment.minute:02}" if text == "minutes2" else str(moment.minute)
    letter, width = text[0], len(text)
    if letter == "y":
        return f"{moment.year % 100:02}" if width < 3 else f"{moment.year:04}"
    if letter == "m" and width > 2:
        name = _MONTHS[moment.month - 1]
        return name[:3] if width == 3 else name[0] if width == 5 else name
    if letter == "d" and width > 2:
        name = _DAYS[moment.weekday()]
        return name[:3] if width == 3 else name
    value = {"m": moment.month, "d": moment.day, "h": hour, "s": moment.second}[letter]
    return f"{value:02}" if width > 1 else str(value)


def _elapsed(n: Decimal, section: Section) -> str:
    """A duration: its first field counts on beyond a day or an hour."""
    fraction = next((len(text) - 1 for kind, text in section.tokens if kind == "split"), 0)
    step = Decimal(1).scaleb(-min(fraction, 3))
    rest = (abs(n) * 86_400).quantize(step, ROUND_HALF_UP) if abs(n) < 10**9 else Decimal(0)
    parts: list[str] = []
    for kind, text in section.tokens:
        if kind in ("elapsed", "date") and text not in ("AM/PM", "A/P") and text[0] in "hms":
            size = {"h": 3600, "m": 60, "s": 1}[text[0]]
            count = rest // size
            rest -= count * size
            width = 2 if text == "minutes2" else 1 if text == "minutes" else len(text)
            parts.append(f"{int(count):0{min(width, 9)}}")
        elif kind == "split":
            parts.append(f"{rest:f}"[1:] if rest else "." + "0" * fraction)
        elif kind in ("literal", "/", "."):
            parts.append(text)
    return ("-" if n < 0 else "") + "".join(parts).strip()
