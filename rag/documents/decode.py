"""Bytes become text."""

from __future__ import annotations

import codecs
import re

from rag.documents.encoding_tables import SEVERAL_BYTES, SHOWN
from rag.documents.encodings import best_of, guess, sample

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MEANT: dict[str, str] = {
    **dict.fromkeys(("iso8859-1", "ascii", "latin-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "hz"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift_jisx0213", "shift_jis_2004"), "cp932"),
    **dict.fromkeys(("big5", "cp950"), "big5hkscs"),
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
}
"""What browsers read under a declared name: the superset that people really write."""

_DECLARED = (
    re.compile(rb"^\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([\w.:-]{1,40})", re.I),
    re.compile(rb"<meta\b[^>]{0,500}?\bcharset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I),
)
_UTF16_IN_TEXT = re.compile(r"(?:[\t\n\r -~]\x00){4,}|(?:\x00[\t\n\r -~]){4,}")
_UTF16_BYTES = re.compile(rb"(?:[\t\n\r -~]\x00){4,}|(?:\x00[\t\n\r -~]){4,}")
_NULS = re.compile(r"\x00+")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]{0,20}[ -/]{0,3}[@-~]")
_SURROGATES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_LONG_HOLE = re.compile(rb"\x00{16,}")
_CONTROLS = bytes(code for code in range(1, 32) if code not in b"\t\n\v\f\r\x1b")
_C1 = re.compile(r"[\x80-\x9f]")
_UNCLEAN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufeff]")
_CUT_END = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")
_SHIFTED = (b"\x1b$B", b"\x1b$@", b"\x1b(J", b"\x1b$(D")  # ISO-2022-JP goes over to Japanese

NEARLY_ALL = 8
"""So many characters of UTF-8 stand against one stray byte before the whole counts as UTF-8."""


def decode(data: bytes) -> str:
    """The text of a file's bytes, cleaned; see `decode_noted`."""
    return decode_noted(data)[0]


def decode_noted(data: bytes, declared: str = "") -> tuple[str, tuple[str, ...]]:
    """The text of a file's bytes, cleaned, and notes on what was guessed or could not be read.

    In this order: a byte order mark; UTF-16 and UTF-32 by their NULs; UTF-8, also with a few stray bytes or cut inside
    a character; the encoding that the file declares, where it fits; the encoding that fits best.
    """
    text, notes = _decode(data, declared)
    if "\x00" in text:
        text = _UTF16_IN_TEXT.sub(lambda run: run[0].replace("\x00", ""), text)
        text = _NULS.sub(" ", text.strip("\x00"))
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if "\x85" in text and "\n" not in text and set(_C1.findall(text)) == {"\x85"}:  # the line end of mainframes
        text = text.replace("\x85", "\n")
    return clean(text if text.isascii() else _C1.sub(_windows_character, text)), notes


def declared_charset(data: bytes) -> str:
    """The encoding that a page of HTML or XML names in its first bytes; "" where it names none."""
    head = data[:4096]
    found = next((match for pattern in _DECLARED if (match := pattern.search(head))), None)
    return found[1].decode("ascii") if found else ""


def _decode(data: bytes, declared: str) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _with_replacements(data[len(mark) :], encoding)
    if b"\x00" in data and (wide := wide_encoding(data)):
        return _with_replacements(data, wide)
    if any(shift in data for shift in _SHIFTED):
        text = data.decode("iso2022_jp_ext", "replace")
        if text.count("�") * 20 <= len(text):
            return text, ()
    if b"\xed" in data:
        data = _SURROGATES.sub(_joined, data)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        pass
    if _is_nearly_utf8(data):
        return _with_replacements(data, "utf-8")
    return _legacy(data, declared)


def is_binary(data: bytes) -> bool:
    """Whether NULs and control characters say that bytes are no text. NULs before a text, or a few inside, do not."""
    if b"\x00" not in data[:4096] or any(data.startswith(mark) for mark, _ in _MARKS) or wide_encoding(data):
        return False
    head = _LONG_HOLE.sub(b"", data.lstrip(b"\x00")[: 2**16])
    head = _UTF16_BYTES.sub(b"", head)
    n_controls = len(head) - len(head.translate(None, _CONTROLS))
    return head.count(0) > 0.3 * len(head) or n_controls > 0.02 * len(head)


