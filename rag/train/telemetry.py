"""What a training run writes down: one JSON line per logging step, warnings by rule, plots.

RUN/log.jsonl holds step, epoch, loss, learning_rate, grad_norm, separation and seconds; `learning_rate/GROUP` is the
rate of each group of parameters. At every evaluation it holds the dev metrics, and how far the weights have moved away
from the base's: `drift` all together, `drift/LAYER` each layer. A resumed run continues the same file. RUN/curves.png
and RUN/warnings.json are updated at evaluations.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rag.files import write_json, write_whole
from rag.progress import Progress, progress, say
from rag.resume import read_jsonl
from rag.train.curves import LOG_FILE, plot_log
from rag.train.drift import layer_drift, layer_of  # noqa: F401 (named here since the first version)

WARNINGS_FILE = "warnings.json"
PARTS = {"embeddings": "embeddings", "layer": "layers", "head": "head"}
CURVES_EVERY_SECONDS = 30.0
COLLAPSED_SHARE = 0.05
"""Of the spread of scores at the start: with less separation than that, positives and negatives score alike."""
CHOOSES = ("mrr@10", "f1_with_null")
"""What the names of the figures end with that choose checkpoints."""
FALLING_EVALUATIONS = 2
"""Falls of dev in a row that count as overfitting."""


class Telemetry(TrainerCallback):
    """Writes the log, shows the progress, and stops a run that diverges.

    `separation` is called at each logging step for the mean margin between positive and hardest negative, `drift` at
    each evaluation for the drift of each layer and of all (`rag.train.drift`). If several processes train together,
    each has a Telemetry, so that all of them stop; only the one that `writes` writes and shows anything.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writes: bool = True,
        separation: Callable[[], float | None] | None = None,
        drift: Callable[[], Mapping[str, float]] | None = None,
        label: str = "Training",
    ):
        self.folder = folder
        self.separation = separation
        self.drift = drift
        self.label = label
        self.writes = writes
        self.diverged = False
        self._shown = contextlib.ExitStack()
        self._bar: Progress | None = None
        self._step = 0
        self._warned: set[str] = set()
        self._drawn = time.monotonic()
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._groups: list[str] = []
        self._rates: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if not self.writes:
            return
        path = self.folder / LOG_FILE
        # A resumed run does again what came after its checkpoint, and logs it again.
        # One that was killed before its first checkpoint has looked at the base twice.
        rows = {(row["step"], "loss" in row): row for row in read_jsonl(path) if row["step"] <= state.global_step}
        earlier = [*rows.values()]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in earlier))
        self._seconds_before = max((row.get("seconds", 0.0) for row in earlier), default=0.0)
        self._started = time.monotonic()
        bar = progress(self.label, state.max_steps, "steps", already_done=state.global_step)
        self._bar = self._shown.enter_context(bar)
        self._step = state.global_step

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> None:
        """Keep the rates that this step was made with: the schedule changes them before the step is logged."""
        optimizer = kwargs.get("optimizer")
        if optimizer is None or not self.writes:
            return
        if len(self._groups) != len(optimizer.param_groups):
            self._groups = group_names(kwargs.get("model"), optimizer.param_groups)
        rates = zip(self._groups, optimizer.param_groups, strict=True)
        self._rates = {f"learning_rate/{name}": float(group["lr"]) for name, group in rates if group["params"]}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if self._bar is None:
            return
        self._bar.advance(state.global_step - self._step)
        self._step = state.global_step

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if self.writes and state.global_step:
            self._review()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self._shown.close()
        if self.writes:
            self._review()

    def _review(self) -> None:
        """Write the warnings about what the log holds by now, and from time to time the curves.

        Each kind of warning is shown once.
        """
        found = warnings_of(read_jsonl(self.folder / LOG_FILE))
        write_json(self.folder / WARNINGS_FILE, found)
        for warning in found:
            kind = warning.partition(":")[0]
            if kind not in self._warned:
                self._warned.add(kind)
                say(f"warning: {warning}")
        if self.diverged or time.monotonic() - self._drawn >= CURVES_EVERY_SECONDS:
            plot_log(self.folder)
            self._drawn = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        # The trainer's last row sums the run up; it has no loss of a step.
        if not logs or "train_runtime" in logs:
            return
        seconds = round(self._seconds_before + time.monotonic() - self._started, 1)
        row: dict[str, float | None] = {
            "step": state.global_step,
            "epoch": round(state.epoch or 0.0, 4),
            "seconds": seconds,
        }
        row |= {name: _number(value) for name, value in logs.items() if name != "epoch"}
        if "loss" in logs and self.separation is not None:
            found = self.separation()
            row["separation"] = None if found is None else _number(found)
        if "loss" in logs:
            row |= self._rates
        if self.writes and self.drift is not None and any(name.startswith("eval_") for name in logs):
            row |= {name: _number(value) for name, value in self.drift().items()}
        if self.writes:
            with (self.folder / LOG_FILE).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        if any(value is None for name, value in row.items() if name in ("loss", "grad_norm")):
            self.diverged = True
            control.should_training_stop = True


