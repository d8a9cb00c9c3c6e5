"""The page that shows a passage in its document: rendered text with a mark, for a PDF pictures of its pages."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from rag.documents.citation import place_html
from rag.documents.document import Block
from rag.documents.pages import PageImage
from rag.serve.assets import read_static
from rag.serve.sources import Source
from rag.serve.view.cards import place_in_words, title_of
from rag.serve.view.markdown import markdown_html
from rag.serve.view.passages import line_html, with_mark
from rag.serve.view.plain import as_markdown, speaks_markdown
from rag.serve.view.signs import clean
from rag.types import Span

GONE = "The documents no longer hold this passage; ask again to find what they say now."
CHARACTERS_AROUND = 20_000
THEMES = ("light", "dark")
FIRST_MARK = " id=passage tabindex=-1"
"""Where a link arrives."""

_PASSAGE = '<div class="passage">'


def source_html(
    source: Source,
    pictures: Sequence[PageImage] = (),
    problem: str = "",
    *,
    sentence: Span | None = None,
    back: str = "../",
    query: str = "",
    theme: str = "",
) -> str:
    """The page of a source: pictures first, then the text around the passage.

    `sentence`, in characters of the passage, is marked, else all of the passage. `back` leads to the chat; `query`
    stands behind the addresses of other pages of a PDF. `theme` is "light" or "dark", "" as the system has it.
    """
    title = clean(source.document.title or title_of(source.passage, 1))
    where = place_html(source.passage) if source.passage.place else escape(place_in_words(source.passage))
    body = [
        f'<nav aria-label="Back"><a href="{escape(back)}">‹ Back to the chat</a></nav>',
        f'<main><header><h1 dir="auto">{escape(title)}</h1><p class="where">{where}</p></header>',
    ]
    if problem:
        body.append(f'<p class="note">{escape(problem)}</p>')
    text = _text_html(source, sentence)
    if pictures:
        body += [_picture_html(picture, first=n == 0) for n, picture in enumerate(pictures)]
        body += [_page_links(pictures, query), f"<details><summary>The text</summary>{text}</details>"]
    else:
        body.append(text)
    return page_html(title, "".join([*body, "</main>"]), theme)


def gone_html(theme: str = "") -> str:
    """The page of a passage that is not there."""
    return page_html("Not there", f"<main><h1>Not there</h1><p>{GONE}</p></main>", theme)


def page_html(title: str, body: str, theme: str = "") -> str:
    """A page without scripts, its style sheet inside it; light or dark by `theme`, else as the system has it."""
    chosen = f' data-theme="{theme}"' if theme in THEMES else ""
    return (
        f'<!doctype html><html lang="en"{chosen}><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{read_static('source.css')}</style></head><body>{body}</body></html>"
    )


def marked_span(source: Source, sentence: Span | None) -> Span:
    """What is marked, in characters of the document: the sentence where the document has it, else the passage."""
    if sentence is None:
        return source.start, source.end
    start, end = sentence
    words, passage = source.passage.text[start:end], source.document.text[source.start : source.end]
    # A table's header stands above the text of its passage, and not in the document.
    place = start if passage[start : start + len(words)] == words else passage.find(words)
    if not words.strip() or place < 0:
        return source.start, source.end
    return source.start + place, source.start + place + len(words)


def _page_links(pictures: Sequence[PageImage], query: str) -> str:
    """Links to the pages before and after."""
    first, last, n_pages = pictures[0].number, pictures[-1].number, pictures[0].n_pages
    more = f"&amp;{escape(query)}" if query else ""
    before = f'<a href="?page={first - 1}{more}">‹ page {first - 1}</a> ' if first > 1 else ""
    after = f' <a href="?page={last + 1}{more}">page {last + 1} ›</a>' if last < n_pages else ""
    own = f'<a href="?{escape(query)}">the passage</a>'
    return f'<nav aria-label="Pages">{before}of {n_pages:,} pages{after} · {own}</nav>'


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


def _text_html(source: Source, sentence: Span | None) -> str:
    """The blocks around the passage, those of the passage in an element of their own, the sentence marked."""
    document, blocks = source.document, source.document.blocks
    low, high = source.start - CHARACTERS_AROUND, source.end + CHARACTERS_AROUND
    shown = [block for block in blocks if block.end > low and block.start < high]
    parts = []
    if shown and shown[0] is not blocks[0]:
        parts.append('<p class="note">… the document begins before this.</p>')
    is_first = True
    for is_passage, group in groupby(shown, key=lambda one: one.start < source.end and one.end > source.start):
        text = "".join(_blocks_html(source, list(group), (low, high), marked_span(source, sentence)))
        if is_passage and is_first:
            # A mark that could not be drawn, as in a formula: the link arrives at the passage.
            anchor = _PASSAGE if f"<mark{FIRST_MARK}>" in text else f'<div class="passage"{FIRST_MARK}>'
            is_first = False
            parts.append(f"{anchor}{text}</div>")
        else:
            parts.append(f"{_PASSAGE}{text}</div>" if is_passage else text)
    if shown and shown[-1] is not document.blocks[-1]:
        parts.append('<p class="note">The document goes on after this …</p>')
    return "".join(parts)


def _blocks_html(source: Source, blocks: Sequence[Block], window: Span, mark: Span) -> Iterator[str]:
    """Each block; the first mark in them is where a link arrives."""
    first_mark = FIRST_MARK
    for block in blocks:
        # A single block may hold a whole book: it is cut too.
        start, end = max(block.start, window[0]), min(block.end, window[1])
        inside = (max(mark[0], start) - start, min(mark[1], end) - start)
        shown = _block_html(source, block, start, end, inside if inside[0] < inside[1] else None, first_mark)
        if first_mark and f"<mark{first_mark}>" in shown:
            first_mark = ""
        yield shown


def _block_html(source: Source, block: Block, start: int, end: int, mark: Span | None, first_mark: str) -> str:
    kind, text = source.document.kind, source.document.text[start:end]
    is_markdown = kind == "markdown" or (kind in ("text", "passages") and speaks_markdown(source.passage.source, text))
    if block.kind == "heading":
        name = f"h{min(max(block.level, 1) + 1, 6)}"
        return f'<{name} dir="auto">{line_html(text, is_markdown, mark, first_mark)}</{name}>'
    if block.kind == "code" and not is_markdown:
        return f'<pre tabindex="0">{_marked(text, mark, first_mark)}</pre>'
    signed = with_mark(text, mark)
    if is_markdown:
        return markdown_html(signed, first_mark=first_mark, keeps_lines=False)
    return markdown_html(as_markdown(signed), first_mark=first_mark, formulas=False)


def _marked(text: str, mark: Span | None, first_mark: str) -> str:
    """Text as it is written, a part of it marked."""
    if mark is None:
        return escape(clean(text))
    before, inside, after = (escape(clean(part)) for part in (text[: mark[0]], text[slice(*mark)], text[mark[1] :]))
    return f"{before}<mark{first_mark}>{inside}</mark>{after}"
