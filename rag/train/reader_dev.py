"""Dev rows of the span reader, and how a model does on them: for choosing the checkpoint, and for the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag.compute.runner import pack_by_length
from rag.data.answers import find_answers, references
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.evaluate.calibration import auc
from rag.evaluate.metrics import exact_match, token_f1
from rag.read.best_span import make_best_span_module
from rag.read.reader import MAX_SPAN_TOKENS
from rag.types import Hit, Passage

TOKENS_PER_BATCH = 4096
BEST_FIGURE = "f1_with_null"
"""Chooses the checkpoint, and decides in the gate."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A question with a passage that holds one of its answers; without answers, null is right."""

    qid: str
    query: str
    passage: Passage
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReaderDev:
    """The rows that a run is watched by; `ids` are the questions that chose a checkpoint and so do not judge it."""

    rows: Sequence[JudgedRow]
    ids: Sequence[str] = ()


def judged_rows(
    examples: Sequence[Example], candidates: Sequence[Sequence[Hit]], corpus: Corpus, n_null: int
) -> list[JudgedRow]:
    """Of each question: its first right passage in whose text the answer stands, and `n_null` passages for null.

    Those are the first ones that are not right and do not hold the answer's words: for an unanswerable question of
    those judged not to answer it, then of `candidates` (n,), what was retrieved for it.
    """
    rows = []
    for example, hits in zip(examples, candidates, strict=True):
        question, answers = example.question, references(example.question)
        gold = [corpus.by_id(pid) for pid in example.positives]
        rows += [
            JudgedRow(question.id, question.rewrite, passage, answers)
            for passage in [one for one in gold if find_answers(one.text, answers)][:1]
        ]
        judged = [] if example.positives else [corpus.by_id(pid) for pid in example.negatives]
        others = {passage.id: passage for passage in [*judged, *(hit.passage for hit in hits)]}
        null = [
            passage
            for passage in others.values()
            if passage.id not in example.positives and not find_answers(passage.content, answers)
        ]
        rows += [JudgedRow(question.id, question.rewrite, passage) for passage in null[:n_null]]
    return rows


@dataclass(frozen=True, slots=True)
class Read:
    """What a model read in a row: the words of its best span, and how far that lies above null, in logits."""

    text: str
    margin: float


def reader_figures(model: Any, tokenizer: Any, dev: ReaderDev, max_length_tokens: int) -> dict[str, float]:
    """The figures of the rows as `model`, which is being trained, reads them.

    f1_with_null    SQuAD 2's: F1 where a span is given, 1 where null is given rightly, at the best threshold
    f1, exact_match of the best span in passages that hold the answer
    refusal_auc     the chance that such a passage has a larger margin than one without
    separation      between the mean margins of both; spread: their standard deviation
    """
    read = read_rows(model, tokenizer, dev.rows, max_length_tokens)
    return figures_of(dev.rows, read)


def figures_of(rows: Sequence[JudgedRow], read: Sequence[Read]) -> dict[str, float]:
    """As `reader_figures`. A margin that is not a number is wrong and leaves the last three figures out."""
    is_null = np.array([not row.answers for row in rows])
    margins = np.array([one.margin for one in read])
    f1 = span_scores(rows, read)
    exact = [exact_match(one.text, row.answers) for row, one in zip(rows, read, strict=True) if row.answers]
    figures = {
        BEST_FIGURE: float(scores_with_null(margins, f1, is_null).mean()),
        "f1": float(f1[~is_null].mean()),
        "exact_match": float(np.mean(exact)),
    }
    if is_null.any() and np.isfinite(margins).all():
        figures["refusal_auc"] = auc(margins[~is_null], margins[is_null])
        figures["separation"] = float(margins[~is_null].mean() - margins[is_null].mean())
        figures["spread"] = float(margins.std())
    return figures


def span_scores(rows: Sequence[JudgedRow], read: Sequence[Read]) -> np.ndarray:
    """(n,) the token F1 of each row's best span against its answers; 0 in null rows."""
    return np.array([token_f1(one.text, row.answers) for row, one in zip(rows, read, strict=True)])


def scores_with_null(margins: np.ndarray, f1: np.ndarray, is_null: np.ndarray) -> np.ndarray:
    """(n,) each row's score where a span is given from a margin on, and null below; all arguments are (n,).

    A span scores its F1, in a null row 0; null scores 1 in a null row, else 0. The threshold is the one with the
    highest mean over the rows, as SQuAD 2 evaluates (Rajpurkar et al. 2018, https://arxiv.org/abs/1806.03822): where
    nothing is answered it is above every margin. A margin that is not a number scores 0.
    """
    finite = np.isfinite(margins)
    given, null = np.where(is_null | ~finite, 0.0, f1), (is_null & finite).astype(float)
    thresholds = [*np.unique(margins[finite]), np.inf]
    scored = (np.where(margins >= threshold, given, null) for threshold in thresholds)
    return max(scored, key=lambda scores: float(scores.mean()))


def read_rows(model: Any, tokenizer: Any, rows: Sequence[JudgedRow], max_length_tokens: int) -> list[Read]:
    """The best span of each row's passage, of its window with the largest margin, as `rag.read.SpanReader` reads."""
    import torch

    encoded = tokenizer(
        [_short_enough(row.query, tokenizer, max_length_tokens // 2) for row in rows],
        [row.passage.content for row in rows],
        truncation="only_second",
        max_length=max_length_tokens,
        stride=max_length_tokens // 8,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    module = make_best_span_module(model, tokenizer.sep_token_id, MAX_SPAN_TOKENS)
    found = [Read("", float("-inf")) for _ in rows]
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    for batch in pack_by_length(lengths, TOKENS_PER_BATCH):
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = tokenizer.pad({name: [encoded[name][n] for n in batch] for name in names}, return_tensors="pt")
        with torch.inference_mode():
            out = module(*(inputs[name].to(model.device) for name in names)).float().cpu().tolist()
        for n, (null, score, first, last) in zip(batch, out, strict=True):
            row, offsets = encoded["overflow_to_sample_mapping"][n], encoded["offset_mapping"][n]
            if not score - null <= found[row].margin:
                begin, end = offsets[int(first)][0], offsets[int(last)][1]
                found[row] = Read(rows[row].passage.content[begin:end], score - null)
    return found


def _short_enough(query: str, tokenizer: Any, limit: int) -> str:
    """The first `limit` tokens of a question."""
    offsets = tokenizer(query, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return query if len(offsets) <= limit else query[: offsets[limit - 1][1]]
