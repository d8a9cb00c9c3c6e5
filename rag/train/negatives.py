"""Mining hard negatives: passages that a retriever ranks high for a question and that do not answer it.

A candidate that scores close to the gold passage is often an answer that nobody labelled. The positive-aware margin of
NV-Retriever (Moreira et al. 2024, https://arxiv.org/abs/2407.15831) drops those: a negative must score below a share
of the gold passage's own score. Scores are cosines of the encoder or probabilities of the cross-encoder. E5's cosines
lie close together, so the cross-encoder separates better.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rag import fixes
from rag.data.labelled import Example, plain, random_passages, share_of
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.files import read_json, write_json
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.types import Retriever

CHUNK_QUESTIONS = 64
EXAMPLES_TO_READ = 20

PairScorer = Callable[[Sequence[tuple[str, str]]], Sequence[float] | np.ndarray]
"""Scores of (query, passage id) pairs, all at least 0, higher is better."""


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """Which candidates become negatives.

    Per retriever, the `skip` best ranks are skipped and `depth` is the last rank looked at. A candidate is kept if its
    score is at most `margin` times the best gold score; None keeps all. On average `random_share` of the `per_question`
    negatives are drawn from the whole corpus.
    """

    per_question: int = 7
    depth: int = 12
    skip: int = 0
    margin: float | None = None
    random_share: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Mined:
    """A question with its gold passages and mined negatives: (passage id, score), None where nothing scored it."""

    qid: str
    query: str
    positives: tuple[tuple[str, float | None], ...]
    negatives: tuple[tuple[str, float | None], ...]
    origins: tuple[str, ...] = ()
    """For each negative, the retriever that found it, or `random`."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """How many candidates each rule dropped: known positive, same text as a positive, within the margin."""

    def is_easy(self, logits: float) -> bool:
        """Whether every gold passage scores at least `logits` above every negative; scores are a cross-encoder's.

        No where one of the two is missing: all candidates may have been dropped for scoring above gold.
        """
        gold = logit([score for _, score in self.positives if score is not None])
        others = logit([score for _, score in self.negatives if score is not None])
        return bool(len(gold) and len(others) and gold.min() - others.max() >= logits)


def logit(probabilities: Sequence[float]) -> np.ndarray:
    """A cross-encoder's logits from its probabilities, kept away from 0 and 1 as far as float32 can tell them apart."""
    inside = np.clip(np.asarray(probabilities, float), 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


def mine(
    examples: Sequence[Example],
    corpus: Corpus,
    retrievers: Mapping[str, Retriever],
    score: PairScorer | None,
    settings: MiningSettings,
    target: str | Path,
    *,
    identity: Mapping | None = None,
) -> dict:
    """Mine negatives for every example into the JSON lines `target`; returns the report, which is written beside it.

    Started again it mines what is missing. With other settings, questions or models (`identity`) it is refused
    (RunMismatchError).
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = {**asdict(settings), **(identity or {}), "n": len(examples)}
    remember(settings_of(target), identity, target)
    done = resume_jsonl(target)
    todo = [example for example in examples if example.question.id not in done]
    append_rows(
        target,
        todo,
        lambda chunk: [asdict(mined) for mined in _mine_chunk(chunk, corpus, retrievers, score, settings)],
        label="Mining",
        n_done=len(examples) - len(todo),
        chunk_size=CHUNK_QUESTIONS,
    )
    report = _report(list(load_mined(target, corpus).values()), corpus, settings)
    write_json(target.with_suffix(".report.json"), report)
    return report


def load_mined(path: str | Path, corpus: Corpus) -> dict[str, Mined]:
    """Mined negatives by question id. Raises DataError for a file that is missing or was mined from another corpus."""
    if not Path(path).is_file():
        raise DataError(f"{path} does not exist; mine negatives first: {fixes.mine(path)}")
    mined = {}
    for row in read_jsonl(Path(path)):
        try:
            pairs = {name: tuple((pid, score) for pid, score in row[name]) for name in ("positives", "negatives")}
            mined[row["qid"]] = Mined(**{**row, **pairs, "origins": tuple(row["origins"])})
            unknown = next((pid for name in pairs for pid, _ in pairs[name] if pid not in corpus), None)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} holds no mined negatives; name what rag mine wrote: --negatives FILE") from error
        if unknown is not None:
            raise DataError(f"{path} names the passage {unknown!r}, which the index lacks; mine from this index")
    if not mined:
        raise DataError(f"{path} holds no mined negatives; if rag mine was stopped, the same command goes on")
    return mined


def settings_of(mined: Path) -> Path:
    """The file that notes what mined negatives were made from."""
    return mined.with_suffix(".settings.json")


def mined_by(path: str | Path) -> str:
    """The scorer whose scores stand in a file of mined negatives; empty where no settings stand beside the file."""
    settings = settings_of(Path(path))
    return read_json(settings, DataError, fix="mine again into another file", default={}).get("scorer", "")


def _mine_chunk(
    chunk: Sequence[Example],
    corpus: Corpus,
    retrievers: Mapping[str, Retriever],
    score: PairScorer | None,
    settings: MiningSettings,
) -> list[Mined]:
    """The mined negatives of some questions, in their order."""
    queries = [example.question.rewrite for example in chunk]
    found = {
        name: [
            [hit.passage.id for hit in hits[settings.skip :]] for hits in retriever.retrieve(queries, settings.depth)
        ]
        for name, retriever in retrievers.items()
    }
    scores = _scores(chunk, found, score)
    return [
        choose_negatives(
            example, interleaved({name: lists[row] for name, lists in found.items()}), scores[row], corpus, settings
        )
        for row, example in enumerate(chunk)
    ]


def choose_negatives(
    example: Example,
    candidates: Mapping[str, str],
    scores: Mapping[str, float],
    corpus: Corpus,
    settings: MiningSettings,
) -> Mined:
    """A question with its negatives among the candidates: passage id -> what found it, best first.

    `scores` are of candidates and gold passages by their ids; empty where nothing scored them.
    """
    kept, dropped = _filtered(candidates, example, corpus, scores, settings.margin)
    # Seeded by question, so that it does not matter where a kill cut the run in two.
    rng = random.Random(f"{settings.seed} {example.question.id}")
    n_random = share_of(settings.per_question, settings.random_share, rng)
    negatives = dict(list(kept.items())[: settings.per_question - n_random])
    negatives |= dict.fromkeys(random_passages(n_random, corpus, example, rng, negatives), "random")
    return Mined(
        example.question.id,
        example.question.rewrite,
        tuple((pid, scores.get(pid)) for pid in example.positives),
        tuple((pid, scores.get(pid)) for pid in negatives),
        tuple(negatives.values()),
        dropped,
    )


def _scores(chunk: Sequence[Example], found: Mapping[str, list[list[str]]], score: PairScorer | None) -> list[dict]:
    """passage id -> score for each question of the chunk, of its candidates and its gold passages."""
    if score is None:
        return [{} for _ in chunk]
    wanted = [
        list(dict.fromkeys([*example.positives, *(pid for lists in found.values() for pid in lists[row])]))
        for row, example in enumerate(chunk)
    ]
    pairs = [(example.question.rewrite, pid) for example, pids in zip(chunk, wanted, strict=True) for pid in pids]
    values = iter(score(pairs))
    return [{pid: round(float(next(values)), 6) for pid in pids} for pids in wanted]


def interleaved(lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """passage id -> the retriever that found it first; the best of every retriever come before any second best."""
    merged: dict[str, str] = {}
    for rank in range(max(map(len, lists.values()), default=0)):
        for name, pids in lists.items():
            if rank < len(pids):
                merged.setdefault(pids[rank], name)
    return merged


def _filtered(
    candidates: Mapping[str, str], example: Example, corpus: Corpus, scores: Mapping[str, float], margin: float | None
) -> tuple[dict[str, str], dict[str, int]]:
    """(candidates kept, how many each rule dropped)."""
    positives = set(example.positives)
    texts = {plain(corpus.by_id(pid).text) for pid in positives}
    best = max((scores[pid] for pid in positives if pid in scores), default=None)
    kept: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for pid, origin in candidates.items():
        if pid in positives:
            dropped["known positive"] += 1
        elif plain(corpus.by_id(pid).text) in texts:
            dropped["same text as a positive"] += 1
        elif margin is not None and best is not None and scores[pid] > margin * best:
            dropped["within the margin"] += 1
        else:
            kept[pid] = origin
    return kept, dict(dropped)


def _report(mined: Sequence[Mined], corpus: Corpus, settings: MiningSettings) -> dict:
    """Counts, and some questions with their negatives for a person to read."""
    dropped: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    for one in mined:
        dropped.update(one.dropped)
        origins.update(one.origins)
    sample = random.Random(settings.seed).sample(mined, min(EXAMPLES_TO_READ, len(mined)))
    return {
        "settings": asdict(settings),
        "n_questions": len(mined),
        "n_negatives": sum(origins.values()),
        "n_without_negatives": sum(not one.negatives for one in mined),
        "n_short_of_negatives": sum(0 < len(one.negatives) < settings.per_question for one in mined),
        "negatives_by_origin": dict(origins.most_common()),
        "candidates_dropped": dict(dropped.most_common()),
        "examples": [
            {
                "query": one.query,
                "positive": corpus.by_id(one.positives[0][0]).content if one.positives else None,
                "negatives": [{"id": p, "score": s, "text": corpus.by_id(p).content} for p, s in one.negatives[:3]],
            }
            for one in sample
        ],
    }
