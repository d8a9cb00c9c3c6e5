"""Which script a text is written in, which scripts put no space between words, and the usual form of characters."""

from __future__ import annotations

import functools
import re
import unicodedata

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3100-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HIRAGANA = "\u3041-\u309f"
KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7fb"
THAI = "\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e45\u0e47-\u0e4e"
LAO = "\u0e81-\u0ebd\u0ec0-\u0ec6\u0ec8-\u0ece\u0edc-\u0edf"
KHMER = "\u1780-\u17b3\u17b6-\u17d3\u17dd"
BURMESE = "\u1000-\u103f\u1050-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"

UNSPACED = HAN + HIRAGANA + KATAKANA + THAI + LAO + KHMER + BURMESE
"""The inside of a character class: the letters of scripts that write no space between words."""

SCRIPTS = {
    "latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "cyrillic": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "armenian": "\u0531-\u0587",
    "hebrew": "\u05d0-\u05ea\ufb1d-\ufb4f",
    "arabic": "\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff"
    "\ufb50-\ufdff\ufe70-\ufefc",
    "devanagari": "\u0900-\u0963\u0970-\u097f",
    "bengali": "\u0980-\u09e3\u09f0-\u09ff",
    "tamil": "\u0b80-\u0be5",
    "han": HAN,
    "kana": f"{HIRAGANA}{KATAKANA}\uff66-\uff9f",
    "hangul": f"{HANGUL}\uffa0-\uffdc",
    "thai": THAI,
    "lao": LAO,
    "khmer": KHMER,
    "burmese": BURMESE,
}
"""Script -> the inside of a character class of its letters."""

OTHER = "other"
_OF_SCRIPT = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}
# Letters that are in none of these: Georgian, Ethiopic, Telugu, Tibetan and so on.
_OF_SCRIPT[OTHER] = re.compile(
    f"[^\\W\\d\x00-\u052f\u1d00-\u2cff\u2de0-\u9fff\uac00-\U0010ffff{''.join(SCRIPTS.values())}]"
)
_BEYOND_LATIN = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u2de0-\u2dff\u2e80-\uffff\U00020000-\U0003ffff]")
_AS_MANY = {"han": 3, "kana": 2, "hangul": 2}  # letters of an alphabet that say what one of these says
_UNSPACED = re.compile(f"[{UNSPACED}]")
_PAIR = re.compile(f"[{UNSPACED}]{{1,2}}")

# What most texts in Latin letters are made of: all of it is in its usual form, and split at anything but letters.
UNUSUAL = re.compile(
    "[^\x00-\u00ac\u00ae-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e\u0180-\u01c3\u01cd-\u01f0\u01f4-\u02ff"
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf]"
)
# Soft hyphens, joiners, marks of direction, variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_BREAKS = re.compile("[\u00ad\u200b\u2060\ufeff]")
_COMPATIBLE = (
    "\u0132-\u017f\u01c4-\u01cc\u01f1-\u01f3\u2100-\u2188\u2e80-\u2fdf\u3131-\u318e\ufb00-\ufdff\ufe70-\ufefc"
    "\u3220-\u3243\u3300-\u3357\u3371-\u33df\uff01-\uffef\U0001d400-\U0001d7ff"
)
_VARIANT = re.compile(f"[{_COMPATIBLE}]+")
_KINDS = ("<compat>", "<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<font>", "<square>")
_ALWAYS = ("<wide>", "<narrow>", "<square>")  # of signs as well


def script_counts(text: str) -> dict[str, int]:
    """Script -> how much of a text it writes, in letters of an alphabet; a Chinese character counts as three."""
    if _BEYOND_LATIN.search(text) is None:
        n_latin = len(_OF_SCRIPT["latin"].findall(text))
        return {"latin": n_latin} if n_latin else {}
    counts = {name: len(letter.findall(text)) * _AS_MANY.get(name, 1) for name, letter in _OF_SCRIPT.items()}
    return {name: n for name, n in counts.items() if n}


def is_mostly_latin(text: str) -> bool:
    """Whether Latin letters write at least half of a text; so is one without letters."""
    counts = script_counts(text)
    return 2 * counts.get("latin", 0) >= sum(counts.values())


def spaced_out(text: str) -> str:
    """The text with a space on both sides of each letter that is written without spaces: splitting gives these."""
    return _UNSPACED.sub(r" \g<0> ", text) if _UNSPACED.search(text) else text


def count_words(text: str) -> int:
    """How many words a text has; two letters of a script without spaces count as one."""
    return len(_PAIR.sub(r" \g<0> ", text).split())


def whole_words(text: str) -> str:
    """The text up to the end of its last whole word: a space, or a letter that is written without spaces."""
    end = len(text)
    while end and text[end - 1] != " " and not is_unspaced(text[end - 1]):
        end -= 1
    return text[:end]


def is_unspaced(text: str) -> bool:
    """Whether a text begins with a letter of a script without spaces between words."""
    return _UNSPACED.match(text) is not None


def composed(text: str) -> str:
    """The text with composed letters, and without what only says where a line may break: nothing that is to be seen."""
    if UNUSUAL.search(text) is None:
        return text
    return unicodedata.normalize("NFC", _BREAKS.sub("", text))


def normalized(text: str) -> str:
    """The text with each character in its usual form: composed, of usual width, ligatures apart, nothing invisible."""
    if UNUSUAL.search(text) is None:
        return text
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    if _VARIANT.search(text):
        text = unicodedata.normalize("NFC", _VARIANT.sub(lambda match: match[0].translate(_variants()), text))
    return text


@functools.cache
def _variants() -> dict[int, str]:
    """Character -> its usual form, where one is only the other's ligature, width, position or font.

    Signs such as "™" stay: they end a word. So do raised and lowered digits.
    """
    table = {}
    for first, last in re.findall("(.)-(.)", _COMPATIBLE):
        for code in range(ord(first), ord(last) + 1):
            ch = chr(code)
            usual = unicodedata.normalize("NFKC", ch)
            is_kind = unicodedata.decomposition(ch).startswith(_KINDS)
            is_sign = not ch.isalnum() and code < 0x2E80 and not unicodedata.decomposition(ch).startswith(_ALWAYS)
            if is_kind and not is_sign and usual != ch:
                table[code] = usual
    return table
