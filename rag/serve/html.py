"""Answers, sources and documents as HTML."""

from __future__ import annotations

import html
import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rag.documents.citation import NOT_IN_DOCUMENTS, citation_of, place_html
from rag.documents.records import HASH_CHARACTERS
from rag.generate.citations import cited_by, moved, split_citations
from rag.generate.support import support_line
from rag.marks import with_marks
from rag.progress import Progress
from rag.serve.source_pages import source_link
from rag.serve.turns import Turn
from rag.types import Answer, Hit, ReadSpan, Response

if TYPE_CHECKING:
    from gradio.components.chatbot import MessageDict

MAX_DOCUMENTS_LISTED = 500
NO_SOURCES = '<p class="status">The passages behind an answer appear here.</p>'


def escape(text: str) -> str:
    """Text that means nothing in HTML or Markdown: every ASCII punctuation mark becomes a character reference."""
    return "".join(f"&#{ord(ch)};" if ch in string.punctuation else ch for ch in text)


def status_html(text: str) -> str:
    """A line about what is going on; screen readers read it aloud when it changes."""
    return f'<div class="status" role="status">{escape(text)}</div>'


def progress_html(done: Progress) -> str:
    """A bar and a line. It is no live region: a screen reader would read it aloud twice a second."""
    share = min(done.done / max(done.total, 1), 1.0)
    bar = f'<progress value="{share:.3f}" aria-label="{escape(done.label)}"></progress>'
    return f'<div class="status">{bar}<br>{escape(done.line())}</div>'


def chat_messages(turns: Sequence[Turn]) -> list[MessageDict]:
    """The turns as the messages of a chat: {"role": …, "content": HTML}."""
    messages: list[MessageDict] = []
    for number, turn in enumerate(turns, 1):
        messages.append({"role": "user", "content": escape(turn.question)})
        if content := message_html(turn, number):
            messages.append({"role": "assistant", "content": content})
    return messages


def message_html(turn: Turn, number: int) -> str:
    """The assistant's side of turn `number` (from 1), for the chat bubble."""
    parts = []
    if turn.searched_for:
        parts.append(f'<div class="searched">searched for “{escape(turn.searched_for)}”</div>')
    if turn.error:
        parts.append(f'<div class="problem">{escape(turn.error)}</div>')
    elif turn.status:
        parts.append(f'<div class="status">{escape(turn.status)}</div>')
    elif turn.response and turn.response.answer:
        parts.append(_answer_html(turn, turn.response, turn.response.answer, number))
    if turn.stopped:
        parts.append('<div class="status">Stopped.</div>')
    return "".join(parts)


def _answer_html(turn: Turn, response: Response, answer: Answer, number: int) -> str:
    if answer.abstained and turn.done and not turn.stopped:
        return f'<div class="refusal">{NOT_IN_DOCUMENTS} The closest passages are beside this answer.</div>'
    if not turn.done or turn.stopped:
        # What was written so far is not parsed yet. Its markers are shown as they will be once it is.
        text, marks = split_citations(answer.text, [hit.passage for hit in response.contexts])
        answer = Answer(text, cited_by(marks), answer.raw, moved(marks, (0, len(text))))
    position = {hit.passage.id: n for n, hit in enumerate(response.contexts, 1)}

    def link(pid: str) -> str:
        return f'<a class="cite" href="#source-{number}-{position[pid]}">[{position[pid]}]</a>'

    end = "" if turn.done else " ▍"
    shown = f'<div class="answer">{with_marks(answer, link, _lines)}{end}</div>'
    return shown + (_support_html(response) if turn.done and not turn.stopped else "")


def _support_html(response: Response) -> str:
    """A small line below an answer that was checked, with an explanation to hover; "" where it was not."""
    line, support = support_line(response), response.support
    if support is None or not line:
        return ""
    read = "" if support.agreement is None else f" What a span reader reads there agrees by {support.agreement:.0%}."
    why = (
        "Checked: whether the answer's words stand in the passages that it cites, and how near their sentences lie to "
        f"question and answer together.{read} Score {support.score:.1f}; higher is better."
    )
    return f'<div class="support status" title="{html.escape(why)}">{html.escape(line)}</div>'


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.replace("\r\n", "\n").split("\n"))


