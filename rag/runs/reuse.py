"""What a run takes over from others: stages, scores, answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from rag import fixes
from rag.errors import DataError, RunMismatchError
from rag.files import json_line, read_json, write_whole
from rag.resume import flatten, read_jsonl
from rag.runs.known_answers import KnownAnswers
from rag.runs.known_scores import KnownScores
from rag.runs.stored import EXCERPTS, GENERATED, PREDICTIONS, RUN_FILE, SPANS, STAGE_KEYS


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
        # The score of a pair is the reranker's own, whatever its passage is ordered by.
        shaping = {"index", *keys} - {"settings.reranker.depth", "settings.reranker.cosine_weight"}
        if "oracle" not in theirs and all(ours.get(key) == theirs.get(key) for key in shaping):
            with _naming(other / PREDICTIONS):
                for row in read_jsonl(other / PREDICTIONS):
                    logits = row.get("logits") or [score for _, score in row["reranked"]]
                    known.update(
                        ((row["query"], pid), logit) for (pid, _), logit in zip(row["reranked"], logits, strict=True)
                    )
    return known


def known_answers(others: Mapping[Path, dict], identity: dict) -> KnownAnswers:
    """The raw answer to every prompt, by its hash, that other runs hold from the same generator."""
    ours = flatten(identity)
    known: dict[str, str] = {}
    for other, theirs in others.items():
        keys = {k for k in ours.keys() | theirs.keys() if k == "generator" or k.startswith("settings.generator.")}
        if all(ours.get(key) == theirs.get(key) for key in keys):
            with _naming(other / GENERATED):
                rows = read_jsonl(other / GENERATED)
                known.update((row["prompt_sha256"], row["raw"]) for row in rows if row.get("prompt_sha256"))
    return known


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raises DataError, which names the file, where a row of it is not what a batch writes."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} holds a damaged row ({error}); leave its run out of --reuse, or make it again: "
            f"{fixes.batch(path.parent)}"
        ) from error


def take_over(folder: Path, other: Path, theirs: dict, identity: dict) -> None:
    """Copy finished stages of another run where everything that shaped them is the same."""
    ours = flatten(identity)
    if ours["questions"] != theirs.get("questions"):
        return  # equal ids need not mean equal questions
    for name in STAGE_KEYS:
        file = other / name
        if name == EXCERPTS and not file.is_file() and not (folder / name).is_file():
            continue  # neither run may need any; if one does, the settings differ
        is_alike = file.is_file() and _made_alike(name, theirs, ours)
        if name == SPANS and not is_alike:
            continue  # no sentence was chosen by them; what they decided is asked below
        if not is_alike:
            return  # later stages were built on this one
        if name in (EXCERPTS, GENERATED) and not _generated_enough(theirs, ours):
            return  # sentences are chosen for the generator alone
        if not (folder / name).exists():
            write_whole(folder / name, b"".join(json_line(row) for row in read_jsonl(file)))


def _made_alike(stage: str, theirs: Mapping, ours: Mapping) -> bool:
    """Whether everything that shapes a stage itself is the same; both identities are flat."""
    prefixes = STAGE_KEYS[stage]
    keys = [key for key in ours.keys() | theirs.keys() if any(key == p or key.startswith(f"{p}.") for p in prefixes)]
    return all(ours.get(key) == theirs.get(key) for key in keys)


def _generated_enough(theirs: Mapping, ours: Mapping) -> bool:
    """Whether a run that refused by score, or answered by spans, has asked the generator all that we would ask it."""
    evidence = {key for key in ours.keys() | theirs.keys() if key.startswith("evidence.")}
    went_by_spans = any(key in theirs for key in evidence) or theirs.get("settings.reader.answer_margin") is not None
    if went_by_spans and not _made_alike(SPANS, theirs, ours):
        return False
    their_threshold, our_threshold = theirs.get("rerank_threshold"), ours.get("rerank_threshold")
    if their_threshold is None:
        return True
    is_same_scale = all(ours.get(key) == theirs.get(key) for key in evidence)
    return is_same_scale and our_threshold is not None and their_threshold <= our_threshold
