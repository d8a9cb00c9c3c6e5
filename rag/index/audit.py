"""Passages that could mislead: text that commands the model, text without sense, passages that are found everywhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag import fixes
from rag.data.passages import Corpus
from rag.documents.citation import place_of
from rag.errors import ConfigError
from rag.generate.instructions import find_instructions, hidden_characters
from rag.index.read import open_index
from rag.index.segments import Vectors
from rag.retrieve.vectors import FaissIndex
from rag.types import document_of

# A hub is near to this share of the probes at least, and to so many times the mean.
PROBES = 1000
NEIGHBOURS = 10
HUB_SHARE = 0.02
HUB_TIMES = 10.0
# Soup: this many words at least, and less than this share of distinct ones (or of letters).
SOUP_WORDS = 20
SOUP_DISTINCT = 0.2
SOUP_LETTERS = 0.2
SHOWN_CHARACTERS = 160

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A passage that someone should look at: why (`kind`), where it stands, and the words that raised it."""

    kind: str
    passage_id: str
    place: str
    excerpt: str


def audit(index_folder: str | Path) -> list[Suspicion]:
    """Everything suspicious in an index, by kind.

    Text that speaks to the model (withheld from it unless prompt.withhold_instructions is off), hidden characters,
    token soup, and hubs: passages among the ten nearest of an abnormal share of a thousand passages drawn from other
    documents. Raises IndexMismatchError as opening the index does.
    """
    index = open_index(index_folder)
    if not index.corpus:
        return []
    found = [suspicion for row in range(len(index.corpus)) for suspicion in _of_text(index.corpus, row)]
    return sorted([*found, *hubs(index.corpus, index.vectors())], key=lambda s: (s.kind, s.place))


def _of_text(corpus: Corpus, row: int) -> list[Suspicion]:
    passage = corpus[row]
    suspicions = [
        (f"speaks to the model ({instruction.kind})", passage.content[instruction.start : instruction.end])
        for instruction in find_instructions(passage.content)
    ]
    if n := hidden_characters(passage.content):
        suspicions.append((f"hidden characters ({n})", passage.content))
    if _is_soup(passage.text):
        suspicions.append(("token soup", passage.text))
    return [
        Suspicion(kind, passage.id, place_of(passage), " ".join(text.split())[:SHOWN_CHARACTERS])
        for kind, text in suspicions
    ]


def _is_soup(text: str) -> bool:
    """Few distinct words for its length, or hardly any letters."""
    words = _WORD.findall(text.lower())
    if len(words) < SOUP_WORDS:
        return False
    letters = sum(ch.isalpha() for ch in text) / max(sum(ch.isalnum() for ch in text), 1)
    # Distinct words grow with the root of a text's length (Heaps); soup stays far below.
    expected = min(1.0, 4.0 / len(words) ** 0.4)
    return len(set(words)) / len(words) < SOUP_DISTINCT * expected or letters < SOUP_LETTERS


def hubs(corpus: Corpus, index: Vectors, *, seed: int = 0) -> list[Suspicion]:
    """Passages that are near to passages of abnormally many other documents.

    That is, among the ten nearest of at least 2 % of the probes and of ten times as many as the mean (Radovanović et
    al. 2010, https://www.jmlr.org/papers/v11/radovanovic10a.html). [] for an index that gives no vectors back.
    """
    n_probes = min(PROBES, len(corpus))
    rows = np.sort(np.random.default_rng(seed).choice(len(corpus), n_probes, replace=False)).tolist()
    try:
        vectors = index.vectors(rows)
        if len(index) > len(corpus):  # it holds windows too, behind the passages
            index = _of_passages(index, len(corpus))
    except ConfigError:  # this kind of index gives no vectors back
        return []
    _, neighbours = index.search(vectors, NEIGHBOURS)
    document = [document_of(passage_id) for passage_id in corpus.ids()]
    counts: Counter[int] = Counter()
    for row, near in zip(rows, neighbours.tolist(), strict=True):
        counts.update(other for other in near if other >= 0 and document[other] != document[row])
    mean = sum(counts.values()) / max(len(corpus), 1)
    least = max(HUB_SHARE * n_probes, HUB_TIMES * mean)
    return [
        Suspicion(
            f"near to everything ({n} of {n_probes} probes)",
            corpus[row].id,
            place_of(corpus[row]),
            " ".join(corpus[row].text.split())[:SHOWN_CHARACTERS],
        )
        for row, n in counts.most_common()
        if n >= least
    ]


def _of_passages(index: Vectors, n_passages: int) -> FaissIndex:
    """An exact index of the first rows alone, since not every kind of index can search in a part of itself."""
    vectors = index.vectors(range(n_passages))
    passages = FaissIndex(vectors.shape[1])
    passages.add(vectors)
    return passages


def suspicion_lines(suspicions: Sequence[Suspicion], folder: Path) -> list[str]:
    """The suspicions for a terminal."""
    if not suspicions:
        return [f"nothing suspicious in {folder}"]
    lines = [line for s in suspicions for line in (f"{s.kind}: {s.place}", f"    {s.excerpt}")]
    leave_out = fixes.ingest(folder, forget=["PATH"])
    return [*lines, f"{len(suspicions):,} to look at; leave a file out: {leave_out}"]
