"""Measure what two rounds of search find (`retriever.hops`), for each source of questions, before and after reranking.

    python -m benchmarks.multi_hop QUESTIONS QRELS -i INDEX [--only hotpotqa] [--sample 100] [--rerank 0] [--set …]

One JSON line for each source and way: Recall@10, the share of questions with all their gold among the ten best
(`all@10`), MRR@10, and the paired differences from one round in Recall@10 and MRR@10. The first lines are milliseconds
per question, all questions searched at once. `--rerank 20` also reranks so many candidates of each way.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rag.build.parts import make_reranker
from rag.build.retrievers import Retrievers
from rag.compute.quiet import quiet_libraries
from rag.config import Settings, load_settings
from rag.data.qrels import load_qrels
from rag.data.questions import Question, load_questions
from rag.evaluate.metrics import recall, reciprocal_rank, relevant_passages
from rag.evaluate.significance import paired_difference
from rag.types import Hit, Qrels

WAYS = ("one", "two")
EVERYTHING, OTHERS = "all", "all but hotpotqa"


def search(settings: Settings, index: Path, texts: Sequence[str]) -> dict[str, list[list[Hit]]]:
    """What one round and two find for each text; says how long each took."""
    retrievers = Retrievers(settings, index)
    kind = settings.retriever.kind
    retrievers.get(kind).retrieve(texts[:8], 50)  # everything loaded
    found = {}
    for hops, way in enumerate(WAYS, 1):
        chosen = settings.retriever.model_copy(update={"hops": hops})
        own = Retrievers(settings.model_copy(update={"retriever": chosen}), index, retrievers.encoder)
        retriever = own.get(kind)
        started = time.perf_counter()
        found[way] = retriever.retrieve(texts, settings.retriever.depth)
        milliseconds = (time.perf_counter() - started) / len(texts) * 1000
        print(json.dumps({"way": way, "questions": len(texts), "milliseconds": round(milliseconds, 1)}), flush=True)
    return found


def rerank(settings: Settings, texts: Sequence[str], found: Mapping[str, list[list[Hit]]], depth: int) -> dict:
    """The `depth` best of each way in the reranker's order, each pair scored once."""
    reranker = make_reranker(settings)
    unions = [
        list({hit.passage.id: hit for way in WAYS for hit in found[way][row][:depth]}.values())
        for row in range(len(texts))
    ]
    ordered = reranker.rerank(texts, unions)
    reranked = {}
    for way in WAYS:
        own = [{hit.passage.id for hit in hits[:depth]} for hits in found[way]]
        reranked[f"{way}, reranked {depth}"] = [
            [hit for hit in hits if hit.passage.id in ids] for hits, ids in zip(ordered, own, strict=True)
        ]
    return reranked


def scores(hits: Sequence[Hit], gold: Mapping[str, int]) -> dict[str, float]:
    """The metrics of one question."""
    ids = [hit.passage.id for hit in hits]
    found = recall(ids, gold, 10)
    return {"recall@10": found, "all@10": float(found == 1), "mrr@10": reciprocal_rank(ids, gold, 10)}


def rows(
    questions: Sequence[Question], found: Mapping[str, list[list[Hit]]], qrels: Qrels, *, base: str
) -> Iterator[dict]:
    """One row for each group of questions and way; differences are from the way `base`."""
    scored = {
        way: [scores(hits, qrels[question.id]) for question, hits in zip(questions, lists, strict=True)]
        for way, lists in found.items()
    }
    sources = sorted({question.source for question in questions})
    for group in (*sources, *([OTHERS, EVERYTHING] if len(sources) > 1 else [])):
        places = [i for i, question in enumerate(questions) if _is_in(question, group)]
        for way, values in scored.items():
            means = {name: _mean(values, places, name) for name in values[0]}
            yield {"source": group, "n": len(places), "way": way, **means} | (
                {} if way == base else {f"{name} gained": _gained(scored, way, base, places, name) for name in means}
            )


def _is_in(question: Question, group: str) -> bool:
    return group in (EVERYTHING, question.source) or (group == OTHERS and question.source != "hotpotqa")


def _mean(values: Sequence[Mapping[str, float]], places: Sequence[int], name: str) -> float:
    return round(sum(values[i][name] for i in places) / max(len(places), 1), 4)


def _gained(scored: Mapping, way: str, base: str, places: Sequence[int], name: str) -> list[float]:
    """The paired difference, its interval and p."""
    found = paired_difference([scored[way][i][name] for i in places], [scored[base][i][name] for i in places])
    bounds = [found.interval.low, found.interval.high] if found.interval else []
    return [round(value, 4) for value in (found.difference, *bounds, found.p_value)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("qrels", type=Path)
    parser.add_argument("-i", "--index", type=Path, required=True)
    parser.add_argument("--only", default="", help="the source to take; else all")
    parser.add_argument("--sample", type=int, default=0, help="at most so many questions of each source; 0: all")
    parser.add_argument("--rerank", type=int, default=0, help="candidates to rerank; 0: none")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    given = parser.parse_args()
    quiet_libraries()
    settings = load_settings(None, given.set)
    qrels = load_qrels(given.qrels)
    judged = [q for q in load_questions(given.questions) if relevant_passages(qrels.get(q.id, {}))]
    judged = [question for question in judged if given.only in ("", question.source)]
    if given.sample:
        random.Random(0).shuffle(judged)
        by_source = {source: [q for q in judged if q.source == source] for source in {q.source for q in judged}}
        judged = [question for source in sorted(by_source) for question in by_source[source][: given.sample]]
    texts = [question.rewrite for question in judged]
    found = search(settings, given.index, texts)
    for row in rows(judged, found, qrels, base="one"):
        print(json.dumps(row), flush=True)
    if given.rerank:
        reranked = rerank(settings, texts, found, given.rerank)
        for row in rows(judged, reranked, qrels, base=f"one, reranked {given.rerank}"):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
