"""What a fetched body is: the suffix of the file that it becomes, and its text as UTF-8."""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from rag.documents.sniff import SUFFIXES

_SUFFIX_OF_TYPE = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "application/pdf": ".pdf",
    "application/x-pdf": ".pdf",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/x-rst": ".rst",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/x-jsonlines": ".jsonl",
    "application/epub+zip": ".epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
_UNTOLD = {"", "application/octet-stream", "binary/octet-stream", "application/download", "application/x-download"}
_BINARY_SUFFIXES = {".pdf", ".docx", ".pptx", ".xlsx", ".epub"}
_NOT_OF_PAGES = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"}  # Python's own, and a relic
# What browsers read under these names (https://encoding.spec.whatwg.org/#names-and-labels).
_READ_AS = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}


def suffix_of(content_type: str, address: str, body: bytes) -> str | None:
    """The suffix for a body by its type, and by its address and first bytes where the type says nothing.

    None for a kind that is not read.
    """
    named = PurePosixPath(unquote(urlsplit(address).path)).suffix.lower()
    if content_type in _SUFFIX_OF_TYPE:
        return _SUFFIX_OF_TYPE[content_type]
    if content_type.startswith("text/plain"):
        return named if named in SUFFIXES and named not in (*_BINARY_SUFFIXES, "", ".html", ".htm") else ".txt"
    if content_type not in _UNTOLD:
        return None
    start = body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return ".html"
    if start.startswith(b"%pdf-"):
        return ".pdf"
    return named if named and named in SUFFIXES else None


def as_utf8(body: bytes, charset: str, suffix: str) -> bytes:
    """A body of text in UTF-8 with a mark, where the server's header names another charset that fits.

    The header counts more than what a page says of itself; the mark makes parsers see it so. A body that has a mark of
    its own, or that does not decode, stays as it is.
    """
    if not charset or suffix in _BINARY_SUFFIXES or body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return body
    try:
        name = codecs.lookup(charset).name.replace("_", "-")
        if name in _NOT_OF_PAGES:
            return body
        text = body.decode(_READ_AS.get(name, name))
    except (LookupError, UnicodeDecodeError, ValueError):
        return body
    return codecs.BOM_UTF8 + text.encode("utf-8", "replace")
