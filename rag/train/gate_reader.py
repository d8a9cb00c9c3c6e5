"""The gate for a span reader: it meets the one that serves, or the answer "null" everywhere where none serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.build import parts
from rag.build.serving import Serving
from rag.data.labelled import Example, asked
from rag.data.passages import Corpus
from rag.errors import DataError, ModelError
from rag.evaluate.verdict import gate, refusal_figures, with_refusals
from rag.index.read import open_index
from rag.models.promoted import what_serves
from rag.progress import say
from rag.read.reader import LOWEST_MARGIN, SpanReader
from rag.train.gate import check_serves_itself, question_ids, write_verdict
from rag.train.reader_dev import BEST_FIGURE, JudgedRow, Read, judged_rows, scores_with_null, span_scores
from rag.train.run import digest


def rows_to_judge(serving: Serving, corpus: Corpus, examples: Sequence[Example]) -> list[JudgedRow]:
    """The rows of dev questions (`judged_rows`), with what the serving retriever finds for them."""
    n_null = serving.settings.training.reader.dev_candidates
    queries = [example.question.rewrite for example in examples]
    # Some of what is found answers; of twice as many and ten more enough are left.
    found = serving.retriever().retrieve(queries, 2 * n_null + 10)
    return judged_rows(examples, found, corpus, n_null)


def gate_reader(serving: Serving, target: str | Path, model: str | Path, held_out: Sequence[Example]) -> dict:
    """Compare the tuned reader with the one that serves, on the same passages; returns the record.

    `PROMOTE` needs what `gate` says, by F1 with null (`scores_with_null`) and by F1 where the passage holds the answer.
    Besides, the margins of passages with and without the answer must not be told apart worse than before.

    Where no reader serves, the tuned one meets a reader that gives null everywhere. Raises DataError where no right
    passage holds an answer.
    """
    check_serves_itself(model)
    index = open_index(serving.index_folder)
    rows = rows_to_judge(serving, index.corpus, held_out)
    if not any(row.answers for row in rows):
        raise DataError("no right passage of the dev questions that judge holds their answer; name others with --dev")
    # Those with the answer come first, as `refusal_figures` takes them.
    rows.sort(key=lambda row: not row.answers)
    judged = {row.qid for row in rows}
    held_out = [example for example in held_out if example.question.id in judged]
    base, tuned = serving_reader(serving), parts.reader_of(serving.settings, serving.find(str(model)))
    sides = {
        "base": _Side.silent(rows) if base is None else _Side.of(base, rows, "Reading (base)"),
        "tuned": _Side.of(tuned, rows, "Reading (tuned)"),
    }
    scores = {name: side.by_question(rows, held_out) for name, side in sides.items()}
    record = gate(
        scores["tuned"],
        scores["base"],
        primary=BEST_FIGURE,
        floor=_share_of_null(rows, held_out),
        floor_name="null everywhere",
        sources=[example.question.source for example in held_out],
    )
    n_answers = sum(bool(row.answers) for row in rows)
    if n_answers < len(rows):
        # What is not a number tells nothing: it counts as the lowest margin.
        tuned_margins, base_margins = (
            np.nan_to_num(sides[name].margins, nan=LOWEST_MARGIN).tolist() for name in ("tuned", "base")
        )
        figures = refusal_figures(tuned_margins, base_margins, n_answers)
        record = with_refusals(record, figures, "passages without the answer by their margin")
    record |= {
        "role": "reader",
        "base": serving.settings.reader.model,
        "base_fingerprint": None if base is None else base.weights_sha256,
        "tuned_fingerprint": tuned.weights_sha256,
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(asked(held_out)),
        "candidates_digest": digest([row.qid, row.passage.id, row.answers] for row in rows),
        "n_dev": len(held_out),
        "unanswerable": question_ids([example for example in held_out if not example.positives]),
    }
    write_verdict(target, record, held_out, scores)
    return record


def serving_reader(serving: Serving) -> SpanReader | None:
    """The reader that serves by the settings, whether they use it or not; None where there is no such model here."""
    name = what_serves(serving.settings.reader.model)
    try:
        model = serving.find(name)
    except ModelError:
        say(f"{name} cannot be had, so that no reader serves; the tuned one meets a reader that gives null everywhere")
        return None
    return parts.reader_of(serving.settings, model)


def _share_of_null(rows: Sequence[JudgedRow], held_out: Sequence[Example]) -> float:
    """The mean over questions of what null everywhere scores: the share of a question's rows in which it is right."""
    of = {
        example.question.id: [not row.answers for row in rows if row.qid == example.question.id] for example in held_out
    }
    return float(np.mean([np.mean(own) for own in of.values()]))


@dataclass(frozen=True, slots=True)
class _Side:
    """What one of two readers made of the rows: (n,) F1 of its spans, (n,) margins."""

    f1: np.ndarray
    margins: np.ndarray

    @classmethod
    def of(cls, reader: SpanReader, rows: Sequence[JudgedRow], label: str) -> _Side:
        spans = reader.read([row.query for row in rows], [[row.passage] for row in rows], label=label)
        read = [Read(span.text_in(row.passage), span.margin) for row, (span,) in zip(rows, spans, strict=True)]
        return cls(span_scores(rows, read), np.array([one.margin for one in read]))

    @classmethod
    def silent(cls, rows: Sequence[JudgedRow]) -> _Side:
        """Null everywhere: no span is right, and no passage is told from another."""
        return cls(np.zeros(len(rows)), np.zeros(len(rows)))

    def by_question(self, rows: Sequence[JudgedRow], held_out: Sequence[Example]) -> dict[str, list[float | None]]:
        """metric -> the score of each question: the mean over its rows.

        F1 is None where no passage of a question holds its answer.
        """
        is_null = np.array([not row.answers for row in rows])
        with_null = scores_with_null(self.margins, self.f1, is_null)
        of: dict[str, list[int]] = {}
        for n, row in enumerate(rows):
            of.setdefault(row.qid, []).append(n)
        places = [of[example.question.id] for example in held_out]
        answered = [[self.f1[n] for n in own if not is_null[n]] for own in places]
        return {
            BEST_FIGURE: [float(with_null[own].mean()) for own in places],
            "f1": [float(own[0]) if own else None for own in answered],
        }
