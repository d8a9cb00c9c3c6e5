"""What an evaluation reads and writes in a run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rag.errors import DataError, RunMismatchError
from rag.files import read_json, write_json, write_whole
from rag.resume import read_jsonl

METRICS_FILE, SCORES_FILE = "metrics.json", "scores.jsonl"
FORMAT = 3


def read_predictions(folder: str | Path) -> list[dict]:
    """The rows of RUN/predictions.jsonl. Raises RunMismatchError where there are none, DataError on a bad line."""
    path = Path(folder) / "predictions.jsonl"
    if not path.is_file():
        raise RunMismatchError(f"{folder} holds no predictions; make them: rag batch QUERIES -i INDEX -o {folder}")
    rows, seen = [], {}
    for line, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(text)
            qid = row["qid"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {line}: not a prediction ({error}); run rag batch again") from error
        if qid in seen:
            problem = f"the question {qid!r} already stands on line {seen[qid]}"
            raise DataError(f"{path}, line {line}: {problem}; run rag batch into another folder")
        seen[qid] = line
        rows.append(row)
    if not rows:
        raise RunMismatchError(f"{path} is empty; run rag batch again")
    return rows


def write_evaluation(folder: str | Path, metrics: dict, scores: Sequence[dict]) -> None:
    """RUN/metrics.json and RUN/scores.jsonl, each written whole."""
    folder = Path(folder)
    write_whole(folder / SCORES_FILE, "".join(json.dumps(row) + "\n" for row in scores))
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: str | Path) -> dict:
    """RUN/metrics.json. Raises RunMismatchError where it is missing, damaged or of another version."""
    path = Path(folder) / METRICS_FILE
    again = f"rag evaluate {folder} --qrels QRELS --queries FILE"
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: {again}")
    metrics = read_json(path, RunMismatchError, fix=f"evaluate again: {again}")
    if metrics.get("format") != FORMAT:
        raise RunMismatchError(f"{folder} was evaluated by another version of this program; evaluate again: {again}")
    return metrics


def read_scores(folder: str | Path) -> dict[str, dict]:
    """The rows of RUN/scores.jsonl by question id. Raises RunMismatchError where there are none."""
    path = Path(folder) / SCORES_FILE
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: rag evaluate {folder} --qrels QRELS --queries FILE")
    return {row["qid"]: row for row in read_jsonl(path)}
