"""Ask thirty questions over 434 documents of Debian packages: is the right document found and cited, the answer right?

    benchmarks/documents/gather.sh FOLDER                     # fetches the documents; nothing is installed
    python -m benchmarks.own_documents FOLDER INDEX [--dev] [--set …]

Ingests the folder, in a process of its own to measure time and memory, then asks every question of
`benchmarks/documents/questions.jsonl`, whose answers and documents were looked up by hand. Six more questions have no
answer in the documents. Prints one line for each question, to be read, and the sums.

Thirty are too few to choose by. With `--dev` the questions of `questions_dev.jsonl` are asked, which were written in
other words than the text, by reading passages drawn at random: choose by these, report the thirty.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.evaluate.answers import is_right
from rag.resume import read_jsonl
from rag.types import CANNOTANSWER, Query

QUESTIONS = Path(__file__).parent / "documents" / "questions.jsonl"
DEV_QUESTIONS = QUESTIONS.with_name("questions_dev.jsonl")


def run_ingest(folder: Path, index: Path, options: list[str]) -> dict:
    """What `rag ingest` reports, with its seconds and peak memory."""
    command = [sys.executable, "-m", "rag", "ingest", str(folder), "-i", str(index), "--json", *options]
    started = time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    result = json.loads(run.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    counts = {key: result[key] for key in ("n_passages", "added", "kept")}
    size = sum(place["size"] for document in result["documents"] for place in document["paths"])
    kinds: dict[str, int] = {}
    for document in result["documents"]:
        kinds[document["kind"]] = kinds.get(document["kind"], 0) + 1
    return {
        **counts,
        "kinds": kinds,
        "left_out": result["left_out"],
        "MiB": round(size / 2**20, 1),
        "seconds": round(seconds, 1),
        "peak GiB": round(peak, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--dev", action="store_true", help="the questions to choose by")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    options = [part for setting in arguments.set for part in ("--set", setting)]
    print(json.dumps(run_ingest(arguments.folder, arguments.index, options)), flush=True)
    rows = read_jsonl(DEV_QUESTIONS if arguments.dev else QUESTIONS)
    pipeline = make_pipeline(serving_over(load_settings(None, arguments.set), arguments.index), interactive=False)
    sums = {"answerable": 0, "first after reranking": 0, "in the context": 0, "cited": 0, "right": 0, "refused": 0}
    refused_rightly = 0
    for row, response in zip(rows, pipeline.run([Query(row["id"], row["question"]) for row in rows]), strict=True):
        sources = (row["source"], *row["also"])
        of_source = [hit.passage.source.endswith(sources) for hit in response.reranked]
        cited = [hit.passage.source for hit in response.contexts if hit.passage.id in response.answer.citations]
        shown = {"id": row["id"], "wanted": row["answer"], "answer": response.answer.text, "cited": cited}
        if row["answer"] == CANNOTANSWER:
            refused_rightly += response.answer.abstained
        else:
            rank = of_source.index(True) + 1 if any(of_source) else None
            right = not response.answer.abstained and is_right(response.answer.text, [row["answer"]], row["question"])
            shown |= {"source": row["source"], "rank": rank, "right": right}
            sums["answerable"] += 1
            sums["first after reranking"] += rank == 1
            sums["in the context"] += any(hit.passage.source.endswith(sources) for hit in response.contexts)
            sums["cited"] += any(source.endswith(sources) for source in cited)
            sums["right"] += right
            sums["refused"] += response.answer.abstained
        print(json.dumps(shown, ensure_ascii=False), flush=True)
    unanswerable = len(rows) - sums["answerable"]
    print(json.dumps({**sums, "unanswerable": unanswerable, "refused rightly": refused_rightly}))


if __name__ == "__main__":
    main()
