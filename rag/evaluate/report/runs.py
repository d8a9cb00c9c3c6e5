"""The evaluated runs that a report is about, read from their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rag import fixes
from rag.data.passages import Corpus
from rag.errors import RunMismatchError
from rag.evaluate.files import read_metrics, read_predictions, read_scores
from rag.evaluate.verdict import GATE_FILE
from rag.files import json_if_sound
from rag.resume import read_jsonl
from rag.types import Messages, Passage


class ReportedPrompt(Protocol):
    """As much of a prompt as it takes to show what a question was asked with."""

    def conversation(self, question: str, passages: Sequence[Passage]) -> Messages:
        """The messages that the generator is asked with."""
        ...

    def tamed(self, text: str) -> str:
        """A passage's text as the generator is shown it."""
        ...


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """One run's figures and rows, as the report needs them.

    `scores` and `rows` (the predictions) are by question id. `identity`, `cost` and `provenance` hold run.json,
    cost.json and provenance.json, {} where there is none. Without `corpus` or `prompt`, passages or prompts are not
    shown.
    """

    name: str
    metrics: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    identity: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    corpus: Corpus | None = None
    prompt: ReportedPrompt | None = None
    training: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_runs(
    folders: Sequence[str | Path],
    corpora: Sequence[Corpus | None] = (),
    prompts: Sequence[ReportedPrompt | None] = (),
) -> list[ReportedRun]:
    """The runs in order. `corpora` and `prompts` may be shorter; raises RunMismatchError for other folders."""
    runs = []
    for n, (folder, name) in enumerate(zip(folders, _names(folders), strict=True)):
        corpus = corpora[n] if n < len(corpora) else None
        prompt = prompts[n] if n < len(prompts) else None
        runs.append(_read_run(Path(folder), corpus, prompt, name))
    return runs


def _names(folders: Sequence[str | Path]) -> list[str]:
    """The names of the folders; where two are equal, their whole paths."""
    short = [Path(folder).resolve().name for folder in folders]
    return [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]


def _read_run(folder: Path, corpus: Corpus | None, prompt: ReportedPrompt | None, name: str) -> ReportedRun:
    if not folder.is_dir():
        raise RunMismatchError(f"{folder} is not a run folder; make one: {fixes.batch(folder)}")
    rows = {row["qid"]: row for row in read_predictions(folder)}
    metrics = read_metrics(folder)
    scores = read_scores(folder)
    if metrics["n_predicted"] != len(rows) or not rows.keys() <= scores.keys():
        raise RunMismatchError(
            f"{folder} has changed since it was evaluated; evaluate it again: {fixes.evaluate(folder)}"
        )
    provenance = _json(folder / "provenance.json")
    return ReportedRun(
        name=name,
        metrics=metrics,
        scores=scores,
        rows=rows,
        identity=_json(folder / "run.json"),
        cost=_json(folder / "cost.json"),
        provenance=provenance,
        corpus=corpus,
        prompt=prompt,
        training=_training(provenance),
    )


def _json(path: Path) -> dict[str, Any]:
    """The record in a file beside a run; {} where it is missing or damaged, which the report then mentions."""
    return json_if_sound(path) or {}


def _training(provenance: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Role -> training log, gate and recipe of the model that the run used, if the model lies in a training folder."""
    found = {}
    for role, model in provenance.get("models", {}).items():
        folder = Path(model["folder"]).parent
        log = read_jsonl(folder / "log.jsonl")
        gate = _json(folder / GATE_FILE)
        if log or gate:
            found[role] = {
                "name": model["name"],
                "gate": gate,
                "steps": [row for row in log if "loss" in row],
                "evaluations": [row for row in log if any(key.startswith("eval_dev_") for key in row)],
                "recipe": _json(folder / "training.json").get("recipe", {}),
            }
    return found


def lacking(run: ReportedRun) -> list[str]:
    """What the report cannot show of a run, one sentence each."""
    lines = []
    asked = run.metrics["n_queries"]
    done = run.metrics["n_predicted"]
    if done < asked:
        lines.append(f"{run.name} is unfinished: {done:,} of {asked:,} questions are predicted; the others score 0.")
    if not any(row.get("answer") is not None for row in run.rows.values()):
        lines.append(f"{run.name} holds no answers (made with --no-generate): ranking only.")
    elif run.metrics["answer"] is None:
        lines.append(f"{run.name} was evaluated without reference answers; evaluate it with --queries FILE.")
    if not run.metrics["n_judged"]:
        lines.append(f"No question of {run.name} is judged in the qrels: there are no ranking figures.")
    if run.corpus is None:
        lines.append(f"The index of {run.name} is not where it was: passages and prompts are not shown (-i INDEX).")
    elif run.prompt is None:
        lines.append(f"The prompt of {run.name} or its demonstrations have changed: prompts are not shown.")
    if not run.identity:
        lines.append(f"{run.name} holds no run.json: what made it is unknown.")
    return lines