def sources_html(turns: Sequence[Turn]) -> str:
    """The source cards of every turn; the latest turn comes first and is open."""
    sections = []
    for number in range(len(turns), 0, -1):
        turn = turns[number - 1]
        hits = _shown_hits(turn)
        if not hits:
            continue
        answer = turn.response.answer if turn.response else None
        cited = set(answer.citations) if answer and turn.done else set()
        spans = turn.response.spans if turn.response else {}
        cards = "".join(
            _card(
                hit,
                f"source-{number}-{n}",
                n,
                spans.get(hit.passage.id),
                is_cited=hit.passage.id in cited,
                attached=turn.attached,
            )
            for n, hit in enumerate(hits, 1)
        )
        label = html.escape(turn.searched_for or turn.question)
        is_open = " open" if number == len(turns) else ""
        sections.append(f'<details class="turn"{is_open}><summary>{label}</summary>{cards}</details>')
    return "".join(sections) or NO_SOURCES


def _shown_hits(turn: Turn) -> Sequence[Hit]:
    """The contexts; where a question was refused before it had any, the passages that came closest."""
    if turn.response is None:
        return ()
    return turn.response.contexts or turn.response.reranked[:3]


def _card(hit: Hit, anchor: str, n: int, span: ReadSpan | None, *, is_cited: bool, attached: str) -> str:
    title = html.escape(hit.passage.title or hit.passage.id)
    link = html.escape(source_link(hit.passage.id, attached))
    badge = '<span class="badge">cited</span>' if is_cited else ""
    return (
        f'<article class="card{" cited" if is_cited else ""}" id="{anchor}" tabindex="-1">'
        f'<header><b>[{n}]</b> {title} {badge}<span class="score">score {hit.score:.2f}</span></header>'
        f"<pre>{_marked(hit.passage.text, span)}</pre><footer>{place_html(hit.passage)}"
        f'<span class="tools"><a href="{link}" target="_blank" rel="noopener">'
        f'Open<span class="unseen"> [{n}] in its document</span></a>'
        f'<button type="button" class="copy" data-citation="{html.escape(citation_of(hit.passage))}">'
        "Copy citation</button></span></footer></article>"
    )


def _marked(text: str, span: ReadSpan | None) -> str:
    """A passage's text, the words marked in which a reader sees the answer."""
    if span is None or not span.is_seen:
        return html.escape(text)
    parts = (text[: span.start], text[span.start : span.end], text[span.end :])
    return "{}<mark>{}</mark>{}".format(*map(html.escape, parts))


def documents_html(collections: Mapping[str, Sequence[Mapping]], attached: str = "") -> str:
    """The documents of every collection, each with a link to its first passage where it has one.

    With `attached` they are a conversation's own files, and this is its key.
    """
    sections = []
    for name, rows in collections.items():
        items = [_item(row, attached) for row in rows[:MAX_DOCUMENTS_LISTED]]
        if len(rows) > MAX_DOCUMENTS_LISTED:
            items.append(f"<li>and {len(rows) - MAX_DOCUMENTS_LISTED:,} more</li>")
        summary = f"{html.escape(name)} ({len(rows):,})"
        sections.append(f"<details><summary>{summary}</summary><ul>{''.join(items)}</ul></details>")
    return f'<div class="listing">{"".join(sections)}</div>' if sections else ""


def _item(document: Mapping, attached: str) -> str:
    name, n_passages = html.escape(document["path"]), document["n_passages"]
    if n_passages:
        link = html.escape(source_link(document["sha256"][:HASH_CHARACTERS] + "@0", attached))
        name = f'<a href="{link}" target="_blank" rel="noopener">{name}</a>'
    passages = "passage" if n_passages == 1 else "passages"
    return f'<li>{name} <span class="status">{html.escape(document["kind"])}, {n_passages:,} {passages}</span></li>'