def group_names(model: Any, groups: Sequence[Mapping]) -> list[str]:
    """A name for each group of an optimizer's parameters: the parts of the model, and whether biases and norms alone.

    "embeddings+layers" and "embeddings+layers, biases and norms" are the trainer's own two; a name that would stand
    twice gets a number.
    """
    names = {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
    made: list[str] = []
    for group in groups:
        parts = {layer_of(names.get(id(parameter), "")).partition(" ")[0] for parameter in group["params"]}
        shown = [plural for part, plural in PARTS.items() if part in parts]
        name = "+".join(shown) or "empty"
        if group["params"] and all(parameter.ndim < 2 for parameter in group["params"]):
            name += ", biases and norms"
        n_before = sum(other.partition(" #")[0] == name for other in made)
        made.append(f"{name} #{n_before + 1}" if n_before else name)
    return made


def _number(value: float) -> float | None:
    """JSON has no NaN: a value that is not finite is written as null."""
    number = float(value)
    return number if math.isfinite(number) else None


def warnings_of(log: Sequence[Mapping]) -> list[str]:
    """Warnings about a log by rule: divergence, collapse, overfitting, sawtooth at epoch ends.

    Each begins with its kind and a colon.
    """
    steps = [row for row in log if "loss" in row]
    evaluations = [row for row in log if any(name.startswith("eval_") for name in row)]
    found = []
    if any(row["loss"] is None or row.get("grad_norm", 0.0) is None for row in steps):
        found.append("divergence: the loss or its gradient is no longer a number; the last good checkpoint is kept")
    last = [row["separation"] for row in steps[-5:] if row.get("separation") is not None]
    last = last or [row["eval_dev_separation"] for row in evaluations[-1:] if "eval_dev_separation" in row]
    # Cosines and logits have scales of their own: the measure is how far apart the scores were at the start.
    spread = next((row["eval_dev_spread"] for row in evaluations if row.get("eval_dev_spread")), 0.0)
    if last and max(map(abs, last)) < COLLAPSED_SHARE * spread:
        found.append(f"collapse: positives and negatives score alike (separation {max(last):.4f})")
    finite = [row for row in steps if row["loss"] is not None]
    if _overfits(finite, evaluations):
        found.append("overfitting: dev falls while the training loss falls; train for less, or on more data")
    if (drop := _epoch_drop(finite)) is not None:
        found.append(f"sawtooth: the loss falls by {drop:.0%} where an epoch ends; questions are learnt by heart")
    return found


def _dev_metric(row: Mapping) -> float | None:
    """The figure on dev that chooses the checkpoint, in a row of the log."""
    return next((row[name] for name in sorted(row) if name.startswith("eval_") and name.endswith(CHOOSES)), None)


def _overfits(steps: Sequence[Mapping], evaluations: Sequence[Mapping]) -> bool:
    """Whether the last evaluations each fell while the last third of the losses lies below the first."""
    scores = [score for row in evaluations if (score := _dev_metric(row)) is not None]
    if len(scores) <= FALLING_EVALUATIONS or len(steps) < 4:
        return False
    tail = scores[-(FALLING_EVALUATIONS + 1) :]
    falls = all(later < earlier for earlier, later in itertools.pairwise(tail))
    third = max(len(steps) // 3, 1)
    early = sum(row["loss"] for row in steps[:third]) / third
    late = sum(row["loss"] for row in steps[-third:]) / third
    return falls and late < early


def _epoch_drop(steps: Sequence[Mapping]) -> float | None:
    """The share by which the loss falls where an epoch ends, beyond its fall within the epoch; None if it does not."""
    drops = []
    for boundary in range(1, math.ceil(max((row["epoch"] for row in steps), default=0))):
        before = [row["loss"] for row in steps if boundary - 0.25 <= row["epoch"] < boundary]
        after = [row["loss"] for row in steps if boundary < row["epoch"] <= boundary + 0.25]
        inside = [row["loss"] for row in steps if boundary - 0.75 <= row["epoch"] < boundary - 0.25]
        if len(before) >= 2 and len(after) >= 2 and len(inside) >= 2:
            level = sum(before) / len(before)
            drop = 1 - sum(after) / len(after) / level
            trend = 1 - level / (sum(inside) / len(inside))
            drops.append(drop - max(trend, 0.0))
    return max(drops) if drops and max(drops) > 0.15 else None
