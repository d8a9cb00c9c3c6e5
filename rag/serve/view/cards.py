"""The cards of an answer's sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from rag.documents.address import is_address
from rag.documents.titles import sound_title
from rag.evidence import USUAL_SCALE, MatchScale
from rag.serve.source_links import source_link
from rag.serve.turns import Turn
from rag.serve.view.passages import passage_html
from rag.serve.view.ranks import rank_of
from rag.serve.view.sentence import answering_sentence, sentences_of
from rag.serve.view.signs import clean
from rag.types import Answer, Hit, Passage, ReadSpan, Span

MAX_SENTENCE_CHARACTERS = 400
CLOSEST = 3
MAX_CLAIMS, MAX_CLAIM_CHARACTERS = 6, 2_000


@dataclass(frozen=True, slots=True)
class Card:
    """A source as it is shown: number `n` of the hits, with the hits that say the same, and its answering sentence."""

    n: int
    hit: Hit
    equal: tuple[tuple[int, Hit], ...]
    sentence: Span | None
    is_cited: bool

    @property
    def sentence_text(self) -> str:
        """The sentence on one line; "" where none stands out."""
        if self.sentence is None:
            return ""
        start, end = self.sentence
        return " ".join(clean(self.hit.passage.text[start:end]).split())


def shown_hits(turn: Turn) -> tuple[Hit, ...]:
    """The contexts; where a question was refused before it had any, the passages that came closest.

    While passages are compared, those that were found first.
    """
    if turn.response is None:
        return ()
    found = turn.response.contexts or turn.response.reranked[:CLOSEST]
    return found or (() if turn.done else turn.response.retrieved[:CLOSEST])


def find_cards(turn: Turn, answer: Answer | None) -> list[Card]:
    """The cards of a turn, in the order of the prompt; passages of equal text share one."""
    groups: dict[str, list[tuple[int, Hit]]] = {}
    for n, hit in enumerate(shown_hits(turn), 1):
        groups.setdefault(" ".join(hit.passage.text.split()), []).append((n, hit))
    claims = _claims(answer) if answer else {}
    question = turn.searched_for or turn.question
    spans: Mapping[str, ReadSpan] = turn.response.spans if turn.response else {}
    cards = []
    for group in groups.values():
        (n, hit), *others = group
        own = tuple(claim for _, one in group for claim in claims.get(one.passage.id, ()))
        span = spans.get(hit.passage.id)
        sentence = answering_sentence(hit.passage, question, own, span)
        is_cited = any(one.passage.id in (answer.citations if answer else ()) for _, one in group)
        cards.append(Card(n, hit, tuple(others), sentence, is_cited))
    return cards


def numbers_of(cards: list[Card]) -> dict[str, int]:
    """The number by which each passage is cited: that of its card."""
    return {hit.passage.id: card.n for card in cards for hit in (card.hit, *(other for _, other in card.equal))}


def card_json(card: Card, turn: Turn, conversation: str | None = None, scale: MatchScale | None = USUAL_SCALE) -> dict:
    """A card as the page takes it; `sentence` is text, `excerpt_html` is safe to insert, `rank` is as in `rank_of`.

    Rank and score are None before the passage was compared with the question.
    """
    hit, passage = card.hit, card.hit.passage
    is_scored = turn.response is not None and bool(turn.response.reranked)
    sentence = card.sentence_text
    is_long = len(sentence) > MAX_SENTENCE_CHARACTERS
    return {
        "n": card.n,
        "key": f"{card.n}",
        **_where(passage),
        "title": title_of(passage, card.n),
        "href": source_link(passage.id, turn.attached, card.sentence, conversation),
        "rank": rank_of(hit, turn.response, scale, is_cited=card.is_cited) if is_scored else None,
        "score": round(hit.evidence, 2) if is_scored else None,
        "sentence": f"{sentence[:MAX_SENTENCE_CHARACTERS]}…" if is_long else sentence,
        "excerpt_html": passage_html(passage, card.sentence),
        "equal_to": [
            {
                "n": n,
                "title": title_of(other.passage, n),
                **_where(other.passage),
                "href": source_link(other.passage.id, turn.attached, None, conversation),
            }
            for n, other in card.equal
        ],
        "cited": card.is_cited,
    }


def title_of(passage: Passage, n: int) -> str:
    """What to call a passage: the titles above it that are some, else its file or source, else its number."""
    parts = (sound_title(clean(part)) for part in passage.title.split(" › "))
    title = " › ".join(dict.fromkeys(part for part in parts if part))
    return title or file_of(passage) or clean(passage.source) or f"Source {n}"


def file_of(passage: Passage) -> str:
    """The name of a passage's file, or where a web page is; "" for a passage of a corpus file that names none.

    The source of such a passage may be the name of a data set: a file has an ending.
    """
    source = clean(passage.source)
    if is_address(source):
        parts = urlsplit(source)
        return f"{parts.netloc}{parts.path}".rstrip("/")
    path = PurePosixPath(source.replace("\\", "/"))
    return path.name if passage.place or path.suffix else ""


def place_in_words(passage: Passage) -> str:
    """File and page: "plan.pdf, page 3"."""
    page = passage.place.page if passage.place else None
    return ", ".join(part for part in (file_of(passage), f"page {page}" if page is not None else "") if part)


def _where(passage: Passage) -> dict:
    source = clean(passage.source)
    return {
        "file": file_of(passage),
        "path": source,
        "address": source if is_address(source) else "",
        "page": passage.place.page if passage.place else None,
    }


def _claims(answer: Answer) -> dict[str, list[str]]:
    """The pieces of the answer that cite each passage."""
    claims: dict[str, list[str]] = {}
    for text, cited in answer.pieces():
        for pid in cited:
            own = claims.setdefault(pid, [])
            if len(own) < MAX_CLAIMS:
                own += _claimed(text if text.strip() else answer.text)
    return claims


def _claimed(piece: str) -> list[str]:
    """What a citation behind a piece of an answer stands for: its last sentence or row, else all of it."""
    piece = piece[-MAX_CLAIM_CHARACTERS:]
    sentences = sentences_of(piece)
    last = piece[slice(*sentences[-1])] if len(sentences) > 1 else ""
    return [claim for claim in (last, piece) if claim]
