"""What kind of file it is, by its first bytes and its name."""

from __future__ import annotations

import io
import re
import zipfile

from rag.errors import UnreadableFile

MAX_UNPACKED_BYTES = 512 * 2**20
MAX_PACKED_RATIO = 200

TEXT_SUFFIXES = {
    **dict.fromkeys((".md", ".markdown", ".mkd"), "markdown"),
    **dict.fromkeys((".htm", ".html", ".xhtml"), "html"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".txt", ".text", ".rst", ".adoc", ".org", ".log", ".tex", ".asc", ""), "text"),
}
PACKED_SUFFIXES = {".pdf": "pdf", ".docx": "docx", ".pptx": "pptx", ".xlsx": "xlsx", ".epub": "epub"}
SUFFIXES = {**TEXT_SUFFIXES, **PACKED_SUFFIXES}
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_HTML_START = re.compile(
    rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).){0,2000}-->\s*){0,5}<(?:!doctype\s+html|html|head|body)\b",
    re.I | re.S,
)


def sniff(data: bytes, suffix: str) -> str:
    """The kind of a file by its first bytes, and where these say nothing by its suffix. Raises UnreadableFile."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _sniff_zip(data)
    if data.startswith(OLD_OFFICE):
        raise UnreadableFile("an old or encrypted Office file; save it as .docx, .pptx or .xlsx without a password")
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile("not a text, and none of the kinds that are read")
    if suffix in PACKED_SUFFIXES:
        raise UnreadableFile(f"named {suffix}, but does not hold such a file")
    if _HTML_START.match(data[:4096]):
        return "html"
    return TEXT_SUFFIXES.get(suffix, "text")


def _sniff_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f"damaged archive ({error})") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_PACKED_RATIO * max(len(data), 2**20):
        raise UnreadableFile(f"would unpack to {unpacked / 2**20:,.0f} MiB; more than is taken")
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableFile("encrypted")
    names = {entry.filename for entry in entries}
    for name, kind in (("word/document.xml", "docx"), ("ppt/presentation.xml", "pptx"), ("xl/workbook.xml", "xlsx")):
        if name in names:
            return kind
    if "META-INF/container.xml" in names:
        return "epub"
    raise UnreadableFile("an archive; unpack it first")
