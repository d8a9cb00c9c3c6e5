"""What a source card opens: a passage in its document, on pages of their own beside the chat.

`/source/ID` shows the text of the document with the passage marked, and for a PDF the page as a picture. The page holds
no script and may load nothing: whatever a document says, it is only shown.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from rag.data.passages import Corpus
from rag.documents.citation import place_of
from rag.documents.document import Block, Document
from rag.documents.pages import PageImage
from rag.documents.parsed import ParsedDocuments
from rag.documents.records import HASH_CHARACTERS
from rag.documents.worker import ParserProcess
from rag.errors import UnreadableFile
from rag.index.read import OpenIndex, kept_documents
from rag.types import Passage

GONE = "The documents no longer hold this passage; ask again to find what they say now."
NOT_KEPT = "The text of this file is no longer kept; these are the passages of it that answers are drawn from."
SECONDS_TO_WAIT = 5.0
CHARACTERS_AROUND = 20_000
MAX_PICTURES = 3
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
CSS = """
:root { color-scheme: light dark; --line: #8884; --mark: #fde68a; --on-mark: #1c1917; --box: #facc1566; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 52rem; margin: auto; padding: 1rem; overflow-wrap: anywhere; }
header { border-bottom: 1px solid var(--line); margin-bottom: 1rem; }
h1 { font-size: 1.25rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; } h3, h4, h5, h6 { font-size: 1rem; }
.where, .note, nav, figcaption { opacity: .75; font-size: .9rem; }
mark { background: var(--mark); color: var(--on-mark); border-radius: 2px; scroll-margin-top: 20vh; }
p, .table { white-space: pre-wrap; } pre { overflow-x: auto; background: #8881; padding: .6rem; }
.table { font-family: ui-monospace, monospace; font-size: .85rem; overflow-x: auto; }
figure { margin: 0 0 1rem; } .page { position: relative; border: 1px solid var(--line); background: white; }
.page img { display: block; width: 100%; height: auto; }
.page i { position: absolute; background: var(--box); mix-blend-mode: multiply; border-radius: 2px; }
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A passage in its document: the span of its text, the file, where there is one, and what to know of both."""

    passage: Passage
    document: Document
    start: int
    end: int
    sha256: str = ""
    paths: tuple[Path, ...] = ()
    note: str = ""


class Sources:
    """Finds passages in the documents of an index; `open_index` gives the state that answers are drawn from."""

    def __init__(self, index_folder: str | Path, open_index: Callable[[], OpenIndex]):
        self._folder, self.open_index = Path(index_folder), open_index
        self._parser, self._lock = ParserProcess(seconds=30), threading.Lock()

    def find(self, passage_id: str) -> Source | None:
        """The passage in its document, or None where the documents no longer hold it."""
        corpus = self.open_index().corpus
        if passage_id not in corpus:
            return None
        passage = corpus.by_id(passage_id)
        if passage.place is None:
            return _among_others(passage, corpus)
        return self._in_file(passage) or dataclasses.replace(_among_others(passage, corpus), note=NOT_KEPT)

    def _in_file(self, passage: Passage) -> Source | None:
        digits = passage.id.split("@")[0]
        for row in kept_documents(self._folder):
            if row["sha256"][:HASH_CHARACTERS] == digits:
                document = ParsedDocuments(self._folder).read(row["sha256"])
                paths = tuple(Path(p["root"]) / p["path"] if p["path"] else Path(p["root"]) for p in row["paths"])
                place = passage.place
                return document and Source(passage, document, place.start, place.end, row["sha256"], paths)
        return None

    def pictures(self, source: Source, number: int | None = None) -> list[PageImage]:
        """The pages of a PDF that the passage stands on, or page `number`. Raises UnreadableFile where the file has
        changed or is gone."""
        pages = _pages(source)
        wanted = [number] if number else sorted(pages)[:MAX_PICTURES]
        if not self._lock.acquire(timeout=SECONDS_TO_WAIT):  # whoever waits takes a place from everybody else
            raise UnreadableFile("cannot be drawn now: others are waiting for theirs")
        try:
            error: UnreadableFile | None = None
            for path in source.paths:
                try:
                    return [self._parser.render(path, source.sha256, n, pages.get(n, "")) for n in wanted]
                except UnreadableFile as reason:
                    error = reason
        finally:
            self._lock.release()
        raise error or UnreadableFile("has no file")

    def close(self) -> None:
        with self._lock:  # not in the middle of a picture
            self._parser.close()


def _among_others(passage: Passage, corpus: Corpus) -> Source:
    """A passage of a corpus file, among the other passages of its document."""
    name = passage.id.split("@")[0]
    text, blocks, title, span = "", [], "", (0, 0)
    for other in (each for each in corpus if each.id == passage.id or each.id.split("@")[0] == name):
        for kind, part in (("heading", other.title if other.title != title else ""), ("text", other.text)):
            if part:
                text += "\n\n" if text else ""
                blocks.append(Block(kind, len(text), len(text) + len(part), 2))
                text += part
        title = other.title
        if other.id == passage.id:
            span = blocks[-1].start, blocks[-1].end
    return Source(passage, Document("passages", passage.title or name, text, tuple(blocks)), *span)


def _pages(source: Source) -> dict[int, str]:
    """The part of the passage on each page."""
    parts: dict[int, str] = {}
    for block in source.document.blocks:
        start, end = max(block.start, source.start), min(block.end, source.end)
        if block.page is not None and start < end:
            parts[block.page] = f"{parts.get(block.page, '')} {source.document.text[start:end]}"
    return parts


def make_source_router(
    sources: Sources,
    may_read: Callable[[Request], bool],
    attached: Callable[[str], Sources | None] = lambda key: None,
) -> APIRouter:
    """The page of a source, for whom `may_read` lets in; `attached` gives the sources of a conversation's own files."""
    router = APIRouter()

    @router.get("/conversation/{key}/source/{passage_id:path}")
    def show_attached(key: str, passage_id: str, request: Request, page: str = "") -> HTMLResponse:
        return shown([attached(key) if may_read(request) else None, sources], passage_id, request, page)

    @router.get("/source/{passage_id:path}")
    def show(passage_id: str, request: Request, page: str = "") -> HTMLResponse:
        return shown([sources], passage_id, request, page)

    def shown(places: Sequence[Sources | None], passage_id: str, request: Request, page: str) -> HTMLResponse:
        if not may_read(request):
            raise HTTPException(401, "log in first")
        found = ((place, place.find(passage_id)) for place in places if place is not None)
        sources, source = next(((place, one) for place, one in found if one is not None), (None, None))
        if source is None:
            return HTMLResponse(_gone(), 404, HEADERS)
        pictures, problem = [], source.note
        if source.document.kind == "pdf":
            try:
                pictures = sources.pictures(source, int(page) if page.isdecimal() and len(page) < 9 else None)
            except UnreadableFile as error:
                problem = f"The file itself {error}; this is its text as it was taken in."
        return HTMLResponse(source_html(source, pictures, problem), 200, HEADERS)

    return router


def source_html(source: Source, pictures: Sequence[PageImage] = (), problem: str = "") -> str:
    """The page of a source: pictures first, then the text around the passage with the passage marked."""
    title = source.document.title or source.passage.title or source.passage.id
    body = [f'<header><h1>{escape(title)}</h1><p class="where">{escape(place_of(source.passage))}</p></header>']
    if problem:
        body.append(f'<p class="note">{escape(problem)}</p>')
    text = "".join(_text_html(source))
    if pictures:
        body += [_picture_html(picture, first=n == 0) for n, picture in enumerate(pictures)]
        body += [_turning(pictures), f"<details><summary>The text</summary>{text}</details>"]
    else:
        body.append(text)
    return _page(title, "".join(body))


def _turning(pictures: Sequence[PageImage]) -> str:
    """Links to the pages before and after."""
    first, last, n_pages = pictures[0].number, pictures[-1].number, pictures[0].n_pages
    before = f'<a href="?page={first - 1}">‹ page {first - 1}</a> ' if first > 1 else ""
    after = f' <a href="?page={last + 1}">page {last + 1} ›</a>' if last < n_pages else ""
    return f'<nav aria-label="Pages">{before}of {n_pages:,} pages{after} · <a href="?">the passage</a></nav>'


def _picture_html(picture: PageImage, *, first: bool) -> str:
    boxes = "".join(
        f'<i style="left:{100 * x:.2f}%;top:{100 * y:.2f}%;width:{100 * w:.2f}%;height:{100 * h:.2f}%"></i>'
        for x, y, w, h in picture.marks
    )
    data = base64.b64encode(picture.png).decode("ascii")
    found = "" if picture.marks else " (the passage is not marked)"
    return (
        f'<figure{" id=passage" if first else ""}><div class="page">'
        f'<img src="data:image/png;base64,{data}" width="{picture.width}" height="{picture.height}" '
        f'alt="Page {picture.number}">{boxes}</div>'
        f"<figcaption>Page {picture.number} of {picture.n_pages}{found}</figcaption></figure>"
    )


def _text_html(source: Source) -> Iterator[str]:
    document = source.document
    low, high = source.start - CHARACTERS_AROUND, source.end + CHARACTERS_AROUND
    shown = [block for block in document.blocks if block.end > low and block.start < high]
    if shown and shown[0] is not document.blocks[0]:
        yield '<p class="note">… the document begins before this.</p>'
    marks = itertools.count()
    for block in shown:
        name, attributes = {"heading": (f"h{min(max(block.level, 1) + 1, 6)}", ""), "code": ("pre", "")}.get(
            block.kind, ("div", ' class="table"') if block.kind == "table" else ("p", "")
        )
        # A block of a whole book is cut too.
        low_cut, high_cut = max(block.start, low), min(block.end, high)
        a, b = (min(max(point, low_cut), high_cut) for point in (source.start, source.end))
        before, inside, after = (escape(document.text[x:y]) for x, y in ((low_cut, a), (a, b), (b, high_cut)))
        if inside:
            inside = f"<mark{' id=passage tabindex=-1' if next(marks) == 0 else ''}>{inside}</mark>"
        yield f"<{name}{attributes}>{before}{inside}{after}</{name}>"
    if shown and shown[-1] is not document.blocks[-1]:
        yield '<p class="note">The document goes on after this …</p>'


def _gone() -> str:
    return _page("Not there", f"<h1>Not there</h1><p>{GONE}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>{body}</body></html>"
    )
