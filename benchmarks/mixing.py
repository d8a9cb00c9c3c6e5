"""Measure what the retriever's cosine adds to the reranker's logit: MRR@10 by logit + weight x cosine.

    python -m benchmarks.mixing RUN QRELS -i INDEX [--set encoder.model=…]

RUN was made by `rag batch` over INDEX, with reranking; nothing is reranked again. Choose on a run over dev questions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks import mrr_row
from rag.build.retrievers import Retrievers
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.qrels import load_qrels
from rag.evaluate.metrics import reciprocal_rank, relevant_passages
from rag.resume import read_jsonl

WEIGHTS = (0, 10, 20, 30, 40, 50, 60, 80, 100, 150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("qrels", type=Path)
    parser.add_argument("-i", "--index", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("-w", type=float, action="append", help="a weight instead of the default ones; may be repeated")
    arguments = parser.parse_args()
    quiet_libraries()
    qrels = load_qrels(arguments.qrels)
    rows = [
        row for row in read_jsonl(arguments.run / "predictions.jsonl") if relevant_passages(qrels.get(row["qid"], {}))
    ]
    dense = Retrievers(load_settings(None, arguments.set), arguments.index).get("dense")
    row_of = {passage.id: row for row, passage in enumerate(dense.corpus)}
    queries = dense.encoder.encode_queries([row["query"] for row in rows])
    values: dict[float, list[float]] = {weight: [] for weight in (0, *(arguments.w or WEIGHTS))}
    for row, query in zip(rows, queries, strict=True):
        ids, logits = zip(*row["reranked"], strict=True)
        cosines = dense.index.vectors([row_of[pid] for pid in ids]) @ query
        for weight, found in values.items():
            order = np.argsort(-(np.array(logits) + weight * cosines), kind="stable")
            found.append(reciprocal_rank([ids[n] for n in order], relevant_passages(qrels[row["qid"]]), 10))
    for weight, found in values.items():
        print(json.dumps({"weight": weight, **mrr_row(found, values[0])}))


if __name__ == "__main__":
    main()
