"""Each stage of search over an index in any language, as it serves, and as before the language of an index was found.

    python -m benchmarks.other_languages INDEX QUESTIONS QRELS [--rerank 150]

Before ("old"): English words for BM25, its usual weight in the fusion. `--rerank N` also lets the reranker of the
settings order the ten best of either fusion, for N of the questions and whatever the language. The last lines compare
stages, on these questions or without it on all. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.fusion import Known
from rag.build.parts import make_reranker
from rag.build.serving import serving_over
from rag.compute.quiet import quiet_libraries
from rag.config import Settings, load_settings
from rag.data.qrels import load_qrels
from rag.data.questions import Question, load_questions, sample_questions
from rag.evaluate.metrics import recall, reciprocal_rank, relevant_passages
from rag.evaluate.significance import paired_difference
from rag.retrieve.analyzer import Analyzer
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.hybrid import HybridRetriever
from rag.types import Hit, Qrels

Found = dict[str, dict[str, list[Hit]]]  # stage -> question id -> hits
COMPARED = (
    ("bm25", "bm25, old"),
    ("fusion", "fusion, old"),
    ("fusion", "dense"),
    ("fusion, old, reranked", "fusion, old"),
    ("fusion, reranked", "fusion"),
    ("fusion", "fusion, old, reranked"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("index", "questions", "qrels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rerank", type=int, default=0, help="questions whose ten best are reranked")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    settings = load_settings(None, arguments.set)
    qrels = load_qrels(arguments.qrels)
    questions = [q for q in load_questions(arguments.questions) if relevant_passages(qrels.get(q.id, {}))]
    found = _retrieved(settings, arguments.index, questions)
    _say_means(found, qrels, questions)
    if arguments.rerank:
        questions = sample_questions(questions, arguments.rerank)
        found |= _reranked(settings, found, questions)
        _say_means(found, qrels, questions)
    for stage, other in COMPARED:
        for metric, of in (("mrr@10", reciprocal_rank), ("recall@10", recall)):
            if stage in found and other in found:
                values = [[of(_ids(found[name][q.id]), qrels[q.id], 10) for q in questions] for name in (stage, other)]
                difference = dataclasses.asdict(paired_difference(*values))
                print(json.dumps({"metric": metric, "stage": stage, "against": other, **difference}))


def _retrieved(settings: Settings, index: Path, questions: Sequence[Question]) -> Found:
    """A hundred hits of each retriever, and the two fused: as it serves over the index, and as before languages."""
    serving = serving_over(settings, index)
    retrievers = serving.retrievers()
    corpus = retrievers.index.get().corpus
    served = serving.settings.retriever
    language = serving.manifest.language
    print(json.dumps({"language": language, "passages": len(corpus), "bm25_weight": served.bm25_weight}))
    parts = {
        "bm25, old": BM25Retriever(corpus, analyzer=Analyzer(version=1)),
        "bm25": retrievers.get("bm25"),
        "dense": retrievers.get("dense"),
    }
    texts = [question.rewrite for question in questions]
    lists = {name: part.retrieve(texts, served.fusion_depth) for name, part in parts.items()}
    for name, chosen in (("bm25, old", settings.retriever), ("bm25", served)):
        fusion = HybridRetriever(
            {"dense": Known(lists["dense"]), "bm25": Known(lists[name])},
            weights={"dense": chosen.dense_weight, "bm25": chosen.bm25_weight},
            rrf_k=chosen.rrf_k,
            depth=chosen.fusion_depth,
        )
        lists[name.replace("bm25", "fusion")] = fusion.retrieve(texts, chosen.depth)
    return {name: {q.id: hits for q, hits in zip(questions, own, strict=True)} for name, own in lists.items()}


def _reranked(settings: Settings, found: Found, questions: Sequence[Question]) -> Found:
    """The ten best of either fusion in the reranker's order; a pair that both hold is scored once."""
    reranker = make_reranker(settings)
    texts = [question.rewrite for question in questions]
    fusions = ("fusion, old", "fusion")
    pairs = [{hit.passage.id: hit for name in fusions for hit in found[name][q.id][:10]} for q in questions]
    ordered = reranker.rerank(texts, [list(hits.values()) for hits in pairs])
    reranked: Found = {}
    for name in fusions:
        own = [set(_ids(found[name][q.id][:10])) for q in questions]
        lists = [[hit for hit in hits if hit.passage.id in ids] for hits, ids in zip(ordered, own, strict=True)]
        reranked[f"{name}, reranked"] = {q.id: hits for q, hits in zip(questions, lists, strict=True)}
    return reranked


def _say_means(found: Found, qrels: Qrels, questions: Sequence[Question]) -> None:
    for name, lists in found.items():
        scores: Mapping[str, list[float]] = {
            "mrr@10": [reciprocal_rank(_ids(lists[q.id]), qrels[q.id], 10) for q in questions],
            "recall@10": [recall(_ids(lists[q.id]), qrels[q.id], 10) for q in questions],
        }
        means = {metric: round(sum(each) / len(each), 4) for metric, each in scores.items()}
        print(json.dumps({"stage": name, "questions": len(questions), **means}), flush=True)


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


if __name__ == "__main__":
    main()
