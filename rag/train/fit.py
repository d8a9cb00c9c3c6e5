"""What every fine-tuning run shares: arguments, checkpoints, resuming, the best by dev, telemetry.

RUN/training.json   what the run is made of; another run is refused
RUN/checkpoints/    the last two, and the best
RUN/cost.json       seconds, peak memory, questions
RUN/log.jsonl       steps and evaluations (rag/train/telemetry.py); RUN/curves.png and drift.json at the end
RUN/model/          the finished checkpoint
"""

from __future__ import annotations

import functools
import importlib.util
import math
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device, fastest_precision, is_out_of_memory
from rag.errors import ConfigError, ModelError
from rag.files import write_json
from rag.progress import say
from rag.resume import read_jsonl
from rag.train.checkpoints import as_kept, last_checkpoint, mix_with_base
from rag.train.drift import Sums, by_layer, layer_sums, logged_drift
from rag.train.run import COST_FILE, Schedule, Watch, is_first_process, n_processes

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers.base.evaluation import BaseEvaluator
    from torch import Tensor
    from torch.nn import Module

BESIDE_FILE = "beside.pt"
RU_MAXRSS_PER_GIB = 2**30 if sys.platform == "darwin" else 2**20


def fit(
    trainer_class: Any,
    arguments_class: Any,
    model: Module,
    dataset: Dataset,
    loss: Any,
    evaluator: BaseEvaluator,
    target: Path,
    schedule: Schedule,
    watch: Watch,
    *,
    label: str,
    section: str = "training",
    separation: Callable[[], float | None] | None = None,
    drift: Callable[[], Sums] | None = None,
    collate: Callable[[Sequence[Any]], Mapping[str, Tensor]] | None = None,
    eval_dataset: Dataset | None = None,
    metric: str | None = None,
    beside: Module | None = None,
    **arguments: Any,
) -> None:
    """Train `model` in place, up to its best checkpoint by `metric`, by default the evaluator's primary metric.

    `trainer_class` is one of sentence-transformers' trainers, which take their kinds of loss, or `PlainTrainer`.
    `separation` is logged with each step (see `Telemetry`), `drift` at each look at dev, by default how far the weights
    have moved from where they began (`rag.train.drift`). `collate` makes batches of rows where the trainer's own way
    does not fit, `section` names the settings in messages, and further `arguments` go to `arguments_class`. The first
    column of `dataset` holds the questions. `beside` is a module of the loss that is trained with the model and not
    kept; a run that goes on has its weights from the checkpoint.

    What is kept is the mean of the tuned weights and the base's, as `schedule.tuned_share` says, and every look at dev
    is a look at that mean. A run that was killed goes on from its last checkpoint. Raises ConfigError where the package
    to report to is missing, ModelError where memory does not suffice or the training diverged.
    """
    from rag.train.telemetry import Telemetry

    if watch.report_to != "none" and importlib.util.find_spec(watch.report_to) is None:
        raise ConfigError(f"{section}.report_to = {watch.report_to} needs that package: pip install {watch.report_to}")
    device = default_device()
    # What does not learn stays as it is: a copy of a large model would take its memory once more.
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    before = {
        name: tensor.detach().cpu() if name in frozen else tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
    }
    moved = drift or functools.partial(_moved, model, before)
    chosen_by = metric or str(evaluator.primary_metric)
    n_steps = schedule.steps(len(dataset))
    trainer = _trainer_of(trainer_class, model, before, schedule.tuned_share, beside)(
        model=model,
        args=arguments_class(
            **_arguments(target, schedule, watch, n_steps, device, chosen_by),
            warmup_steps=_warmup_steps(schedule, n_steps, section),
            **arguments,
        ),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        loss=loss,
        evaluator=evaluator,
        **({} if collate is None else {"data_collator": collate}),
        callbacks=[
            Telemetry(
                target,
                writes=is_first_process(),
                separation=separation,
                drift=lambda: logged_drift(moved()),
                label=label,
            )
        ],
    )
    _train(trainer, target, device, section)
    _check_sound(model, target, section)
    # Only now: the trainer's checkpoints hold the tuned weights alone, and resuming goes on from those.
    mix_with_base(model, before, schedule.tuned_share)
    if is_first_process():
        _write_results(model, before, target, dataset, schedule, device)


def _moved(model: Module, before: Mapping[str, Tensor]) -> Sums:
    """How far each layer has moved since `before`."""
    return layer_sums(before, {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})


