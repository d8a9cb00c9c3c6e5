"""What every run shares: its schedule, its identity, its processes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag.resume import check_made, remember

TRAINING_FILE = "training.json"
WATCHED = "watched"
"""In TRAINING_FILE: the ids of the dev questions that chose the checkpoint, or the one to start from."""
COST_FILE = "cost.json"
LEAST_LOGGED = 20
"""How many steps of a run are logged at least; all of them where it has no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast and how far a model is trained: what the recipes of both models have in common.

    Each weight of the model that is kept is `tuned_share` of the tuned one and the rest of the base's
    (`mix_with_base`). Dropout above 0 is slow on a CPU.
    """

    epochs: float = 2.0
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 2e-5
    warmup_steps: int | None = None
    warmup_share: float = 0.1
    max_length_tokens: int = 256
    dropout: float = 0.0
    freeze_embeddings: bool = True
    adam_beta2: float = 0.999
    tuned_share: float = 1.0
    seed: int = 0

    def steps(self, n_rows: int) -> int:
        """Optimizer steps over `n_rows` training rows."""
        steps_per_epoch = math.ceil(n_rows / (self.batch_size * self.accumulation * n_processes()))
        return math.ceil(steps_per_epoch * self.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a run is watched: how often the model is evaluated on dev, and where figures go besides the log.

    Every `log_steps`-th step is logged; in a short run more of them, so that there are `LEAST_LOGGED`.
    """

    evaluations: int = 4
    log_steps: int = 10
    report_to: str = "none"

    def log_every(self, n_steps: int) -> int:
        """The steps from one line of the log to the next, in a run of `n_steps`."""
        return max(1, min(self.log_steps, n_steps // LEAST_LOGGED))


def is_first_process() -> bool:
    """Whether this process writes the run's files: the only one, or the first that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def n_processes() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_same_training(target: Path, identity: Mapping) -> None:
    """Raises RunMismatchError where the folder holds a run of something else."""
    check_made(target / TRAINING_FILE, identity, target)


def note_training(target: Path, identity: Mapping) -> None:
    """Write down what a run is made of, once nothing more can be refused; raises as `check_same_training`."""
    if is_first_process():
        target.mkdir(parents=True, exist_ok=True)
        remember(target / TRAINING_FILE, identity, target)


def digest(rows: Iterable[object]) -> str:
    """A short hash of rows, which are anything that JSON takes."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()[:16]
