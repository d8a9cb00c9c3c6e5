"""A run in TREC's formats, for trec_eval, ranx and ir_measures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag.errors import DataError
from rag.evaluate.files import read_metrics, read_predictions, read_scores
from rag.evaluate.metrics import ranking
from rag.evaluate.scores import STAGES
from rag.files import write_whole
from rag.types import Run


def export_trec(run: str | Path, output: str | Path) -> list[Path]:
    """Write OUTPUT/STAGE.run for every stage, and OUTPUT/qrels; returns their paths.

    A run line is `query Q0 passage rank score tag`, a qrels line `query 0 passage grade`. TREC's columns are separated
    by spaces, so an id with a space is refused (DataError). trec_eval breaks ties by descending id and ignores ranks:
    where scores tie, its figures can differ from ours.
    """
    read_metrics(run)  # refuses scores of another version
    rows = read_predictions(run)
    scores = read_scores(run)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    runs: dict[str, Run] = {}
    for row in rows:
        for stage, field in STAGES.items():
            runs.setdefault(stage, {})[row["qid"]] = dict(row[field])
        for part, pairs in row.get("parts", {}).items():
            runs.setdefault(part, {})[row["qid"]] = dict(pairs)
    paths = []
    for stage, found in runs.items():
        path = output / f"{stage}.run"
        write_whole(path, "".join(_run_lines(qid, hits, f"rag-{stage}") for qid, hits in found.items()))
        paths.append(path)
    lines = []
    for qid, score in scores.items():
        lines += [f"{_word(qid)} 0 {_word(pid)} {grade}\n" for pid, grade in score["gold"].items()]
    path = output / "qrels"
    write_whole(path, "".join(lines))
    return [*paths, path]


def _run_lines(qid: str, hits: Mapping[str, float], tag: str) -> str:
    return "".join(
        f"{_word(qid)} Q0 {_word(pid)} {rank} {hits[pid]!r} {tag}\n" for rank, pid in enumerate(ranking(hits), 1)
    )


def _word(name: str) -> str:
    if not name or any(ch.isspace() for ch in name):
        raise DataError(f"the id {name!r} holds a space, which TREC's formats cannot express; rename it")
    return name
