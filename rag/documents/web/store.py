"""Fetched pages, kept beside an index as files.

INDEX/web/HASH.html   the body of a page (or .pdf, .txt, …), by the SHA-256 of its address
INDEX/web/HASH.json   its record: the address, what the server said of its version, and the roots that led to it

A body is written before its record: a kill between the two makes the page be fetched once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.documents.address import covers, is_address
from rag.documents.scan import FoundFile, resolved
from rag.files import file_sha256, json_if_sound, write_json, write_whole

FOLDER = "web"


@dataclass(frozen=True, slots=True)
class Page:
    """A kept page: its canonical address, the name and hash of its body, and when that was fetched (ISO 8601).

    `etag` and `last_modified` are the server's words for this version, "" for none. `roots` says for each address that
    was named how many links away from it the page was found.
    """

    address: str
    file: str
    sha256: str
    size: int  # bytes
    fetched: str
    etag: str = ""
    last_modified: str = ""
    roots: Mapping[str, int] = field(default_factory=dict)

    @property
    def day(self) -> str:
        """The date on which the body was fetched."""
        return self.fetched[:10]


class WebPages:
    """The kept pages below an index."""

    def __init__(self, index_folder: str | Path):
        self.folder = resolved(index_folder) / FOLDER
        self._pages = {page.address: page for page in self._read()}

    def get(self, address: str) -> Page | None:
        """The page of a canonical address, if one is kept."""
        return self._pages.get(address)

    def of(self, root: str) -> list[Page]:
        """The pages that were found from a root."""
        return [page for page in self._pages.values() if root in page.roots]

    def roots_of(self, address: str) -> list[str]:
        """The roots that led to the page of an address."""
        page = self.get(address)
        return list(page.roots) if page else []

    def body(self, page: Page) -> bytes:
        """The body of a page. Raises OSError where it is gone."""
        return (self.folder / page.file).read_bytes()

    def keep(
        self, address: str, body: bytes, suffix: str, root: str, depth: int, *, etag: str, last_modified: str
    ) -> Page:
        """Keep a body that was fetched now, `depth` links away from a root."""
        before = self.get(address)
        name = hashlib.sha256(address.encode()).hexdigest()[:32]
        page = Page(
            address,
            name + suffix,
            hashlib.sha256(body).hexdigest(),
            len(body),
            datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            etag,
            last_modified,
            {**(before.roots if before else {}), root: depth},
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / page.file, body)
        self._write(page)
        if before is not None and before.file != page.file:
            (self.folder / before.file).unlink(missing_ok=True)
        return page

    def found(self, page: Page, root: str, depth: int) -> None:
        """Note that a page was found `depth` links away from a root."""
        if page.roots.get(root) != depth:
            self._write(dataclasses.replace(page, roots={**page.roots, root: depth}))

    def drop(self, address: str) -> None:
        """Delete a page."""
        page = self._pages.pop(address, None)
        if page is not None:
            self._record(page).unlink(missing_ok=True)
            (self.folder / page.file).unlink(missing_ok=True)

    def files(self, sites: Mapping[str, int], forgotten: Sequence[str]) -> list[FoundFile]:
        """The pages that roots lead to, as files to ingest, in order of their addresses.

        `sites` says for each root how many links away pages are taken.
        """
        return [
            FoundFile(
                str(self.folder),
                page.file,
                page.sha256,
                page.size,
                datetime.datetime.fromisoformat(page.fetched).timestamp(),
                address,
            )
            for address, page in sorted(self._pages.items())
            if _is_wanted(page, sites, forgotten)
        ]

    def keep_only(self, sites: Mapping[str, int], forgotten: Sequence[str]) -> None:
        """Delete the pages that no root leads to any more."""
        for page in [page for page in self._pages.values() if not _is_wanted(page, sites, forgotten)]:
            self.drop(page.address)

    def _read(self) -> Iterator[Page]:
        """The pages whose record and body are sound; the others are fetched again."""
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(TypeError, ValueError, OSError):
                page = Page(**(json_if_sound(path) or {}))
                datetime.datetime.fromisoformat(page.fetched)
                if Path(page.file).name == page.file and file_sha256(self.folder / page.file) == page.sha256:
                    yield page

    def _write(self, page: Page) -> None:
        self._pages[page.address] = page
        write_json(self._record(page), dataclasses.asdict(page))

    def _record(self, page: Page) -> Path:
        return self.folder / f"{page.file.partition('.')[0]}.json"


def is_forgotten(address: str, root: str, forgotten: Sequence[str]) -> bool:
    """Whether a page found from a root is to be left out; a root named within what is forgotten is taken again."""
    return any(covers(other, address) and not covers(other, root) for other in forgotten if is_address(other))


def _is_wanted(page: Page, sites: Mapping[str, int], forgotten: Sequence[str]) -> bool:
    return any(
        root in sites and depth <= sites[root] and not is_forgotten(page.address, root, forgotten)
        for root, depth in page.roots.items()
    )
