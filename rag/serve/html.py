"""Answers, sources and documents as HTML."""

from __future__ import annotations

import html
import string
from collections.abc import Mapping, Sequence

from rag.documents.citation import NOT_IN_DOCUMENTS, citation_of, place_of
from rag.documents.records import HASH_CHARACTERS
from rag.serve.links import source_link
from rag.serve.turns import Turn
from rag.types import Hit

MAX_DOCUMENTS_LISTED = 500


def escape(text: str) -> str:
    """Text that neither HTML nor Markdown gives a meaning to: every ASCII punctuation mark as a character reference."""
    return "".join(f"&#{ord(ch)};" if ch in string.punctuation else ch for ch in text)


def message_html(turn: Turn, number: int) -> str:
    """The assistant's side of a turn, for the chat bubble."""
    parts = []
    if turn.searched_for:
        parts.append(f'<div class="searched">searched for “{escape(turn.searched_for)}”</div>')
    if turn.error:
        parts.append(f'<div class="problem">{escape(turn.error)}</div>')
    elif turn.status:
        parts.append(f'<div class="status">{escape(turn.status)}</div>')
    elif turn.response and turn.response.answer:
        answer = turn.response.answer
        if answer.abstained and turn.done and not turn.stopped:
            parts.append(f'<div class="refusal">{NOT_IN_DOCUMENTS} The closest passages are beside this answer.</div>')
        else:
            text = "<br>".join(escape(line) for line in answer.text.splitlines())
            parts.append(f'<div class="answer">{text}{_citation_links(turn, number) if turn.done else " ▍"}</div>')
    if turn.stopped:
        parts.append('<div class="status">Stopped.</div>')
    return "".join(parts)


def _citation_links(turn: Turn, number: int) -> str:
    position = {hit.passage.id: n for n, hit in enumerate(turn.response.contexts, 1)}
    return "".join(
        f' <a class="cite" href="#source-{number}-{position[pid]}">[{position[pid]}]</a>'
        for pid in turn.response.answer.citations
    )


def sources_html(turns: Sequence[Turn]) -> str:
    """Source cards of every turn, the latest open and first."""
    sections = []
    for number in range(len(turns), 0, -1):
        turn = turns[number - 1]
        hits = _shown_hits(turn)
        if not hits:
            continue
        cited = set(turn.response.answer.citations) if turn.response.answer and turn.done else set()
        cards = "".join(_card(hit, number, n, hit.passage.id in cited, turn.attached) for n, hit in enumerate(hits, 1))
        label = html.escape(turn.searched_for or turn.question)
        is_open = " open" if number == len(turns) else ""
        sections.append(f'<details class="turn"{is_open}><summary>{label}</summary>{cards}</details>')
    return "".join(sections) or '<p class="status">The passages behind an answer appear here.</p>'


def documents_html(collections: Mapping[str, Sequence[Mapping]], attached: str = "") -> str:
    """What is indexed: every collection with its documents, which open where they have a passage.

    `attached` names the conversation whose own files are among them.
    """
    sections = []
    for name, rows in collections.items():
        items = [
            f'<li>{_opening(row, attached)} <span class="status">{html.escape(row["kind"])}, '
            f"{row['n_passages']:,} passage{'s' * (row['n_passages'] != 1)}</span></li>"
            for row in rows[:MAX_DOCUMENTS_LISTED]
        ]
        if len(rows) > MAX_DOCUMENTS_LISTED:
            items.append(f"<li>and {len(rows) - MAX_DOCUMENTS_LISTED:,} more</li>")
        summary = f"{html.escape(name)} ({len(rows):,})"
        sections.append(f"<details><summary>{summary}</summary><ul>{''.join(items)}</ul></details>")
    return f'<div class="listing">{"".join(sections)}</div>' if sections else ""


def _opening(document: Mapping, attached: str) -> str:
    name = html.escape(document["path"])
    if not document["n_passages"]:
        return name
    link = html.escape(source_link(document["sha256"][:HASH_CHARACTERS] + "@0", attached))
    return f'<a href="{link}" target="_blank" rel="noopener">{name}</a>'


def _shown_hits(turn: Turn) -> Sequence[Hit]:
    """The contexts; for a question refused before any, the passages that came closest."""
    if turn.response is None:
        return ()
    return turn.response.contexts or turn.response.reranked[:3]


def _card(hit: Hit, number: int, n: int, cited: bool, attached: str) -> str:
    title = html.escape(hit.passage.title or hit.passage.id)
    link = html.escape(source_link(hit.passage.id, attached))
    badge = '<span class="badge">cited</span>' if cited else ""
    return (
        f'<article class="card{" cited" if cited else ""}" id="source-{number}-{n}" tabindex="-1">'
        f'<header><b>[{n}]</b> {title} {badge}<span class="score">score {hit.score:.2f}</span></header>'
        f"<pre>{html.escape(hit.passage.text)}</pre><footer>{html.escape(place_of(hit.passage))}"
        f'<span class="tools"><a href="{link}" target="_blank" rel="noopener">'
        f'Open<span class="unseen"> [{n}] in its document</span></a>'
        f'<button type="button" class="copy" data-citation="{html.escape(citation_of(hit.passage))}">'
        "Copy citation</button></span></footer></article>"
    )
