"""The files of a run folder that an evaluation reads and writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag import fixes
from rag.errors import DataError, RunMismatchError
from rag.files import read_json, write_json, write_whole
from rag.resume import read_jsonl

METRICS_FILE = "metrics.json"
SCORES_FILE = "scores.jsonl"
# The version of both files. Raise it when the meaning of a figure changes: older evaluations are then refused.
FORMAT = 3


def read_predictions(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of RUN/predictions.jsonl, in order; the fields are those of `rag batch`.

    Raises RunMismatchError where there are none, DataError with the line's number where one is damaged or a question
    occurs twice.
    """
    path = Path(folder) / "predictions.jsonl"
    if not path.is_file():
        raise RunMismatchError(f"{folder} holds no predictions; make them: {fixes.batch(folder)}")
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    # bytes.splitlines splits at line breaks alone; the text's own would also split at U+2028 inside an answer.
    for line, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(text)
            qid = row["qid"]
            _check_types(row)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}, line {line}: not a prediction ({error}); run rag batch again") from error
        if qid in seen:
            raise DataError(
                f"{path}, line {line}: the question {qid!r} already stands on line {seen[qid]}; "
                "run rag batch into another folder"
            )
        seen[qid] = line
        rows.append(row)
    if not rows:
        raise RunMismatchError(f"{path} is empty; run rag batch again")
    return rows


def _check_types(row: dict[str, Any]) -> None:
    """Raises TypeError where what an evaluation counts is of another type than `rag batch` writes."""
    if not isinstance(row["qid"], str) or not isinstance(row.get("seconds", {}), dict):
        raise TypeError("its id is no text, or its seconds have no names")
    for name in ("retrieved", "reranked"):
        for pair in row.get(name) or ():
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
                raise TypeError(f"{name} holds {pair!r:.40}")
            if type(pair[1]) not in (int, float):
                raise TypeError(f"{name} holds {pair!r:.40}")
    for name in ("contexts", "citations"):
        if not all(isinstance(pid, str) for pid in row.get(name) or ()):
            raise TypeError(f"{name} holds what is no id")


def write_evaluation(folder: str | Path, metrics: dict[str, Any], scores: Sequence[dict[str, Any]]) -> None:
    """Write RUN/metrics.json and RUN/scores.jsonl, each whole."""
    folder = Path(folder)
    write_whole(folder / SCORES_FILE, "".join(json.dumps(row) + "\n" for row in scores))
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """The record in RUN/metrics.json. Raises RunMismatchError where it is missing, damaged or of another version."""
    path = Path(folder) / METRICS_FILE
    again = fixes.evaluate(folder)
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: {again}")
    metrics = read_json(path, RunMismatchError, fix=f"evaluate again: {again}")
    if metrics.get("format") != FORMAT:
        raise RunMismatchError(f"{folder} was evaluated by another version of this program; evaluate again: {again}")
    return metrics


def read_scores(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The rows of RUN/scores.jsonl by question id. Raises RunMismatchError where there are none."""
    path = Path(folder) / SCORES_FILE
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: {fixes.evaluate(folder)}")
    return {row["qid"]: row for row in read_jsonl(path)}
