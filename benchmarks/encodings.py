"""How many short texts come out right to the letter in the encodings that people's files have.

    python -m benchmarks.encodings

The texts are the translations of GTK's own strings and of the questions that Debian's packages ask, as far as they lie
on this machine (packages `libgtk-3-common` with translations, and `debconf` templates). Each is written in an encoding
of its language, decoded by `rag.documents.decode`, and compared.
"""

from __future__ import annotations

import gettext
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rag.documents.decode import clean, decode

ENCODINGS = {
    **dict.fromkeys(("pt", "da", "nb", "sv", "nl", "it", "fi", "is"), ("cp1252",)),
    **dict.fromkeys(("sk", "hr", "sl", "ro"), ("cp1250",)),
    **dict.fromkeys(("lt", "lv", "et"), ("cp1257",)),
    **dict.fromkeys(("bg", "sr", "be"), ("cp1251",)),
    **dict.fromkeys(("ar", "fa"), ("cp1256",)),
    "fr": ("cp1252", "mac_roman", "cp850"),
    "de": ("cp1252", "cp850", "mac_roman"),
    "es": ("cp1252", "cp850"),
    "pl": ("cp1250", "iso8859-2", "cp852"),
    "cs": ("cp1250", "iso8859-2"),
    "hu": ("cp1250", "iso8859-2"),
    "tr": ("cp1254",),
    "ru": ("cp1251", "koi8-r", "iso8859-5", "cp866"),
    "uk": ("cp1251", "koi8-u"),
    "el": ("cp1253", "iso8859-7"),
    "he": ("cp1255",),
    "th": ("cp874",),
    "zh_CN": ("gbk", "gb18030"),
    "zh_TW": ("big5",),
    "ja": ("shift_jis", "euc_jp", "iso2022_jp"),
    "ko": ("euc_kr",),
}
SHORT = range(8, 41)
JOINED_CHARACTERS = 200
N_SHORT, N_JOINED = 40, 20


def translations(language: str) -> list[str]:
    """The translated strings of a language that are not plain ASCII, shuffled."""
    strings: set[str] = set()
    for name in ("gtk30", "gtk30-properties"):
        path = Path(f"/usr/share/locale/{language}/LC_MESSAGES/{name}.mo")
        if path.is_file():
            with path.open("rb") as file:
                catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            strings.update(text for key, text in catalog.items() if key and isinstance(text, str))
    described = re.compile(rf"^(?:Extended_d|D)escription-{language}\.UTF-8: (.*(?:\n .*)*)", re.M)
    for path in sorted(Path("/var/lib/dpkg/info").glob("*.templates")):
        strings.update(" ".join(found.split()) for found in described.findall(path.read_text("utf-8")))
    texts = sorted(re.sub(r"[_&]", "", text) for text in strings if not text.isascii())
    random.Random(language).shuffle(texts)
    return texts


def samples(texts: list[str]) -> Iterator[tuple[str, str]]:
    """(length, text): single strings, and several joined to about 200 characters."""
    yield from (("8 to 40", text) for text in [text for text in texts if len(text) in SHORT][:N_SHORT])
    joined, n = "", 0
    for text in texts:
        joined += text + "\n"
        if len(joined) >= JOINED_CHARACTERS and n < N_JOINED:
            yield "about 200", joined
            joined, n = "", n + 1


def main() -> None:
    right, of = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for language, encodings in ENCODINGS.items():
        for length, text in samples(translations(language)):
            for encoding in encodings:
                # What an encoding lacks, no file in it can hold.
                kept = text.encode(encoding, "ignore").decode(encoding)
                data = kept.encode(encoding)
                if not data.isascii() or encoding == "iso2022_jp":
                    of[language, encoding, length] += 1
                    right[language, encoding, length] += decode(data) == clean(kept)
    print("| language | encoding | characters | right | of |\n|---|---|---|---|---|")
    for key, n in of.items():
        print(f"| {' | '.join(key)} | {right[key]} | {n} |")
    for length in dict.fromkeys(length for _, _, length in of):
        total = sum(n for key, n in of.items() if key[2] == length)
        print(f"{length} characters: {sum(n for key, n in right.items() if key[2] == length):,} of {total:,} right")


if __name__ == "__main__":
    main()
