"""Following sites: the pages that an address leads to, fetched within limits and kept beside an index."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rag.documents.address import host_of, joined
from rag.documents.web.fetch import AGENT, Fetcher, NotReached
from rag.documents.web.guard import checked_transport
from rag.documents.web.links import is_sitemap, links_of, never_a_page, sitemap_links
from rag.documents.web.robots import Robots, read_robots
from rag.documents.web.store import WebPages, is_forgotten
from rag.documents.web.visit import REDIRECTS, Visited, Visitor
from rag.documents.worker import ParserProcess
from rag.errors import UnreadableFile
from rag.progress import Progress, progress

MAX_QUERIES_A_PATH = 20
MAX_SITEMAPS = 50
MAX_ROBOTS_REDIRECTS = 5
LARGE_BYTES = 2**20
"""A page or sitemap that is larger, or packed, is read in the worker."""
MAX_UNREACHED = 3
"""After so many addresses in a row that could not be reached, a site is left for the next time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebLimits:
    """How web pages are fetched. Pages and seconds count for each address that was named.

    `allow_private` lets addresses of private networks be fetched, this machine's own among them.
    """

    max_pages: int = 500
    max_page_mib: float = 20.0
    max_seconds: float = 900.0
    max_seconds_per_page: float = 30.0
    seconds_between_requests: float = 0.5
    max_redirects: int = 5
    allow_private: bool = False


