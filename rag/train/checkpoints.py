"""Checkpoints: found, copied, averaged, mixed with their base, saved whole."""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rag.errors import ModelError
from rag.files import json_if_sound
from rag.train.run import is_first_process

NOT_COPIED = (
    *("onnx", "openvino", "*.onnx", "tf_*", "flax_*", "*.h5", "*.msgpack"),
    *(".git", "checkpoint-*", "optimizer.pt", "scheduler.pt", "rng_state*", "training_args.bin"),
)


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
    whole = [path.parent for path in states if json_if_sound(path) is not None]
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


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
