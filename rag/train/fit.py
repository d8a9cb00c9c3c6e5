"""What every fine-tuning run shares: arguments, checkpoints, resuming, the best by dev, telemetry.

RUN/training.json   what the run is made of; another run is refused
RUN/checkpoints/    the last two, and the best
RUN/cost.json       seconds, peak memory, questions
RUN/log.jsonl       steps and evaluations (rag/telemetry.py), RUN/curves.png and drift.json at the end
RUN/model/          the finished checkpoint
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import importlib.util
import json
import math
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import ConfigError, ModelError
from rag.files import check_made, read_jsonl, remember, write_json
from rag.inference import default_device, fastest_precision, is_out_of_memory, n_threads
from rag.progress import say

TRAINING_FILE, WATCHED = "training.json", "watched"
COST_FILE = "cost.json"
ROWS_TOGETHER = 8
NOT_COPIED = (
    *("onnx", "openvino", "*.onnx", "tf_*", "flax_*", "*.h5", "*.msgpack"),
    *(".git", "checkpoint-*", "optimizer.pt", "scheduler.pt", "rng_state*", "training_args.bin"),
)
RU_MAXRSS_PER_GIB = 2**30 if sys.platform == "darwin" else 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast and how far: what the recipes of both models have in common. Dropout above 0 is slow on a CPU.

    Of the model that is kept, `tuned_share` of each weight is tuned and the rest the base's (`mix_with_base`).
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
        an_epoch = math.ceil(n_rows / (self.batch_size * self.accumulation * n_processes()))
        return math.ceil(an_epoch * self.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a run is watched: how often dev is looked at, and where the figures go besides the log."""

    evaluations: int = 4
    log_steps: int = 10
    report_to: str = "none"


def is_first_process() -> bool:
    """Whether this process writes the run's files: the only one, or the first that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


def n_processes() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_same_training(target: Path, identity: Mapping) -> None:
    """Raises RunMismatchError where the folder holds a run that is made of something else."""
    check_made(target / TRAINING_FILE, identity, target)


def note_training(target: Path, identity: Mapping) -> None:
    """Remember what a run is made of, once nothing more can be refused; raises as `check_same_training`."""
    if is_first_process():
        target.mkdir(parents=True, exist_ok=True)
        remember(target / TRAINING_FILE, identity, target)


def digest(rows: Iterable[object]) -> str:
    """A short hash of what is trained on, row by row; rows are anything that JSON takes."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()[:16]


def prepare(model, transformer, schedule: Schedule) -> None:
    """Set what holds for training alone: threads, float32 weights, dropout, whether word embeddings learn.

    `transformer` is the transformers model within `model`. On a CPU its attention is plain matrix products (the fused
    kernel's backward pass is slow there), and rows of like length run together.
    """
    import torch

    torch.set_num_threads(n_threads())
    model.float()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = schedule.dropout
    if schedule.freeze_embeddings:
        transformer.get_input_embeddings().weight.requires_grad_(False)
    if default_device() == "cpu":
        transformer.set_attn_implementation("eager")
        run_by_length(transformer)


def run_by_length(transformer, rows: int = ROWS_TOGETHER) -> None:
    """Let the forward pass of a transformers model run over `rows` rows of like length at a time.

    Each part is as wide as its longest row, so that little is computed on padding; outputs come in the order and width
    of the inputs, with zeros on the padding. Batches that are padded on the left run as they are.
    """
    import torch

    forward = transformer.forward

    @functools.wraps(forward)
    def by_length(input_ids=None, attention_mask=None, **others):
        if input_ids is None or attention_mask is None or len(input_ids) <= rows or not attention_mask[:, 0].all():
            return forward(input_ids=input_ids, attention_mask=attention_mask, **others)
        width, lengths = input_ids.shape[1], attention_mask.sum(dim=1)
        order = lengths.argsort()
        back = order.argsort()
        outputs = []
        for part in order.split(rows):
            longest = int(lengths[part].max())
            cut = {
                name: value[part, :longest] if torch.is_tensor(value) and value.shape == input_ids.shape else value
                for name, value in {"input_ids": input_ids, "attention_mask": attention_mask, **others}.items()
            }
            outputs.append(forward(**cut))
        return type(outputs[0])(
            **{
                name: torch.cat([_widened(output[name], width) for output in outputs])[back]
                for name, value in outputs[0].items()
                if torch.is_tensor(value)
            }
        )

    transformer.forward = by_length


