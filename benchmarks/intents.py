"""BM25 by what a query is after: MRR@10 beside nDCG@20 and Recall@50, over a folder in the course layout.

`python -m benchmarks.intents DATA --questions 600`. A second table asks the same questions as keywords: without the
small words of a sentence and the question mark.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from rag.data.corpus import load_corpus
from rag.data.qrels import load_qrels
from rag.data.questions import load_questions, sample_questions
from rag.evaluate.intent import ASKING_WORDS, intent_of
from rag.evaluate.metrics import deep_scores, mean, ranking_scores
from rag.evaluate.significance import bootstrap_interval, paired_difference
from rag.languages import ENGLISH, FUNCTION_WORDS
from rag.retrieve.bm25 import BM25Retriever

DEPTH = 50
NAMES = ("mrr@10", "ndcg@10", "ndcg@20", "recall@10", "recall@50")
SMALL = FUNCTION_WORDS[ENGLISH] | set(ASKING_WORDS[ENGLISH].split())


def as_keywords(question: str) -> str:
    """The words of a question that somebody would search by, in their order."""
    words = re.findall(r"[\w'-]+", question)
    return " ".join(word for word in words if word.lower() not in SMALL) or question


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=600)
    arguments = parser.parse_args()
    corpus, qrels = load_corpus(arguments.data / "corpus.txt"), load_qrels(arguments.data / "qrels.txt")
    judged = [question for question in load_questions(arguments.data / "dev.txt") if question.id in qrels]
    asked = sample_questions(judged, arguments.questions)
    bm25 = BM25Retriever(corpus)
    texts = {question.id: question.rewrite for question in asked}
    judged_by = {question.id: qrels[question.id] for question in asked}
    scores = []
    for title, queries in (("as asked", texts), ("as keywords", {q: as_keywords(text) for q, text in texts.items()})):
        print(f"\n{title}")
        scores.append(score(bm25, queries, judged_by, len(corpus)))
        show(scores[-1], queries)
    print("\nas keywords against as asked")
    for name in NAMES:
        before, after = ([found[name][qid] for qid in texts] for found in scores)
        print(name, paired_difference(after, before))


def score(
    bm25: BM25Retriever, queries: Mapping[str, str], qrels: Mapping[str, dict], n_passages: int
) -> dict[str, dict[str, float]]:
    """metric -> query id -> score."""
    hits = bm25.retrieve(list(queries.values()), DEPTH)
    run = {qid: {hit.passage.id: hit.score for hit in found} for qid, found in zip(queries, hits, strict=True)}
    return {**ranking_scores(run, dict(qrels)), **deep_scores(run, dict(qrels), n_passages)}


def show(scores: Mapping[str, Mapping[str, float]], queries: Mapping[str, str]) -> None:
    """The table of a set of queries: all of them, then by intent."""
    groups: dict[str, list[str]] = defaultdict(list)
    for qid, text in queries.items():
        groups["all"].append(qid)
        groups[intent_of(text)].append(qid)
    print("| intent | n | " + " | ".join(NAMES) + " |")
    for intent, qids in groups.items():
        cells = []
        for name in NAMES:
            values = [scores[name][qid] for qid in qids]
            interval = bootstrap_interval(values)
            cells.append(f"{mean(values):.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""))
        print(f"| {intent} | {len(qids)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
