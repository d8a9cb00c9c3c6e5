"""What a run takes over from others: stages, scores, answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag.errors import RunMismatchError
from rag.files import json_line, read_json, write_whole
from rag.resume import flatten, read_jsonl
from rag.runs.known_answers import KnownAnswers
from rag.runs.known_scores import KnownScores
from rag.runs.stored import EXCERPTS, GENERATED, PREDICTIONS, RUN_FILE, STAGE_KEYS


def read_identity(run: Path) -> dict:
    return flatten(read_json(run / RUN_FILE, RunMismatchError, fix=f"{run} is no run folder"))


def known_scores(others: Mapping[Path, dict], identity: dict) -> KnownScores:
    """The rerank score of every (query, passage id) that other runs over the same index hold from the same model."""
    ours = flatten(identity)
    if ours.get("reranker") is None:
        return {}
    known: dict[tuple[str, str], float] = {}
    for other, theirs in others.items():
        keys = [k for k in ours.keys() | theirs.keys() if k == "reranker" or k.startswith("settings.reranker.")]
        shaping = {"index", *keys} - {"settings.reranker.depth"}
        if "oracle" not in theirs and all(ours.get(key) == theirs.get(key) for key in shaping):
            for row in read_jsonl(other / PREDICTIONS):
                known.update(((row["query"], pid), score) for pid, score in row["reranked"])
    return known


def known_answers(others: Mapping[Path, dict], identity: dict) -> KnownAnswers:
    """The raw answer to every prompt, by its hash, that other runs hold from the same generator."""
    ours = flatten(identity)
    known: dict[str, str] = {}
    for other, theirs in others.items():
        keys = {k for k in ours.keys() | theirs.keys() if k == "generator" or k.startswith("settings.generator.")}
        if all(ours.get(key) == theirs.get(key) for key in keys):
            rows = read_jsonl(other / GENERATED)
            known.update((row["prompt_sha256"], row["raw"]) for row in rows if row.get("prompt_sha256"))
    return known


def take_over(folder: Path, other: Path, theirs: dict, identity: dict) -> None:
    """Copy finished stages of another run where everything that shaped them is the same."""
    ours = flatten(identity)
    if ours["questions"] != theirs.get("questions"):
        return  # equal ids need not mean equal questions
    for name in STAGE_KEYS:
        file = other / name
        if name == EXCERPTS and not file.is_file() and not (folder / name).is_file():
            continue  # neither run may need any; if one does, the settings differ
        keys = [
            k for k in ours.keys() | theirs.keys() if any(k == p or k.startswith(p + ".") for p in STAGE_KEYS[name])
        ]
        if not file.is_file() or any(ours.get(key) != theirs.get(key) for key in keys):
            return  # later stages were built on this one
        if name == GENERATED and not _generated_enough(theirs.get("rerank_threshold"), ours.get("rerank_threshold")):
            return
        if not (folder / name).exists():
            write_whole(folder / name, b"".join(json_line(row) for row in read_jsonl(file)))


def _generated_enough(their_threshold: float | None, our_threshold: float | None) -> bool:
    """Whether a run that refused below one score holds an answer to everything that another threshold lets through."""
    return their_threshold is None or (our_threshold is not None and their_threshold <= our_threshold)
