"""How a model does on dev questions while it is trained; the checkpoint kept is the best by these figures.

A retriever seeks gold in a pool of passages, a reranker orders what the serving retriever found. Both are judged by the
same figures (`ranking_figures`) and through the same evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.compute.hardware import fastest_precision
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.evaluate.calibration import auc
from rag.evaluate.metrics import pessimistic_scores
from rag.types import Hit

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

BATCH_SIZE = 32


def dev_evaluator(figures: Callable[[Any], Mapping[str, float]], decides: str = "mrr@10") -> BaseEvaluator:
    """An evaluator for the trainer: `figures` of the model, their names beginning with `dev_`; `decides` is one."""
    import torch
    from sentence_transformers.base.evaluation import BaseEvaluator

    class DevEvaluator(BaseEvaluator):
        def __init__(self):
            super().__init__()
            self.primary_metric = f"dev_{decides}"

        def __call__(self, model, output_path=None, epoch=-1, steps=-1, **kwargs):
            device = model.device.type
            with torch.autocast(device, dtype=torch.bfloat16, enabled=fastest_precision(device) == "bf16"):
                found = figures(model)
            return {f"dev_{name}": value for name, value in found.items()}

    return DevEvaluator()


@dataclass(frozen=True, slots=True)
class DevPool:
    """For a retriever: dev questions, and the passages among which their gold is sought while a run is under way."""

    queries: Sequence[str]
    gold: Sequence[frozenset[int]]
    """Of each query: rows of `passages` that answer it."""
    passages: Sequence[str]
    ids: Sequence[str] = ()
    """Of the questions that choose the checkpoint, or chose the one to start from, and so do not judge it."""
    vectors: np.ndarray | None = None
    """(n, d) unit vectors of the passages, where training leaves them as they are; `passages` is then empty."""


def make_dev_pool(
    examples: Sequence[Example], corpus: Corpus, candidates: Sequence[Sequence[str]], chose: Iterable[str] = ()
) -> DevPool:
    """The gold passages and the candidates of dev questions in one pool; `candidates` are ids, one list per question.

    `chose` are the ids of the questions that chose the model to start from.
    """
    ids = dict.fromkeys(pid for example in examples for pid in example.positives)
    ids |= dict.fromkeys(pid for pids in candidates for pid in pids)
    row_of = {pid: row for row, pid in enumerate(ids)}
    return DevPool(
        [example.question.rewrite for example in examples],
        [frozenset(row_of[pid] for pid in example.positives) for example in examples],
        [corpus.by_id(pid).content for pid in ids],
        [*chose, *(example.question.id for example in examples)],
    )


def retriever_figures(model: SentenceTransformer, dev: DevPool, prompts: Mapping[str, str]) -> dict[str, float]:
    """`ranking_figures` of the pool, ordered by the model's cosines."""

    def encode(texts: Sequence[str], prompt: str) -> np.ndarray:
        vectors = model.encode(
            list(texts),
            prompt=prompt,
            batch_size=BATCH_SIZE,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        return vectors.float().cpu().numpy()

    queries = encode(dev.queries, prompts["query"])
    if dev.vectors is not None:
        return pool_figures(queries[:, : dev.vectors.shape[1]], dev.vectors, dev.gold)
    return pool_figures(queries, encode(dev.passages, prompts["passage"]), dev.gold)


def pool_figures(queries: np.ndarray, passages: np.ndarray, gold: Sequence[frozenset[int]]) -> dict[str, float]:
    """`ranking_figures` of unit vectors: (q, d) queries against (p, d) passages, `gold` as in `DevPool`."""

    def flags() -> Iterator[np.ndarray]:
        for rows in gold:
            is_gold = np.zeros(len(passages), bool)
            is_gold[list(rows)] = True
            yield is_gold

    return ranking_figures(queries @ passages.T, flags(), [len(rows) for rows in gold])


@dataclass(frozen=True, slots=True)
class DevCandidates:
    """For a reranker: dev questions with what the serving retriever found; gold is never put in by hand."""

    queries: Sequence[str]
    candidates: Sequence[Sequence[str]]
    """Passage texts per query, as retrieved."""
    relevant: Sequence[Sequence[bool]]
    n_gold: Sequence[int]
    """Gold passages per query, found or not."""
    unanswerable: Sequence[tuple[str, Sequence[str]]] = ()
    """Unanswerable dev questions with the passages found for them."""
    ids: Sequence[str] = ()
    """Of the questions that choose the checkpoint, or chose the one to start from, and so do not judge it."""


def make_dev_candidates(
    answerable: Sequence[tuple[Example, Sequence[Hit]]],
    unanswerable: Sequence[tuple[Example, Sequence[Hit]]],
    ids: Sequence[str],
) -> DevCandidates:
    """Dev questions with their hits; `ids` as in `DevCandidates`."""
    return DevCandidates(
        [example.question.rewrite for example, _ in answerable],
        [[hit.passage.content for hit in hits] for _, hits in answerable],
        [[hit.passage.id in example.positives for hit in hits] for example, hits in answerable],
        [len(example.positives) for example, _ in answerable],
        [(example.question.rewrite, [hit.passage.content for hit in hits]) for example, hits in unanswerable],
        ids,
    )


def reranker_figures(model: CrossEncoder, dev: DevCandidates) -> dict[str, float]:
    """`ranking_figures` of the candidates, ordered by the model's logits.

    With unanswerable questions also `refusal_auc`: the chance that an answerable one has the higher best score.
    """
    import torch

    asked = [*zip(dev.queries, dev.candidates, strict=True), *dev.unanswerable]
    logits = model.predict(
        [(query, text) for query, texts in asked for text in texts],
        batch_size=BATCH_SIZE,
        activation_fn=torch.nn.Identity(),
        show_progress_bar=False,
        convert_to_tensor=True,
    )
    values = iter(logits.float().cpu().tolist())
    scores = [[next(values) for _ in texts] for _, texts in asked]
    n = len(dev.queries)
    figures = ranking_figures(scores[:n], dev.relevant, dev.n_gold)
    if dev.unanswerable:
        best = np.array([max(own, default=float("-inf")) for own in scores])
        figures["refusal_auc"] = auc(best[:n], best[n:])
    return figures


def ranking_figures(
    scores: Iterable[Sequence[float] | np.ndarray],
    relevant: Iterable[Sequence[bool] | np.ndarray],
    n_gold: Sequence[int],
) -> dict[str, float]:
    """Recall@10, MRR@10, `separation` and `spread` of questions' candidates, each the mean over questions.

    `separation` is (best gold score - best other score) of questions that have both, `spread` the standard deviation of
    a question's scores. For ties see `pessimistic_ranks`. A question with a score that is not a number counts 0 in the
    first two figures and does not count in the others. What nothing counts in is 0.
    """
    found: dict[str, list[float]] = {"recall@10": [], "mrr@10": [], "separation": [], "spread": []}
    for own, flags, n in zip(scores, relevant, n_gold, strict=True):
        values, is_gold = np.asarray(own), np.asarray(flags, bool)
        for name, score in pessimistic_scores(values, is_gold, n).items():
            found[name].append(score)
        if not len(values) or not np.isfinite(values).all():
            continue
        found["spread"].append(float(np.std(values)))
        if is_gold.any() and not is_gold.all():
            found["separation"].append(float(values[is_gold].max() - values[~is_gold].max()))
    return {name: float(np.mean(own)) if own else 0.0 for name, own in found.items()}
