"""What every fine-tuning run shares: arguments, checkpoints, resuming, the best by dev, telemetry.

RUN/training.json   what the run is made of; another run is refused
RUN/checkpoints/    the last two, and the best
RUN/cost.json       seconds, peak memory, questions
RUN/log.jsonl       steps and evaluations (rag/telemetry.py), RUN/curves.png and drift.json at the end
RUN/model/          the finished checkpoint
"""

from __future__ import annotations

import importlib.util
import math
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rag.compute.hardware import default_device, fastest_precision, is_out_of_memory
from rag.errors import ConfigError, ModelError
from rag.files import write_json
from rag.progress import say
from rag.resume import read_jsonl
from rag.train.checkpoints import as_kept, last_checkpoint, mix_with_base
from rag.train.run import COST_FILE, Schedule, Watch, is_first_process, n_processes

RU_MAXRSS_PER_GIB = 2**30 if sys.platform == "darwin" else 2**20


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
    eval_dataset=None,
    metric: str | None = None,
    **arguments,
) -> None:
    """Train `model` in place to its best checkpoint by the evaluator's primary metric, or by `metric`, and mix it with
    its base as the schedule says; it is looked at so mixed.

    A run that was killed goes on from its last checkpoint. Weights' drift and the curves are written at the end.
    """
    import torch
    from transformers.trainer_callback import PrinterCallback

    from rag.train.telemetry import LOG_FILE, Telemetry, layer_drift, plot_log

    if watch.report_to != "none" and importlib.util.find_spec(watch.report_to) is None:
        raise ConfigError(f"training.report_to = {watch.report_to} needs that package: pip install {watch.report_to}")
    device, steps = default_device(), schedule.steps(len(dataset))
    warmup = round(steps * schedule.warmup_share) if schedule.warmup_steps is None else schedule.warmup_steps
    if warmup >= steps:
        say(
            f"warning: the learning rate only rises: training.warmup_steps is {warmup:,}, the whole run {steps:,} steps"
        )
    before = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    every = math.ceil(steps / watch.evaluations)
    settings = arguments_class(
        output_dir=str(target / "checkpoints"),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulation,
        learning_rate=schedule.learning_rate,
        warmup_steps=warmup,
        lr_scheduler_type="linear",
        bf16=fastest_precision(device) == "bf16",
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and n_processes() > 1 else None,
        seed=schedule.seed,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{metric or evaluator.primary_metric}",
        greater_is_better=metric != "loss",
        adam_beta2=schedule.adam_beta2,
        logging_steps=watch.log_steps,
        logging_nan_inf_filter=False,
        report_to=watch.report_to,
        disable_tqdm=True,
        **arguments,
    )

    class Trainer(trainer_class):
        def add_model_card_callback(self, default_args_dict):
            """It would compute examples for a card that is not written."""

        def evaluate(self, *given, **named):
            with as_kept(model, before, schedule.tuned_share):
                return super().evaluate(*given, **named)

    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        loss=loss,
        evaluator=evaluator,
        callbacks=[Telemetry(target, writes=is_first_process(), separation=separation, label=label)],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(target)
    if checkpoint is None:
        trainer.evaluate()
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory on {device}; choose another -o and a smaller training.batch_size (and accumulation) "
            "or training.max_length_tokens; contrastive recipes have training.mini_batch_size"
        ) from error
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise ModelError(
            f"the training in {target} diverged before its first look at dev, and no good checkpoint is left; choose "
            "a lower learning rate (--set training.learning_rate=…) and another -o"
        )
    mix_with_base(model, before, schedule.tuned_share)
    if not is_first_process():
        return
    write_json(target / COST_FILE, _cost(read_jsonl(target / LOG_FILE), dataset, schedule, device))
    drift = layer_drift(before, {name: tensor.cpu() for name, tensor in model.state_dict().items()})
    write_json(target / "drift.json", drift)
    plot_log(target, drift)


def _cost(log: Sequence[Mapping], dataset, schedule: Schedule, device: str) -> dict:
    """Seconds of training without the looks at dev, and the most memory held: by this process, and on its GPU."""
    looks = {row["step"]: row["eval_runtime"] for row in log if "eval_runtime" in row}  # again after a kill: once
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
