"""CosSim: the cosine between the embeddings of an answer and of its reference, and the same for two baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.evaluate.answers import sentences
from rag.evaluate.scores import Case, Prediction, Scores
from rag.types import CANNOTANSWER

Embed = Callable[[Sequence[str]], np.ndarray]
"""Maps n texts to (n, d) unit vectors, in their order."""


def score_cosines(scores: Mapping[str, Scores], cases: Mapping[str, Case], corpus: Corpus | None, embed: Embed) -> None:
    """Add CosSim of the answer with the reference and with its best alias, where there is a reference.

    The baselines need no generator: always refusing, and (given the corpus) the sentence of the best passage that is
    nearest to the question.
    """
    compared = [case for case in cases.values() if case.references]
    if not compared:
        return
    candidates = {case.qid: _top_sentences(case.answered, corpus) for case in compared}
    vectors = _Vectors(embed)
    for case in compared:
        vectors.want([*case.references, *candidates[case.qid], CANNOTANSWER])
        if (row := case.answered) is not None:
            vectors.want([row["answer"], row["query"]])
    vectors.embed()
    for case in compared:
        row = case.answered
        own = scores[case.qid]
        reference = case.references[0]
        # A question without a prediction scores 0, whatever an empty string would embed to.
        own["cos_sim"] = vectors.cosine(row["answer"], reference) if row else 0.0
        own["cos_sim_best_alias"] = max(vectors.cosine(row["answer"], gold) for gold in case.references) if row else 0.0
        own["baseline/refuse"] = vectors.cosine(CANNOTANSWER, reference)
        if row and candidates[case.qid]:
            question = row["query"]
            nearest = max(candidates[case.qid], key=lambda sentence: vectors.cosine(question, sentence))
            own["baseline/sentence"] = vectors.cosine(nearest, reference)


def _top_sentences(row: Prediction | None, corpus: Corpus | None) -> list[str]:
    """The sentences of the passage that was ranked first; [] where its text is not at hand."""
    if row is None or corpus is None or not row["reranked"]:
        return []
    best = row["reranked"][0][0]
    return sentences(corpus.by_id(best).text) if best in corpus else []


class _Vectors:
    """Texts, gathered first and then embedded together, each once: one large batch costs far less than many calls."""

    def __init__(self, embed: Embed):
        self._embed = embed
        self._rows: dict[str, int] = {}
        self._vectors = np.zeros((0, 0))

    def want(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._rows.setdefault(text, len(self._rows))

    def embed(self) -> None:
        self._vectors = np.asarray(self._embed(list(self._rows)))

    def cosine(self, a: str, b: str) -> float:
        return float(self._vectors[self._rows[a]] @ self._vectors[self._rows[b]])
