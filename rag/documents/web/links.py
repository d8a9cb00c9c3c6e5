"""Where a page leads: the links of an HTML page, the pages of a sitemap."""

from __future__ import annotations

import mimetypes
import re
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rag.documents.address import joined
from rag.documents.sniff import SUFFIXES

if TYPE_CHECKING:
    from lxml import etree

MAX_LINKS = 5_000
MAX_SITEMAP_BYTES = 50 * 2**20  # the limit of sitemaps.org
_NEVER_PAGES = re.compile(
    r"(image|audio|video|font)/|text/(css|javascript)|application/(javascript|zip|gzip|x-tar|x-gzip|x-bzip2|"
    r"x-7z-compressed|java-archive|x-sh|x-msdos-program|x-debian-package|vnd\.ms-fontobject|wasm)"
)
_SITEMAP_START = re.compile(rb"<(?:\w{1,20}:)?(urlset|sitemapindex)[\s>]")


def links_of(html_bytes: bytes, base: str) -> list[str]:
    """The canonical addresses that a page leads to, each once, in order; links that a site asks not to follow are left.

    `base` is the page's own address. Bytes that are no HTML lead nowhere.
    """
    from lxml import etree, html

    parser = html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(html_bytes.removeprefix(b"\xef\xbb\xbf"), parser=parser)
    except (etree.LxmlError, ValueError):
        return []
    for meta in root.iter("meta"):
        if meta.get("name", "").lower() in ("robots", "rag-qa") and re.search(
            r"\b(nofollow|none)\b", meta.get("content", "").lower()
        ):
            return []
    for element in root.iter("base"):
        if element.get("href"):
            base = joined(base, element.get("href")) or base
            break
    found: dict[str, None] = {}
    for element in root.iter("a", "area", "frame", "iframe", "meta"):
        link = _refresh_of(element) if element.tag == "meta" else element.get("href") or element.get("src")
        if not link or "nofollow" in (element.get("rel") or "").lower().split():
            continue
        if (address := joined(base, link)) is not None:
            found.setdefault(address)
            if len(found) >= MAX_LINKS:
                break
    return list(found)


def _refresh_of(meta: etree._Element) -> str:
    """Where a page sends its readers by itself; "" for nowhere."""
    if meta.get("http-equiv", "").strip().lower() != "refresh":
        return ""
    _, _, url = meta.get("content", "").partition("url=" if "url=" in meta.get("content", "") else "URL=")
    return url.strip().strip("\"'")


def is_sitemap(body: bytes) -> bool:
    """Whether a body is an XML sitemap or an index of sitemaps, packed by gzip or not, and no page that shows one."""
    start = _opened(body[:65536], 4096)[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"<") and b"<html" not in start.lower() and _SITEMAP_START.search(start) is not None


def sitemap_links(body: bytes, base: str) -> tuple[list[str], list[str]]:
    """(pages, other sitemaps) that a sitemap names, as canonical addresses, each once, in order.

    A damaged sitemap gives what stands before the damage.
    """
    from lxml import etree

    parser = etree.XMLPullParser(events=("end",), resolve_entities=False, no_network=True, recover=True)
    found: dict[bool, dict[str, None]] = {False: {}, True: {}}
    is_index = False
    try:
        parser.feed(_opened(body, MAX_SITEMAP_BYTES))
        for _, element in parser.read_events():
            parent = element.getparent()
            if not isinstance(element.tag, str) or etree.QName(element).localname != "loc" or parent is None:
                continue
            is_index = etree.QName(parent).localname == "sitemap"
            if not is_index and etree.QName(parent).localname != "url":
                continue  # of a picture or video, by an extension
            if (address := joined(base, element.text or "")) is not None:
                found[is_index].setdefault(address)
    except etree.LxmlError:
        pass
    return list(found[False]), list(found[True])


def never_a_page(address: str) -> str:
    """The suffix of an address whose name says that it is a picture, a style sheet, an archive or the like; else ""."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    suffix = PurePosixPath(name).suffix.lower()
    if not suffix or suffix in SUFFIXES:
        return ""
    kind = mimetypes.guess_type("x" + suffix)[0] or ""
    packed = suffix in (".gz", ".bz2", ".xz", ".zst", ".rar", ".7z", ".exe", ".dmg", ".iso", ".deb", ".rpm", ".whl")
    return suffix if packed or _NEVER_PAGES.match(kind) else ""


def _opened(body: bytes, max_bytes: int) -> bytes:
    """A body, unpacked to at most this many bytes where gzip packed it."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(31).decompress(body, max_bytes)
    except zlib.error:
        return b""