def _warmup_steps(schedule: Schedule, n_steps: int, section: str) -> int:
    """The steps in which the learning rate rises; warns where it never falls again."""
    warmup = schedule.warmup_steps
    if warmup is None:
        warmup = round(n_steps * schedule.warmup_share)
    if warmup >= n_steps:
        say(
            f"warning: the learning rate only rises: {section}.warmup_steps is {warmup:,}, "
            f"the whole run {n_steps:,} steps"
        )
    return warmup


def _arguments(target: Path, schedule: Schedule, watch: Watch, n_steps: int, device: str, metric: str) -> dict:
    """The trainer's arguments: the schedule, and `watch.evaluations` looks at dev with a checkpoint each."""
    every = math.ceil(n_steps / watch.evaluations)
    return {
        "output_dir": str(target / "checkpoints"),
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.batch_size,
        "gradient_accumulation_steps": schedule.accumulation,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "linear",
        "adam_beta2": schedule.adam_beta2,
        "seed": schedule.seed,
        "bf16": fastest_precision(device) == "bf16",
        "use_cpu": device == "cpu",
        "ddp_backend": "gloo" if device == "cpu" and n_processes() > 1 else None,
        # The best checkpoint can be loaded at the end only if each look at dev has one.
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{metric}",
        "greater_is_better": not metric.endswith("loss"),
        "logging_steps": watch.log_every(n_steps),
        # The filter would log a loss that is not a number as 0, and telemetry could not see the divergence.
        "logging_nan_inf_filter": False,
        "report_to": watch.report_to,
        "disable_tqdm": True,
    }


def _trainer_of(
    trainer_class: Any, model: Module, before: Mapping[str, Tensor], tuned_share: float, beside: Module | None
) -> Any:
    """The trainer's class, whose looks at dev are looks at the weights that would be kept, and which keeps `beside`."""
    import torch

    class Trainer(trainer_class):
        def add_model_card_callback(self, default_args_dict):
            """It would compute examples for a card that is not written."""

        def evaluate(self, *given, **named):
            with as_kept(model, before, tuned_share):
                return super().evaluate(*given, **named)

        # Before the state of the run, which is written last and says that a checkpoint is whole.
        def _save_optimizer_and_scheduler(self, output_dir):
            super()._save_optimizer_and_scheduler(output_dir)
            if beside is not None:
                torch.save(beside.state_dict(), Path(output_dir) / BESIDE_FILE)

        def _load_optimizer_and_scheduler(self, checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            if beside is not None and checkpoint is not None:
                beside.load_state_dict(torch.load(Path(checkpoint) / BESIDE_FILE, weights_only=True))

    return Trainer


def _train(trainer: Any, target: Path, device: str, section: str) -> None:
    """Train to the end, from the last whole checkpoint where there is one; the model is then the best by dev."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(target)
    if checkpoint is None:
        # The base's own figures, as step 0. A run that goes on has them in its log already.
        trainer.evaluate()
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory on {device}; choose another -o and a smaller {section}.batch_size (and accumulation) or "
            f"{section}.max_length_tokens; contrastive recipes have {section}.mini_batch_size"
        ) from error


def _check_sound(model: Module, target: Path, section: str) -> None:
    """Raises ModelError where a weight is not a number.

    Telemetry stops a run that diverges, and its best checkpoint is loaded. Before the first look at dev there is none.
    """
    import torch

    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise ModelError(
            f"the training in {target} diverged before its first look at dev, and no good checkpoint is left; choose "
            f"a lower learning rate (--set {section}.learning_rate=…) and another -o"
        )


def _write_results(
    model: Module, before: Mapping[str, Tensor], target: Path, dataset: Dataset, schedule: Schedule, device: str
) -> None:
    """What the run cost, how far each layer has moved, and the curves."""
    from rag.train.telemetry import LOG_FILE, plot_log

    write_json(target / COST_FILE, _cost(read_jsonl(target / LOG_FILE), dataset, schedule, device))
    drift = by_layer(_moved(model, before))
    write_json(target / "drift.json", drift)
    plot_log(target, drift)


def _cost(log: Sequence[Mapping], dataset: Dataset, schedule: Schedule, device: str) -> dict:
    """Seconds of training without the looks at dev, and the most memory held: by this process, and on its GPU."""
    # By step, because a run that was killed may have looked twice at the same step.
    looks = {row["step"]: row["eval_runtime"] for row in log if "eval_runtime" in row}
    seconds = max((row["seconds"] for row in log), default=0.0) - sum(looks.values())
    cost = {
        "seconds": round(seconds, 1),
        "n_questions": len(set(dataset[dataset.column_names[0]])),
        "n_rows": len(dataset),
        "epochs": schedule.epochs,
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RU_MAXRSS_PER_GIB, 2),
    }
    if device == "cuda":
        import torch

        cost["peak_gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return cost
