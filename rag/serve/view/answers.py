"""An answer as HTML with its citations in it, as Markdown to copy, and the sentence below a short one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

from rag.generate.support import SUPPORTED
from rag.marks import marked_parts, with_marks
from rag.serve.turns import Turn
from rag.serve.view.cards import Card, place_in_words, title_of
from rag.serve.view.markdown import markdown_html
from rag.serve.view.passages import line_html
from rag.serve.view.plain import speaks_markdown
from rag.serve.view.signs import citation, clean
from rag.types import Answer, Response, Span

MAX_QUOTED_ANSWER = 120
MAX_QUOTE = 600
_FENCE = re.compile(r"\s{0,3}(?:`{3}|~{3}|\${2})")


def answer_html(answer: Answer, cards: Sequence[Card], numbers: Mapping[str, int]) -> str:
    """The answer with a button for each citation at its place; `numbers` are those of the passages that are shown."""
    return markdown_html(signed(answer, numbers), cite_with(cards))


def answer_markdown(answer: Answer, cards: Sequence[Card], numbers: Mapping[str, int]) -> str:
    """The answer in Markdown with its citations, and a list of their sources below: what is copied."""
    text = with_marks(answer, lambda pid: f"[{numbers[pid]}]" if pid in numbers else "")
    cited = [card for card in cards if card.is_cited]
    lines = [f"- [{card.n}] {_named(card)}" for card in cited]
    return "\n".join([text, "", "Sources:", "", *lines]) if cited else text


def cite_with(cards: Sequence[Card]) -> Callable[[int], str]:
    """What writes the button of a citation by its number."""
    names = {card.n: escape(f"Source {card.n}: {_named(card)}") for card in cards}

    def cite(number: int) -> str:
        if number not in names:
            return ""
        attributes = f'class="cite" data-source="{number}" aria-label="{names[number]}"'
        return f'<button type="button" {attributes}>[{number}]</button>'

    return cite


def signed(answer: Answer, numbers: Mapping[str, int]) -> str:
    """The cleaned text of an answer with the signs of its citations, none twice in a row.

    In the row of a table they stand in its last cell, behind a block of code below it.
    """
    written: list[str] = []
    beginning = ""  # of the line that is being written
    last = 0
    for text, pid in marked_parts(answer, lambda one: one in numbers):
        if not pid:
            piece = clean(text)
            _, newline, after = piece.rpartition("\n")
            beginning = (after if newline else beginning + after)[:8]
            written.append(piece)
            last = 0 if text.strip() else last
        elif numbers[pid] != last:
            last = numbers[pid]
            _put(written, citation(last), beginning)
    return "".join(written)


def _put(written: list[str], sign: str, beginning: str) -> None:
    """Add a citation to what is written; its last line begins so."""
    is_row = beginning.lstrip().startswith("|")
    end = next((n for n in range(len(written) - 1, -1, -1) if written[n].strip(" ")), None)
    if _FENCE.match(beginning):
        written.append(f"\n\n{sign}\n")
    elif is_row and end is not None and written[end].rstrip(" ").endswith("|"):
        written[end:] = [written[end].rstrip(" ")[:-1], f" {sign} |"]
    else:
        written.append(sign)


def quote_html(answer: Answer, cards: Sequence[Card]) -> str:
    """The sentence that a short answer came from, with its citation; "" where the answer says it already."""
    text = " ".join(answer.text.split())
    card = next((card for card in cards if card.is_cited and card.sentence), None)
    if card is None or len(text) > MAX_QUOTED_ANSWER or "\n" in answer.text.strip():
        return ""
    sentence = card.sentence_text
    if _bare(sentence) in _bare(text) or len(sentence) > MAX_QUOTE:
        return ""
    cite = cite_with([card])(card.n)
    shown = line_html(sentence, speaks_markdown(card.hit.passage.source, sentence), _found(sentence, text))
    return (
        f'<blockquote class="quote" dir="auto"><p>{shown}</p>'
        f"<footer>{cite} {escape(_named(card))}</footer></blockquote>"
    )


def refusal_html(turn: Turn, searched_in: str) -> str:
    """What a refusal says: that the answer was not found, and what was searched."""
    where = searched_in or ("the chosen folders" if turn.narrowed else "all documents")
    asked = escape(clean(turn.searched_for or turn.question))
    has_hits = turn.response is not None and bool(turn.response.contexts or turn.response.reranked)
    closest = "The closest passages are among the sources, for you to judge." if has_hits else "No passage came close."
    return (
        '<p class="refusal"><strong>Not in these documents.</strong> '
        f"I searched {escape(where)} for “<bdi>{asked}</bdi>”. {closest}</p>"
    )


def support_json(response: Response, numbers: Mapping[str, int]) -> dict | None:
    """{"level", "text", "detail"} of an answer that was checked; None where nothing was. `level` is "words" where its
    words stand in a source, "meaning" where a source supports them, "weak" where that is not sure."""
    support, answer = response.support, response.answer
    if support is None or answer is None:
        return None
    cited = dict.fromkeys(f"[{numbers[pid]}]" for pid in answer.citations if pid in numbers)
    sources = " ".join(cited)
    if support.word_for_word:
        level, text = "words", f"Word for word in {sources}" if sources else "Word for word in the passages"
    elif sources and (support.agreement is None or support.agreement >= SUPPORTED):
        level, text = "meaning", f"Supported by {sources}, in other words"
    else:
        level, text = "weak", f"Only weakly supported by {sources}" if sources else "No passage is cited"
    read = "" if support.agreement is None else f" A reader of the passages agrees by {support.agreement:.0%}."
    detail = (
        "Checked: whether the answer's words stand in the passages that it cites, and how near their sentences lie to "
        f"question and answer.{read} Score {support.score:.1f}; higher is better."
    )
    return {"level": level, "text": text, "detail": detail}


def _named(card: Card) -> str:
    """Title, file and page, each once."""
    passage = card.hit.passage
    return ", ".join(dict.fromkeys(part for part in (title_of(passage, card.n), place_in_words(passage)) if part))


def _found(sentence: str, words: str) -> Span | None:
    """Where the words of an answer stand in a sentence, whatever the size of their letters; None where they do not."""
    wanted = words.strip().rstrip(".").casefold()
    start = sentence.casefold().find(wanted) if wanted and len(sentence.casefold()) == len(sentence) else -1
    return (start, start + len(wanted)) if start >= 0 else None


def _bare(text: str) -> str:
    return "".join(ch for ch in text.casefold() if ch.isalnum())
