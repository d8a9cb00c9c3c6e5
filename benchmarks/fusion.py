"""Find the best weight of BM25 beside the dense retriever, and the best rank constant: every pair, on judged questions.

    python -m benchmarks.fusion INDEX QUESTIONS QRELS [--set encoder.model=…]

Each retriever is asked once; only the fusion is computed again. Choose on dev questions. The last lines compare the
best pair with that of the settings, question by question.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rag.build.retrievers import Retrievers
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.qrels import load_qrels
from rag.data.questions import load_questions
from rag.evaluate.metrics import recall, reciprocal_rank, relevant_passages
from rag.evaluate.significance import paired_difference
from rag.retrieve.hybrid import HybridRetriever
from rag.types import Hit

RANK_CONSTANTS = (1, 5, 10, 20, 60)
BM25_WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 2.0)


class Known:
    """A retriever that returns hits found before, in the order of the questions."""

    def __init__(self, lists: Sequence[Sequence[Hit]]):
        self._lists = lists

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [list(hits[:k]) for hits in self._lists]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("index", "questions", "qrels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    settings = load_settings(None, arguments.set)
    qrels = load_qrels(arguments.qrels)
    questions = [q for q in load_questions(arguments.questions) if relevant_passages(qrels.get(q.id, {}))]
    texts = [question.rewrite for question in questions]
    retrievers = Retrievers(settings, arguments.index)
    depth = settings.retriever.fusion_depth
    parts = {kind: Known(retrievers.get(kind).retrieve(texts, depth)) for kind in ("dense", "bm25")}
    found: dict[tuple[int, float], dict[str, list[float]]] = {}
    own = (settings.retriever.rrf_k, settings.retriever.bm25_weight)
    for rrf_k in sorted({*RANK_CONSTANTS, own[0]}):
        for weight in sorted({*BM25_WEIGHTS, own[1]}):
            fusion = HybridRetriever(parts, weights={"bm25": weight}, rrf_k=rrf_k, depth=depth)
            lists = [[hit.passage.id for hit in hits] for hits in fusion.retrieve(texts, 50)]
            gold = [relevant_passages(qrels[question.id]) for question in questions]
            values = {
                "mrr@10": [reciprocal_rank(ids, g, 10) for ids, g in zip(lists, gold, strict=True)],
                "recall@10": [recall(ids, g, 10) for ids, g in zip(lists, gold, strict=True)],
                "recall@50": [recall(ids, g, 50) for ids, g in zip(lists, gold, strict=True)],
            }
            found[rrf_k, weight] = values
            means = {name: round(sum(each) / len(each), 4) for name, each in values.items()}
            print(json.dumps({"rrf_k": rrf_k, "bm25_weight": weight, **means}), flush=True)
    best = max(found, key=lambda pair: sum(found[pair]["mrr@10"]))
    for name in found[best]:
        difference = paired_difference(found[best][name], found[own][name])
        print(json.dumps({"metric": name, "best": best, "against": own, **dataclasses.asdict(difference)}))


if __name__ == "__main__":
    main()