def _widened(values, width: int):
    """Per-token outputs (n, t, d) with zeros up to `width` tokens; per-row outputs (n, d) as they are."""
    import torch

    return torch.nn.functional.pad(values, (0, 0, 0, width - values.shape[1])) if values.ndim == 3 else values


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

    from rag.telemetry import LOG_FILE, Telemetry, layer_drift, plot_log

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


def mix_with_base(model, base: Mapping, tuned_share: float) -> None:
    """Move the weights of `model` back towards the tensors of `base`, in place, until `tuned_share` of the way is left.

    What tuning on few questions, or on questions of one kind, costs elsewhere goes faster than what it wins (WiSE-FT,
    Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
    """
    import torch

    if tuned_share == 1:
        return
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # tied ones once
            parameter.lerp_(base[name].to(parameter), 1 - tuned_share)


@contextlib.contextmanager
def as_kept(model, base: Mapping, tuned_share: float) -> Iterator[None]:
    """Within it `model` is what would be kept of it now (`mix_with_base`), behind it what it was, to the bit."""
    import torch

    if tuned_share == 1:
        yield
        return
    tuned = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    mix_with_base(model, base, tuned_share)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tuned[name])


def last_checkpoint(target: Path) -> Path | None:
    """The newest whole checkpoint of a run: one that a kill cut short lacks its last file, or a part of it."""
    states = (target / "checkpoints").glob("checkpoint-*/trainer_state.json")
    whole = [path.parent for path in states if _is_json(path)]
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


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


def check_averageable(models: Sequence[Path]) -> None:
    """Raises ModelError where the weights of checkpoint folders are not of the same names and shapes."""
    from safetensors import safe_open

    def shapes(path: Path) -> dict[str, list[int]]:
        with safe_open(path, framework="pt") as weights:
            return {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118

    parts = sorted(models[0].rglob("*.safetensors"))
    if not parts:
        raise ModelError(f"{models[0]} keeps its weights in another format than safetensors, which cannot be averaged")
    for path in parts:
        name = path.relative_to(models[0])
        if missing := [model for model in models if not (model / name).is_file()]:
            raise ModelError(f"{missing[0]} has no {name}, which {models[0]} has; average models of one kind")
        if differing := [model for model in models if shapes(model / name) != shapes(path)]:
            raise ModelError(f"the weights of {differing[0]} are not those of {models[0]} in names or shapes")


def copy_model(model: Path, target: Path) -> Path:
    """Copy the files of a checkpoint, without what other runtimes and its training left there; returns `target`."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(model.rglob("*")):
        own = path.relative_to(model)
        if path.is_file() and not any(fnmatch.fnmatch(part, pattern) for part in own.parts for pattern in NOT_COPIED):
            (target / own).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / own)  # content alone: a cache's folders and files may be read-only
    return target


def average_weights(models: Sequence[Path], target: Path) -> Path:
    """Write the mean of the weights of `models` as `target/model`, everything else as the first has it; returns it.

    A model soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482): what training runs from one start have
    learnt, in one model that costs no more than each. They have to be averageable (`check_averageable`).
    """
    from safetensors.torch import load_file, save_file

    folder, saving = target / "model", target / ".model"
    if folder.is_dir():
        return folder
    copy_model(models[0], saving)
    for path in sorted(saving.rglob("*.safetensors")):
        parts = [load_file(model / path.relative_to(saving)) for model in models]
        mean = {
            key: (sum(part[key].float() for part in parts) / len(parts)).to(value.dtype)
            if value.is_floating_point()
            else value
            for key, value in parts[0].items()
        }
        save_file(mean, path, metadata={"format": "pt"})
    saving.rename(folder)
    return folder


def save_whole(model, folder: Path) -> None:
    """Save a checkpoint folder that is either there or not."""
    if not is_first_process():
        return
    saving = folder.with_name(f".{folder.name}")
    model.save_pretrained(str(saving), create_model_card=False)
    saving.rename(folder)
