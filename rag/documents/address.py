"""Addresses of web pages, each written in one way."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from rag.errors import DataError

MAX_CHARACTERS = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"https?:/+[^/\s]", re.I)
_SAFE = "!$%&'()*+,;=:@/~?[]"  # what needs no escape, or is one already


def is_address(name: object) -> bool:
    """Whether a name is the address of a web page, and not of a file."""
    return isinstance(name, (str, Path)) and bool(_ADDRESS.match(str(name)))


def canonical(address: str | Path) -> str:
    """An address without fragment and default port, host in ASCII and small letters, dots in its path resolved.

    The order of a query is kept. Raises DataError for what is no address, is too long, or holds a password.
    """
    # A Path makes one slash of two.
    text = re.sub(r"^(https?):/+", r"\1://", str(address).strip(), flags=re.I)
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"{text[:100]}… is longer than {MAX_CHARACTERS:,} characters")
    try:
        text.encode()
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        host = host.rstrip(".").encode("idna").decode() if not host.isascii() else host.rstrip(".")
    except ValueError as error:  # also where a host cannot be written in ASCII
        raise DataError(f"{text[:200]} is no address of a web page ({error})") from error
    if scheme not in _DEFAULT_PORTS or not host or re.search(r"[\s<>\"\\^`{|}]", host):
        raise DataError(f"{text[:200]} is no address of a web page")
    if parts.username is not None or parts.password is not None:
        raise DataError(f"an address with a name or password in it is not taken: {scheme}://…@{host}")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc += f":{port}"
    path = _without_dots(quote(parts.path, safe=_SAFE)) or "/"
    return urlunsplit(SplitResult(scheme, netloc, path, quote(parts.query, safe=_SAFE), ""))


def joined(base: str, link: str) -> str | None:
    """The canonical address that a link on the page `base` leads to; None where it is no web page."""
    try:
        return canonical(urljoin(base, link.strip()))
    except (DataError, ValueError):
        return None


def host_of(address: str) -> str:
    """The host of a canonical address, with its port where that is not the default."""
    return urlsplit(address).netloc


def page_name(address: str) -> str:
    """What to call a page without a title: the last part of its path, or its host."""
    parts = urlsplit(address)
    name = unquote(parts.path.rstrip("/").rpartition("/")[2])
    return " ".join(name.split()) or parts.netloc


def covers(address: str, other: str) -> bool:
    """Whether `other` is the page `address` or lies below it, as a file below a folder."""
    return other == address or other.startswith(address.rstrip("/") + "/")


def _without_dots(path: str) -> str:
    """A path with `.` and `..` resolved (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    parts = path.split("/")
    for part in parts[1:]:
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept) if path else ""