@dataclass(slots=True)
class Visit:
    """What a look at sites did.

    `left_out` says why pages were not taken, `not_updated` why kept ones stay as they are (address -> reason);
    `passed_over` counts links that were not followed by the reason, `other_kinds` what is of a kind that is not read.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    not_updated: dict[str, str] = field(default_factory=dict)
    passed_over: Counter = field(default_factory=Counter)
    other_kinds: Counter = field(default_factory=Counter)


def follow_sites(
    pages: WebPages, sites: Mapping[str, int], forgotten: Sequence[str], limits: WebLimits = WebLimits()
) -> Visit:
    """Look at every page that the roots lead to, and bring the kept pages up to date.

    `sites` says for each root, a canonical address, how many links away pages are taken. New pages are kept, changed
    ones replaced, those that are gone (404, 410) dropped. What cannot be looked at now stays as it is, and is named.
    """
    visit = Visit()
    fetcher = Fetcher(
        checked_transport(allow_private=limits.allow_private),
        max_bytes=int(limits.max_page_mib * 2**20),
        seconds_per_page=limits.max_seconds_per_page,
        seconds_between=limits.seconds_between_requests,
    )
    try:
        rules = _Rules(fetcher, limits.seconds_between_requests)
        for root, depth in sites.items():
            with progress(f"Fetching {host_of(root)}, at most", limits.max_pages, "pages") as bar:
                visitor = Visitor(fetcher, pages, rules.of, limits)
                _Site(root, depth, forgotten, pages, limits, visit, visitor, bar).run()
    finally:
        fetcher.close()
    return visit


class _Rules:
    """The robots.txt of each host, read once; the last host asked for sets the pace."""

    def __init__(self, fetcher: Fetcher, seconds_between: float):
        self._fetcher = fetcher
        self._seconds = seconds_between
        self._known: dict[tuple[str, str], Robots] = {}

    def of(self, address: str) -> Robots:
        parts = urlsplit(address)
        site = (parts.scheme, parts.netloc)
        if site not in self._known:
            self._known[site] = self._read(f"{parts.scheme}://{parts.netloc}/robots.txt")
        robots = self._known[site]
        self._fetcher.seconds_between = max(self._seconds, robots.delay_seconds)
        return robots

    def _read(self, address: str) -> Robots:
        """The rules; RFC 9309: none where there is no such file, everything is forbidden where the server fails."""
        try:
            answer = self._fetcher.get(address)
            for _ in range(MAX_ROBOTS_REDIRECTS):
                target = joined(address, answer.headers.get("location", "")) if answer.status in REDIRECTS else None
                if target is None:
                    break
                address, answer = target, self._fetcher.get(target)
        except NotReached as error:
            return Robots(unknown=str(error))
        except UnreadableFile as error:
            return Robots(unknown=f"its robots.txt cannot be read: {error}")
        if answer.status >= 500:
            return Robots(unknown=f"its robots.txt cannot be read: the server answers {answer.status}")
        return read_robots(answer.body, AGENT) if answer.status == 200 else Robots()


class _Site:
    """One root, and the pages that it leads to."""

    def __init__(
        self,
        root: str,
        depth: int,
        forgotten: Sequence[str],
        pages: WebPages,
        limits: WebLimits,
        visit: Visit,
        visitor: Visitor,
        bar: Progress,
    ):
        self._root, self._depth, self._forgotten = root, depth, forgotten
        self._pages, self._limits, self._visit, self._visitor, self._bar = pages, limits, visit, visitor, bar
        self._hosts = {host_of(root)}
        self._waiting: deque[tuple[str, int]] = deque()
        self._noted: set[str] = set()
        self._done: set[str] = set()
        self._queries: Counter = Counter()
        self._n_sitemaps = 0
        self._unreached = 0
        self._problem = ""  # why the last address was not reached

    def run(self) -> None:
        """Links first, near ones before far ones; then the pages that were known and are no longer linked."""
        end = time.monotonic() + self._limits.max_seconds
        self._note([self._root], 0)
        stop = ""
        n = 0
        for known in (False, True):
            if known:
                for page in self._pages.of(self._root):
                    is_left = is_forgotten(page.address, self._root, self._forgotten)
                    if page.roots[self._root] <= self._depth and page.address not in self._done and not is_left:
                        self._noted.add(page.address)
                        self._waiting.append((page.address, page.roots[self._root]))
            while self._waiting and not stop:
                address, depth = self._waiting.popleft()
                if address in self._done:
                    continue
                self._look_at(address, depth)
                self._bar.advance()
                n += 1
                stop = self._reason_to_stop(n, end)
        left = {address for address, _ in self._waiting} - self._done
        if stop and left:
            held = sum(page.address not in self._done for page in self._pages.of(self._root))
            stays = f", kept pages among them, which stay as they are: {held:,}" if held else ""
            self._visit.not_updated[self._root] = f"{stop}; addresses that were not looked at: {len(left):,}{stays}"

    def _reason_to_stop(self, n: int, end: float) -> str:
        if n >= self._limits.max_pages:
            return f"stopped after {n:,} addresses (web.max_pages)"
        if time.monotonic() > end:
            return f"stopped after {self._limits.max_seconds:g} s (web.max_seconds)"
        return self._problem if self._unreached >= MAX_UNREACHED else ""

    def _look_at(self, address: str, depth: int) -> None:
        self._done.add(address)
        is_root = address == self._root
        try:
            visited = self._visitor.visit(address, self._root, depth, None if is_root else self._hosts)
        except NotReached as error:
            self._unreached += 1
            self._problem = str(error)
            self._note_failure(address, self._problem)
            return
        except UnreadableFile as error:
            self._unreached = 0
            self._note_failure(address, str(error))
            return
        self._unreached = 0
        self._done.add(visited.address)
        if is_root and not visited.is_gone:
            self._hosts.add(host_of(visited.address))
        if visited.is_gone and not is_root:
            self._visit.passed_over["gone or never there (404)"] += 1
        elif visited.is_gone:
            self._visit.left_out[address] = "the server answers that there is no such page"
        elif visited.passed_over:
            self._visit.passed_over[visited.passed_over] += 1
        elif visited.other_kind:
            self._count_other_kind(visited, is_root=is_root)
        else:
            self._follow(visited, depth)

    def _count_other_kind(self, visited: Visited, *, is_root: bool) -> None:
        if is_sitemap(visited.body):
            self._sitemap(visited)
        elif is_root:
            self._visit.left_out[visited.address] = f"of a kind that is not read ({visited.other_kind})"
        else:
            self._visit.other_kinds[visited.other_kind] += 1

    def _follow(self, visited: Visited, depth: int) -> None:
        if depth < self._depth and visited.is_html:
            self._note(self._links_of(visited), depth + 1)

    def _links_of(self, visited: Visited) -> list[str]:
        """Where a page leads. A large one is read in a process of its own, within the limits of a file."""
        if len(visited.body) <= LARGE_BYTES:
            return links_of(visited.body, visited.address)
        try:
            with contextlib.closing(ParserProcess(seconds=self._limits.max_seconds_per_page)) as parser:
                return parser.links(visited.body, visited.address)
        except UnreadableFile as error:
            self._visit.not_updated[visited.address] = f"its links cannot be read: {error}"
            return []

    def _links_of_sitemap(self, visited: Visited) -> tuple[list[str], list[str]]:
        if len(visited.body) <= LARGE_BYTES and not visited.body.startswith(b"\x1f\x8b"):
            return sitemap_links(visited.body, visited.address)
        try:
            with contextlib.closing(ParserProcess(seconds=self._limits.max_seconds_per_page)) as parser:
                return parser.sitemap_links(visited.body, visited.address)
        except UnreadableFile as error:
            self._visit.not_updated[visited.address] = f"the sitemap cannot be read: {error}"
            return [], []

    def _sitemap(self, visited: Visited) -> None:
        """The pages of a sitemap count as named themselves: links are followed from each."""
        self._n_sitemaps += 1
        found, others = self._links_of_sitemap(visited)
        self._note(found, 0)
        if self._n_sitemaps <= MAX_SITEMAPS:
            self._note(others, 0)
        elif others:
            self._visit.passed_over["sitemaps beyond the limit"] += len(others)

    def _note(self, addresses: Iterable[str], depth: int) -> None:
        """Put addresses that are new into the queue, unless something speaks against it."""
        for address in addresses:
            if address in self._noted:
                continue
            self._noted.add(address)
            parts = urlsplit(address)
            if host_of(address) not in self._hosts:
                self._visit.passed_over["on another host"] += 1
            elif is_forgotten(address, self._root, self._forgotten):
                self._visit.passed_over["forgotten"] += 1
            elif address != self._root and (suffix := never_a_page(address)) and not parts.path.endswith(".xml.gz"):
                self._visit.other_kinds[suffix] += 1
            elif parts.query and self._queries[parts.path] >= MAX_QUERIES_A_PATH:
                self._visit.passed_over[f"more than {MAX_QUERIES_A_PATH} queries of one page"] += 1
            else:
                self._queries[parts.path] += bool(parts.query)
                self._waiting.append((address, depth))

    def _note_failure(self, address: str, reason: str) -> None:
        page = self._pages.get(address)
        if page is not None and self._root in page.roots:
            self._visit.not_updated[address] = f"{reason}; its copy of {page.day} stays"
        else:
            self._visit.left_out[address] = reason
