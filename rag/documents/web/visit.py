"""A look at one page: redirects, robots.txt, and whether it has changed since it was kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from rag.documents.address import host_of, joined
from rag.documents.web.body import as_utf8, suffix_of
from rag.documents.web.fetch import Answer, Fetcher, NotReached
from rag.documents.web.links import is_sitemap
from rag.documents.web.robots import MAX_DELAY_SECONDS, Robots
from rag.documents.web.store import Page, WebPages
from rag.errors import UnreadableFile

REDIRECTS = (301, 302, 303, 307, 308)
_FOR_NOW = (302, 303, 307)
_GONE = (404, 410)
_BUSY = (429, 503)
_HTML = (".html", ".xhtml")


class _Limits(Protocol):
    @property
    def max_redirects(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Visited:
    """What stands at an address: at which address it was found in the end, and its body.

    `is_gone`: there is no such page. `passed_over` and `other_kind` say why it was not kept, "" where it was.
    """

    address: str
    body: bytes = b""
    is_html: bool = False
    is_gone: bool = False
    passed_over: str = ""
    other_kind: str = ""


class Visitor:
    """Looks at pages and keeps them; `robots` gives the rules of an address's host."""

    def __init__(self, fetcher: Fetcher, pages: WebPages, robots: Callable[[str], Robots], limits: _Limits):
        self._fetcher, self._pages, self._robots, self._limits = fetcher, pages, robots, limits

    def visit(self, address: str, root: str, depth: int, hosts: Collection[str] | None) -> Visited:
        """Look at an address that was found `depth` links away from a root, and keep what stands there.

        `hosts` are those that a redirect may lead to; None: any. A page that is gone, or has moved, is dropped. Raises
        UnreadableFile where it cannot be looked at now, with the reason; NotReached where no answer came.
        """
        at = address
        for _ in range(self._limits.max_redirects + 1):
            if refused := self._refused(at):
                known = self._pages.get(address) is not None or hosts is None
                if known:
                    raise UnreadableFile(refused)
                return Visited(at, passed_over=refused)
            page = self._pages.get(at)
            answer = self._ask(at, page)
            if answer.status not in REDIRECTS:
                visited = self._taken(at, answer, page, root, depth)
                if at != address:  # what stood there has moved, and stands here now
                    self._pages.drop(address)
                return visited
            where = answer.headers.get("location", "").strip()
            target = joined(at, where) if where else None
            if target is None:
                raise UnreadableFile(f"the server answers {answer.status} and does not say where to")
            if answer.status in _FOR_NOW and page is not None and host_of(target) != host_of(at):
                raise UnreadableFile(f"leads to another host for now ({answer.status}, {host_of(target)})")
            if hosts is not None and host_of(target) not in hosts:
                self._pages.drop(address)
                return Visited(target, passed_over="moved to another host")
            at = target
        raise UnreadableFile(f"leads on and on (more than {self._limits.max_redirects} redirects)")

    def _refused(self, address: str) -> str:
        robots = self._robots(address)
        if robots.unknown:
            raise NotReached(robots.unknown)
        parts = urlsplit(address)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return "" if robots.allows(path) else "not allowed by the site's robots.txt"

    def _ask(self, address: str, page: Page | None) -> Answer:
        """The answer, asked for again once where a busy server says when."""
        headers = {}
        if page is not None and page.etag:
            headers["If-None-Match"] = page.etag
        if page is not None and page.last_modified:
            headers["If-Modified-Since"] = page.last_modified
        answer = self._fetcher.get(address, headers)
        wait = answer.headers.get("retry-after", "")
        if answer.status in _BUSY and wait.isdecimal() and len(wait) < 9 and int(wait) <= MAX_DELAY_SECONDS:
            time.sleep(int(wait))
            answer = self._fetcher.get(address, headers)
        return answer

    def _taken(self, at: str, answer: Answer, page: Page | None, root: str, depth: int) -> Visited:
        """What an answer that is no redirect means for the kept pages."""
        if answer.status in _GONE:
            self._pages.drop(at)
            return Visited(at, is_gone=True)
        if answer.status == 304 and page is not None:
            self._pages.found(page, root, depth)
            return Visited(at, self._pages.body(page), page.file.endswith(_HTML))
        if answer.status != 200:
            raise UnreadableFile(f"the server answers {answer.status}")
        # A sitemap is no page, whatever type a server gives it.
        suffix = None if is_sitemap(answer.body) else suffix_of(answer.content_type, at, answer.body)
        if suffix is None:
            self._pages.drop(at)
            return Visited(at, answer.body, other_kind=answer.content_type or "without a type")
        body = as_utf8(answer.body, answer.charset, suffix)
        versions = {name: answer.headers.get(name.replace("_", "-"), "") for name in ("etag", "last_modified")}
        versions = {name: value if value.isascii() and value.isprintable() else "" for name, value in versions.items()}
        self._pages.keep(at, body, suffix, root, depth, **versions)
        return Visited(at, body, suffix in _HTML)