def wide_encoding(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, by where the NULs stand; "" where the bytes are neither."""
    data = data.lstrip(b"\x00") if data.startswith(b"\x00" * 8) else data
    head = data[: 2**16]
    head = head[: len(head) // 4 * 4] if len(head) >= 8 else head
    n = max(len(head) // 4, 1)
    nuls = [head[place::4].count(0) / n for place in range(4)]
    if min(nuls[2], nuls[3]) > 0.9 and nuls[0] < 0.1:
        return "utf-32-le" if _reads_well(head, "utf-32-le") else ""
    if min(nuls[0], nuls[1]) > 0.9 and nuls[3] < 0.1:
        return "utf-32-be" if _reads_well(head, "utf-32-be") else ""
    even, odd = (nuls[0] + nuls[2]) / 2, (nuls[1] + nuls[3]) / 2
    order = ("utf-16-le", "utf-16-be") if odd >= even else ("utf-16-be", "utf-16-le")
    if abs(odd - even) < 0.3 and _is_text(head):
        return ""
    return next((encoding for encoding in order if _reads_well(head, encoding)), "")


def _is_text(head: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters, whatever NULs are among them."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return sum(ch < " " and ch not in "\0\t\n\r\f\x1b" for ch in text) * 20 <= len(text)


def _reads_well(head: bytes, encoding: str) -> bool:
    """Whether bytes in UTF-16 are letters, of few scripts, with a space or line end. ASCII in pairs looks Chinese."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    n_good = sum(ch.isalnum() or ch.isspace() or "\u3000" <= ch <= "\u301f" or " " <= ch <= "~" for ch in text)
    pages = {ord(ch) >> 8 for ch in text if not "\u2e80" <= ch <= "\ud7ff"}
    n_east = sum("\u2e80" <= ch <= "\ud7ff" for ch in text)
    n_ascii = sum(ch <= "~" for ch in text)
    is_one = len(text) >= 4 and n_ascii > 0 and (n_east < 0.2 * len(text) or not _is_text(head))
    return is_one and n_good > 0.9 * len(text) and len(pages) <= 8


def _with_replacements(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    """The text in an encoding, and a note on the bytes that are none of its characters."""
    text = data.decode(encoding, "replace")
    n = text.count("�") - (data.count("�".encode(encoding)) if encoding.startswith(("utf", "gb")) else 0)
    shown = SHOWN.get(encoding, encoding)
    return text, (f"bytes that are not valid {shown}: {n}; � stands in their place",) if n > 0 else ()


def _joined(pair: re.Match[bytes]) -> bytes:
    """A character whose two halves were encoded each for itself."""
    return pair[0].decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16").encode()


def _is_nearly_utf8(data: bytes) -> bool:
    """Whether nearly all bytes beyond ASCII are UTF-8, or all but a character that the file's end or beginning cuts."""
    n_valid, n_stray = _utf8_counts(data)
    if not n_valid:
        return False
    if n_valid >= NEARLY_ALL * n_stray or _utf8_counts(_without_cut_ends(data))[1] == 0:
        return True
    if n_valid < n_stray or _mixed_lines(data):
        return False
    part = sample(data)
    return best_of(part, "utf-8").score + 10 * _utf8_counts(part)[1] > guess(part).score


def _utf8_counts(data: bytes) -> tuple[int, int]:
    """How many characters beyond ASCII are valid UTF-8, and how many stray bytes there are."""
    text = data.decode("utf-8", "replace")
    n_stray = text.count("�") - data.count("�".encode())
    return len(re.findall(r"[^\x00-\x7f�]", text)), max(n_stray, 0)


def _without_cut_ends(data: bytes) -> bytes:
    """The bytes without the part of a character at either end."""
    data = re.sub(rb"^[\x80-\xbf]{1,3}", b"", data)
    return data[:-4] + _CUT_END.sub(b"", data[-4:])


def _legacy(data: bytes, declared: str) -> tuple[str, tuple[str, ...]]:
    """The text in an encoding of a few languages: the declared one unless another fits far better."""
    if mixed := _mixed_lines(data):
        return mixed
    best = guess(data)
    encoding = best.encoding
    named = _codec(declared)
    says = f"says that it is {declared}" if declared else "names no encoding"
    notes: tuple[str, ...] = (f"{says}; read as {SHOWN.get(encoding, encoding)}",)
    if named:
        score = best_of(sample(data), named).score
        is_right = named == encoding or best.score - score < 12 + 0.5 * best.letters
        encoding = named if is_right else encoding
        notes = () if is_right else notes
    text, damaged = _with_replacements(data, encoding)
    return text, notes + damaged


def _codec(declared: str) -> str:
    """Python's name of a declared encoding; "" for none, an unknown one, and those that the bytes disprove."""
    try:
        name = codecs.lookup(declared.strip().lower().removeprefix("x-").replace("sjis", "shift_jis")).name
        b"".decode(name)
    except (LookupError, ValueError, UnicodeError, TypeError):
        return ""
    name = _MEANT.get(name, name)
    return "" if name.startswith(("utf", "idna", "punycode", "unicode", "raw")) else name


def _mixed_lines(data: bytes) -> tuple[str, tuple[str, ...]] | None:
    """A file whose lines differ: some are UTF-8, the others in a code page. None where it is all in one encoding."""
    lines: list[str] = []
    others: dict[int, bytes] = {}
    n_utf8 = n_stray_lines = 0
    for number, line in enumerate(data.split(b"\n")):
        try:
            lines.append(line.decode("utf-8"))
            n_utf8 += not line.isascii()
        except UnicodeDecodeError:
            n_stray_lines += _utf8_counts(line)[0] > 0
            others[number] = line
            lines.append("")
    if n_utf8 < 2 or n_stray_lines * 4 > len(others):
        return None
    encoding = guess(b"\n".join(others.values())).encoding
    if encoding in SEVERAL_BYTES:
        return None
    for number, line in others.items():
        lines[number] = line.decode(encoding, "replace")
    shown = SHOWN.get(encoding, encoding)
    return "\n".join(lines), (f"lines that are not UTF-8 as the others are: {len(others)}; read as {shown}",)


def _windows_character(found: re.Match[str]) -> str:
    """What Windows has where Latin 1 has a control character: these are meant by it nearly always."""
    return found[0].encode("latin-1").decode("cp1252", "ignore")


def clean(text: str) -> str:
    """The text with Unix line ends, without control characters and surrogates. Places count in the result."""
    if not _UNCLEAN.search(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    return _UNCLEAN.sub("", text)
