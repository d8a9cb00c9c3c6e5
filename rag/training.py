"""What every fine-tuning run shares: arguments, checkpoints, resuming, the best by dev, telemetry.

RUN/training.json   what the run is made of; another run is refused
RUN/checkpoints/    the last two, and the best
RUN/log.jsonl       steps and evaluations (rag/telemetry.py), RUN/curves.png and drift.json at the end
RUN/model/          the finished checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag.errors import RunMismatchError
from rag.files import write_json
from rag.inference import default_device, fastest_precision, n_threads

TRAINING_FILE = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast: what the recipes of both models have in common. Dropout above 0 is slow on a CPU."""

    epochs: float = 2.0
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 2e-5
    warmup_steps: int | None = None
    warmup_share: float = 0.1
    max_length_tokens: int = 256
    dropout: float = 0.0
    freeze_embeddings: bool = True
    seed: int = 0

    def steps(self, n_rows: int) -> int:
        """Optimizer steps over `n_rows` training rows."""
        return max(1, round(n_rows / (self.batch_size * self.accumulation) * self.epochs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a run is watched: how often dev is looked at, and where the figures go besides the log."""

    evaluations: int = 4
    log_steps: int = 10
    report_to: str = "none"


def check_same_training(target: Path, identity: Mapping) -> None:
    """Remember what a run is made of; raises RunMismatchError where the folder holds another."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / TRAINING_FILE
    identity = json.loads(json.dumps(identity))
    if not path.is_file():
        write_json(path, identity)
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    if differing := sorted(key for key in stored.keys() | identity.keys() if stored.get(key) != identity.get(key)):
        raise RunMismatchError(
            f"{target} holds a training run made otherwise (differing: {', '.join(differing)}); choose another -o"
        )


def prepare(model, schedule: Schedule, embeddings) -> None:
    """Set what holds for training alone: threads, float32 weights, dropout, whether word embeddings learn."""
    import torch

    torch.set_num_threads(n_threads())
    model.float()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = schedule.dropout
    if schedule.freeze_embeddings:
        embeddings.weight.requires_grad_(False)


def fit(
    trainer_class,
    arguments_class,
    model,
    dataset,
    loss,
    evaluator,
    target: Path,
    schedule: Schedule,
    watch: Watch,
    *,
    label: str,
    separation: Callable[[], float | None] | None = None,
    **arguments,
) -> None:
    """Train `model` in place to its best checkpoint by the evaluator's primary metric.

    A run that was killed goes on from its last checkpoint. Weights' drift and the curves are written at the end.
    """
    from transformers.trainer_callback import PrinterCallback

    from rag.telemetry import Telemetry, layer_drift, plot_log

    device, steps = default_device(), schedule.steps(len(dataset))
    before = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    every = max(1, steps // watch.evaluations)
    settings = arguments_class(
        output_dir=str(target / "checkpoints"),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulation,
        learning_rate=schedule.learning_rate,
        warmup_steps=round(steps * schedule.warmup_share) if schedule.warmup_steps is None else schedule.warmup_steps,
        lr_scheduler_type="linear",
        bf16=fastest_precision(device) == "bf16",
        use_cpu=device == "cpu",
        seed=schedule.seed,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{evaluator.primary_metric}",
        greater_is_better=True,
        logging_steps=watch.log_steps,
        logging_nan_inf_filter=False,
        report_to=watch.report_to,
        disable_tqdm=True,
        **arguments,
    )
    trainer = trainer_class(
        model=model,
        args=settings,
        train_dataset=dataset,
        loss=loss,
        evaluator=evaluator,
        callbacks=[Telemetry(target, separation=separation, label=label)],
    )
    trainer.remove_callback(PrinterCallback)
    for callback in [c for c in trainer.callback_handler.callbacks if "ModelCard" in type(c).__name__]:
        trainer.remove_callback(callback)  # computes examples for a card that is not written
    resume = any((target / "checkpoints").glob("checkpoint-*/trainer_state.json"))
    if not resume:
        trainer.evaluate()
    trainer.train(resume_from_checkpoint=resume)
    drift = layer_drift(before, {name: tensor.cpu() for name, tensor in model.state_dict().items()})
    write_json(target / "drift.json", drift)
    plot_log(target, drift)


def save_whole(model, folder: Path) -> None:
    """Save a checkpoint folder that is either there or not."""
    saving = folder.with_name(f".{folder.name}")
    model.save_pretrained(str(saving), create_model_card=False)
    saving.rename(folder)
