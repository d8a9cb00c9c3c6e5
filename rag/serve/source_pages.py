"""What a source card opens: a passage in its document, on pages of their own beside the chat.

`/source/ID` shows the document's text with the passage marked, and for a PDF a picture of the page. The page holds no
script and may load nothing, so whatever a document says is only shown.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from rag.documents.citation import place_html
from rag.documents.document import Block
from rag.documents.pages import PageImage
from rag.errors import UnreadableFile
from rag.serve.assets import read_static
from rag.serve.sources import Source, Sources

GONE = "The documents no longer hold this passage; ask again to find what they say now."
CHARACTERS_AROUND = 20_000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def source_link(passage_id: str, attached: str = "") -> str:
    """Where a passage opens in its document, relative to the chat's address.

    `attached` is the key of the conversation whose own files are searched first; "" for none.
    """
    within = f"conversation/{attached}/" if attached else ""
    return f"{within}source/{quote(passage_id, safe='@')}#passage"


def make_source_router(
    sources: Sources,
    may_read: Callable[[Request], bool],
    attached: Callable[[str], Sources | None] = lambda key: None,
) -> APIRouter:
    """The routes that `source_link` points to, for requests that `may_read` lets in (401 for others).

    `attached` gives the sources of a conversation's own files by its key.
    """
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
        for place in places:
            source = place.find(passage_id) if place is not None else None
            if place is not None and source is not None:
                return HTMLResponse(_source_page(place, source, page), 200, HEADERS)
        return HTMLResponse(_gone(), 404, HEADERS)

    return router


def _source_page(sources: Sources, source: Source, page: str) -> str:
    """The page of a source. `page` is the number that a request asks for; anything else shows the passage's page."""
    pictures: list[PageImage] = []
    problem = source.note
    if source.document.kind == "pdf":
        try:
            pictures = sources.pictures(source, int(page) if page.isdecimal() and len(page) < 9 else None)
        except UnreadableFile as error:
            problem = f"The file itself {error}; this is its text as it was when it was added."
    return source_html(source, pictures, problem)


def source_html(source: Source, pictures: Sequence[PageImage] = (), problem: str = "") -> str:
    """The page of a source: pictures first, then the text around the passage with the passage marked."""
    title = source.document.title or source.passage.title or source.passage.id
    body = [f'<header><h1>{escape(title)}</h1><p class="where">{place_html(source.passage)}</p></header>']
    if problem:
        body.append(f'<p class="note">{escape(problem)}</p>')
    text = "".join(_text_html(source))
    if pictures:
        body += [_picture_html(picture, first=n == 0) for n, picture in enumerate(pictures)]
        body += [_page_links(pictures), f"<details><summary>The text</summary>{text}</details>"]
    else:
        body.append(text)
    return _page(title, "".join(body))


def _page_links(pictures: Sequence[PageImage]) -> str:
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
    """The blocks around the passage, in order, with the passage marked; its first mark is where a link arrives."""
    document = source.document
    low, high = source.start - CHARACTERS_AROUND, source.end + CHARACTERS_AROUND
    shown = [block for block in document.blocks if block.end > low and block.start < high]
    if shown and shown[0] is not document.blocks[0]:
        yield '<p class="note">… the document begins before this.</p>'
    is_first_mark = True
    for block in shown:
        # A single block may hold a whole book: it is cut too.
        start, end = max(block.start, low), min(block.end, high)
        mark_start, mark_end = (min(max(point, start), end) for point in (source.start, source.end))
        before = escape(document.text[start:mark_start])
        inside = escape(document.text[mark_start:mark_end])
        after = escape(document.text[mark_end:end])
        if inside:
            inside = f"<mark{' id=passage tabindex=-1' if is_first_mark else ''}>{inside}</mark>"
            is_first_mark = False
        name, attributes = _element(block)
        yield f"<{name}{attributes}>{before}{inside}{after}</{name}>"
    if shown and shown[-1] is not document.blocks[-1]:
        yield '<p class="note">The document goes on after this …</p>'


def _element(block: Block) -> tuple[str, str]:
    """The HTML element for a block, and its attributes. The title of the page is the one h1."""
    if block.kind == "heading":
        return f"h{min(max(block.level, 1) + 1, 6)}", ""
    if block.kind == "code":
        return "pre", ""
    if block.kind == "table":
        return "div", ' class="table"'
    return "p", ""


def _gone() -> str:
    return _page("Not there", f"<h1>Not there</h1><p>{GONE}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{read_static('source.css')}</style></head><body>{body}</body></html>"
    )
