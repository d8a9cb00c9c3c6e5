"""Ranking and answer metrics.

Ranking metrics follow trec_eval (a judged query without a run scores 0) but for ties: these break by ascending id,
in trec_eval by descending id. Recall@k is found over relevant; Success@k (hit rate) is 1 where any relevant passage is
in the top k.

There are two rules for ties, one for each purpose:

- A run is ranked by (-score, id) (`ranking`), so that anybody can compute the same figures from the run file.
- While a model is trained, and where it is compared with the one that serves, gold comes last in a tie
  (`pessimistic_ranks`). Otherwise a model that scores everything alike could win by the order in which it was given
  the passages, or by what they are called.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rag.scripts import spaced_out
from rag.types import Qrels, Run

ARTICLES = re.compile(r"\b(a|an|the)\b")


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Passage ids by (-score, id)."""
    return [pid for pid, _ in sorted(scores.items(), key=lambda item: (-item[1], item[0]))]


def pessimistic_ranks(scores: Sequence[float] | np.ndarray, is_gold: Sequence[bool] | np.ndarray) -> list[int]:
    """The ranks of one question's gold candidates, from 1 and ascending; in a tie gold comes last.

    `scores` and `is_gold` are (n,), one entry per candidate. There are no ranks where a score is not a number.
    """
    values, gold = np.asarray(scores), np.asarray(is_gold, bool)
    if not np.isfinite(values).all():
        return []
    others = values[~gold]
    best_first = np.sort(values[gold])[::-1]
    return [place + int((others >= score).sum()) for place, score in enumerate(best_first, 1)]


def pessimistic_scores(
    scores: Sequence[float] | np.ndarray, is_gold: Sequence[bool] | np.ndarray, n_gold: int
) -> dict[str, float]:
    """MRR@10 and Recall@10 of one question by `pessimistic_ranks`; `n_gold` also counts gold that was not found."""
    found = [rank for rank in pessimistic_ranks(scores, is_gold) if rank <= 10]
    return {"mrr@10": 1 / found[0] if found else 0.0, "recall@10": len(found) / n_gold}


def relevant_passages(judged: Mapping[str, int]) -> dict[str, int]:
    """The passages judged relevant, with their grades."""
    return {pid: grade for pid, grade in judged.items() if grade > 0}


def recall(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """Relevant passages in the top k over all relevant; needs at least one relevant passage, as `ndcg` does."""
    relevant = relevant_passages(judged)
    return sum(pid in relevant for pid in ranked[:k]) / len(relevant)


def success(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """1 where any relevant passage is in the top k."""
    relevant = relevant_passages(judged)
    return float(any(pid in relevant for pid in ranked[:k]))


def reciprocal_rank(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """1 / rank of the first relevant passage in the top k, else 0."""
    relevant = relevant_passages(judged)
    return next((1 / rank for rank, pid in enumerate(ranked[:k], 1) if pid in relevant), 0.0)


def ndcg(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """Discounted cumulative gain over that of the ideal order. The gain is the grade, the discount log2(rank + 1).

    Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418, with linear gains as in trec_eval.
    """
    relevant = relevant_passages(judged)
    gained = sum(relevant.get(pid, 0) / math.log2(rank + 1) for rank, pid in enumerate(ranked[:k], 1))
    ideal = sum(g / math.log2(rank + 1) for rank, g in enumerate(sorted(relevant.values(), reverse=True)[:k], 1))
    return gained / ideal


RANKING_METRICS = {
    "recall@1": (recall, 1),
    "recall@5": (recall, 5),
    "recall@10": (recall, 10),
    "recall@50": (recall, 50),
    "success@10": (success, 10),
    "mrr@10": (reciprocal_rank, 10),
    "ndcg@5": (ndcg, 5),
    "ndcg@10": (ndcg, 10),
}

DEEP_METRICS = {"ndcg@20": (ndcg, 20), "recall@50": (recall, 50)}
"""What matters to somebody who browses. Computed only over rankings that reach so deep (`deep_scores`)."""


def shuffle_floor(n_candidates: int, n_relevant: int, k: int = 10) -> float:
    """The expected reciprocal rank at k of `n_candidates` in random order, of which `n_relevant` are relevant.

    The first relevant one is at `rank` in C(n - rank, r - 1) of the C(n, r) ways to place r relevant among n.
    """
    if n_relevant <= 0 or n_candidates <= 0:
        return 0.0
    ways = math.comb(n_candidates, n_relevant)
    return sum(
        math.comb(n_candidates - rank, n_relevant - 1) / ways / rank
        for rank in range(1, min(k, n_candidates - n_relevant + 1) + 1)
    )


def judged_queries(qrels: Qrels) -> list[str]:
    """The ids of queries with at least one relevant passage; the others have no ranking metric."""
    return [qid for qid, judged in qrels.items() if relevant_passages(judged)]


def ranking_scores(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """metric -> query id -> score over every judged query; a query missing from the run scores 0."""
    orders = {qid: ranking(run.get(qid, {})) for qid in judged_queries(qrels)}
    return {
        name: {qid: metric(order, qrels[qid], k) for qid, order in orders.items()}
        for name, (metric, k) in RANKING_METRICS.items()
    }


def normalize_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces (https://arxiv.org/abs/1606.05250).

    Text without spaces between words is compared letter by letter, as for MLQA (https://arxiv.org/abs/1910.07475).
    """
    spaced = spaced_out(text)
    if spaced != text:
        text = "".join(ch for ch in spaced if not unicodedata.category(ch).startswith("P"))
    text = "".join(ch for ch in text.lower() if ch not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 where the normalised prediction equals any normalised reference, else 0."""
    return float(any(normalize_answer(prediction) == normalize_answer(reference) for reference in references))


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """The harmonic mean of token precision and recall, against the reference where it is highest; 0 without any."""
    return max((_token_f1(prediction, reference) for reference in references), default=0.0)


def _token_f1(prediction: str, reference: str) -> float:
    predicted, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not predicted or not wanted:
        return float(predicted == wanted)
    common = sum((Counter(predicted) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall_ = common / len(predicted), common / len(wanted)
    return 2 * precision * recall_ / (precision + recall_)


def mean(values: Sequence[float]) -> float | None:
    """The mean; None for no values, because an absent figure is not a zero."""
    return sum(values) / len(values) if values else None


def deep_scores(run: Run, qrels: Qrels, n_passages: int | None) -> dict[str, dict[str, float]]:
    """`ranking_scores` by the metrics of `DEEP_METRICS` whose k the run's longest ranking reaches.

    A ranking of all `n_passages` of a corpus is deep enough for each. The others are left out: over rankings that end
    before k they would be figures at another k.
    """
    depth = ranking_depth(run)
    is_whole = n_passages is not None and depth >= n_passages
    orders = {qid: ranking(run.get(qid, {})) for qid in judged_queries(qrels)}
    return {
        name: {qid: metric(order, qrels[qid], k) for qid, order in orders.items()}
        for name, (metric, k) in DEEP_METRICS.items()
        if is_whole or depth >= k
    }


def ranking_depth(run: Run) -> int:
    """How many passages the longest ranking of a run holds."""
    return max(map(len, run.values()), default=0)
