"""What kind of file it is, by its first bytes and its name."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from pathlib import PurePath

from rag.documents.decode import is_binary
from rag.documents.formats.office.ooxml import office_kind
from rag.errors import UnreadableFile

SUFFIXES = {
    **dict.fromkeys((".txt", ".text", ".rst", ".adoc", ".org", ".log", ".tex", ".asc", ""), "text"),
    **dict.fromkeys((".md", ".markdown", ".mkd"), "markdown"),
    **dict.fromkeys((".htm", ".html", ".xhtml"), "html"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".pdf": "pdf",
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), "docx"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"), "pptx"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx", ".xltm"), "xlsx"),
    ".epub": "epub",
}
"""The kind of file that a suffix stands for. Files below a folder with other suffixes are not read."""

_BINARY_KINDS = {"pdf", "docx", "pptx", "xlsx", "epub"}  # known by their bytes, whatever the suffix
_KIND_OF_MEMBER = {
    "word/document.xml": "docx",
    "ppt/presentation.xml": "pptx",
    "xl/workbook.xml": "xlsx",
    "META-INF/container.xml": "epub",
}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HTML_START = re.compile(
    rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).){0,2000}-->\s*){0,5}<(?:!doctype\s+html|html|head|body)\b",
    re.I | re.S,
)

_ALSO_READ = {".json": ".jsonl"}  # not among the suffixes of pages on the web

# An archive that would unpack to more than this is refused before it is unpacked.
MAX_UNPACKED_BYTES = 512 * 2**20
MAX_PACKED_RATIO = 200


def sniff(data: bytes, suffix: str) -> str:
    """The kind of a file: by its first bytes, and by its suffix where these say nothing.

    Raises UnreadableFile for what is none of the kinds or encrypted, and for an archive that unpacks to too much.
    """
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _sniff_zip(data)
    if data.startswith(_OLD_OFFICE):
        raise UnreadableFile("an old or encrypted Office file; save it as .docx, .pptx or .xlsx without a password")
    if is_binary(data):
        raise UnreadableFile("not a text, and none of the kinds that are read")
    kind = SUFFIXES.get(suffix, "text")
    if kind in _BINARY_KINDS:
        raise UnreadableFile(f"named {suffix}, but does not hold such a file")
    return "html" if _HTML_START.match(data[:4096]) else kind


def suffix_of(name: str) -> str:
    """The suffix by which a file is read: that of `a.csv.gz` is .csv, that of `a.json` is .jsonl."""
    path = PurePath(name.lower())
    inner = PurePath(path.stem).suffix
    is_packed_text = path.suffix == ".gz" and inner in SUFFIXES and inner and SUFFIXES[inner] not in _BINARY_KINDS
    suffix = inner if is_packed_text else path.suffix
    return _ALSO_READ.get(suffix, suffix)


def unpacked(data: bytes) -> bytes:
    """The bytes of a file that gzip packed; those of any other as they are.

    Raises UnreadableFile for a damaged one, an archive of several files, and one that unpacks to too much.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    most = min(MAX_UNPACKED_BYTES, MAX_PACKED_RATIO * max(len(data), 2**20))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            whole = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"damaged gzip file ({error})") from error
    if len(whole) > most:
        raise UnreadableFile(f"would unpack to over {most / 2**20:,.0f} MiB; more than is allowed")
    if whole[257:262] == b"ustar":
        raise UnreadableFile("an archive; unpack it first")
    if not whole.strip():
        raise UnreadableFile("empty")
    return whole


def _sniff_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f"damaged archive ({error})") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_PACKED_RATIO * max(len(data), 2**20):
        raise UnreadableFile(f"would unpack to {unpacked / 2**20:,.0f} MiB; more than is allowed")
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableFile("encrypted")
    names = {entry.filename for entry in entries}
    kind = office_kind(data) or next((kind for member, kind in _KIND_OF_MEMBER.items() if member in names), None)
    if kind is None:
        raise UnreadableFile("an archive; unpack it first")
    return kind
