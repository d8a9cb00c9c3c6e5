"""Letters of the fonts Symbol and Wingdings, which files store by their place in the font, in Unicode."""

from __future__ import annotations

import re
from collections.abc import Callable

# Adobe's Symbol encoding, from place 0x20, 0xA0 and 0xF1 on.
_SYMBOL_ROWS = {
    0x20: " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼",
    0xA0: "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪",
    0xF1: "〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
}
_SYMBOL = {start + n: letter for start, row in _SYMBOL_ROWS.items() for n, letter in enumerate(row)}
_WINGDINGS = {
    0x22: "✂",
    0x28: "☎",
    0x29: "✆",
    0x2A: "✉",
    0x36: "⌛",
    0x3C: "💾",
    0x3F: "✍",
    0x41: "✌",
    0x43: "👍",
    0x44: "👎",
    0x45: "☜",
    0x46: "☞",
    0x47: "☝",
    0x48: "☟",
    0x4A: "☺",
    0x4B: "😐",
    0x4C: "☹",
    0x4E: "☠",
    0x52: "☼",
    0x54: "❄",
    0x6C: "●",
    0x6D: "❍",
    0x6E: "■",
    0x6F: "□",
    0x71: "❑",
    0x72: "❒",
    0x73: "⬧",
    0x74: "⧫",
    0x75: "◆",
    0x76: "❖",
    0x77: "⬥",
    0x78: "☒",
    0x7B: "❀",
    0x9E: "·",
    0x9F: "•",
    0xA0: "▪",
    0xA1: "○",
    0xA4: "◉",
    0xA7: "▪",
    0xA8: "☐",
    0xAB: "★",
    0xB7: "•",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE7: "⬅",
    0xE8: "➔",
    0xEF: "⇦",
    0xF0: "⇨",
    0xF1: "⇧",
    0xF2: "⇩",
    0xF3: "⬄",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
    **{0x80 + n: letter for n, letter in enumerate("⓪①②③④⑤⑥⑦⑧⑨⑩")},
    **{0x8B + n: letter for n, letter in enumerate("⓿❶❷❸❹❺❻❼❽❾❿")},
}
_WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0xA3: "☐"}
_FONTS = {"symbol": _SYMBOL, "wingdings": _WINGDINGS, "wingdings 2": _WINGDINGS_2}


PRIVATE = re.compile("[\uf000-\uf0ff]")
"""Characters that mean something in one font alone."""


def lettered(text: str, font_of: Callable[[int], str]) -> str:
    """A text with the letters of its characters of special fonts; `font_of` names the font of a place in it.

    A character that no letter is known for stays.
    """

    def letter(match: re.Match) -> str:
        name = font_of(match.start()).lower().replace("-", "").replace(" ", "")
        if "webdings" in name or "wingdings3" in name:
            return match[0]
        fonts = [font for font in reversed(_FONTS) if font.replace(" ", "") in name] or ["wingdings", "symbol"]
        return next(filter(None, (symbol(ord(match[0]), font) for font in fonts)), match[0])

    return PRIVATE.sub(letter, text)


def symbol(code: int, font: str) -> str:
    """The letter at a place of a font; '' where it is not known, and the character itself for a usual font."""
    table = _FONTS.get(font.strip().lower())
    place = code - 0xF000 if 0xF000 <= code <= 0xF0FF else code
    if table is not None and place < 0x100:
        return table.get(place, "")
    if 0xF000 <= code <= 0xF0FF or not 0 < code < 0x110000:
        return ""
    return chr(code)
