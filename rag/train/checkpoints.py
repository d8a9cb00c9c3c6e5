"""Checkpoints: found, copied, averaged, mixed with their base, saved whole."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rag.errors import ModelError
from rag.files import json_if_sound, write_json
from rag.progress import say
from rag.train.run import is_first_process

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NOT_COPIED = (
    # what other runtimes load
    *("onnx", "openvino", "*.onnx", "tf_*", "flax_*", "*.h5", "*.msgpack"),
    # what its training left
    *(".git", "checkpoint-*", "optimizer.pt", "beside.pt", "scheduler.pt", "rng_state*", "training_args.bin"),
)


def mix_with_base(model: Module, base: Mapping[str, Tensor], tuned_share: float) -> None:
    """Move the weights of `model` back towards those of `base`, in place, until `tuned_share` of the way is left.

    Tuning on few questions, or on one kind of question, costs something on other kinds. On the way back that cost
    vanishes faster than the gain (WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
    """
    import torch

    if tuned_share == 1:
        return
    with torch.no_grad():
        # `named_parameters` names tied weights once; moved twice they would end up too near the base.
        for name, parameter in model.named_parameters():
            parameter.lerp_(base[name].to(parameter), 1 - tuned_share)


@contextlib.contextmanager
def as_kept(model: Module, base: Mapping[str, Tensor], tuned_share: float) -> Iterator[None]:
    """Inside, `model` is what would be kept of it now (`mix_with_base`); afterwards what it was before, to the bit."""
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
    """The newest whole checkpoint of a run; None where there is none.

    trainer_state.json is written last: a checkpoint that a kill cut short lacks that file, or a part of it. One of
    which a file is damaged is said to be left out.
    """
    states = (target / "checkpoints").glob("checkpoint-*/trainer_state.json")
    begun = [path.parent for path in states if json_if_sound(path) is not None and _step_of(path.parent) >= 0]
    for folder in sorted(begun, key=_step_of, reverse=True):
        damaged = next((path for path in sorted(folder.iterdir()) if _is_damaged(path)), None)
        if damaged is None:
            return folder
        say(f"{damaged} is damaged, and its checkpoint is left out")
    return None


def _step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was written; -1 where its name holds none."""
    step = checkpoint.name.rpartition("-")[2]
    return int(step) if step.isascii() and step.isdigit() else -1


def _is_damaged(path: Path) -> bool:
    """Whether a file of weights, or of what the optimizer knows, cannot be read to its end."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return False
        if path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is not None
    except (SafetensorError, OSError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError):
        return True
    return False


def check_averageable(models: Sequence[Path]) -> None:
    """Raises ModelError where the weights of checkpoint folders differ in names or shapes."""
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
    """Copy the files of a checkpoint but those of NOT_COPIED; returns `target`, which is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(model.rglob("*")):
        own = path.relative_to(model)
        if path.is_file() and not any(fnmatch.fnmatch(part, pattern) for part in own.parts for pattern in NOT_COPIED):
            (target / own).parent.mkdir(parents=True, exist_ok=True)
            # The content alone, without permissions: the files of a cache may be read-only.
            shutil.copyfile(path, target / own)
    return target


def average_weights(models: Sequence[Path], target: Path) -> Path:
    """Write a model with the mean of the weights of `models` as `target/model`; returns that folder.

    Everything else is the first model's. This is a model soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482):
    what several runs from one start have learnt, in one model that costs no more than each. The models have to be
    averageable (`check_averageable`).
    """
    import torch
    from safetensors.torch import load_file, save_file

    folder = target / "model"
    if folder.is_dir():
        return folder
    # Made beside its place and renamed at the end, so that a kill leaves no half model under its name.
    saving = copy_model(models[0], target / ".model")
    for path in sorted(saving.rglob("*.safetensors")):
        parts = [load_file(model / path.relative_to(saving)) for model in models]
        means = dict(parts[0])
        for key, value in parts[0].items():
            if value.is_floating_point():
                total = functools.reduce(torch.add, (part[key].float() for part in parts))
                means[key] = (total / len(parts)).to(value.dtype)
        save_file(means, path, metadata={"format": "pt"})
    saving.rename(folder)
    return folder


def save_whole(
    model: SentenceTransformer | CrossEncoder, folder: Path, beside: Mapping[str, Mapping] = MappingProxyType({})
) -> None:
    """Save a checkpoint folder that is either there, whole, or not there. Only the first process saves.

    `beside` are further files of JSON, by name.
    """
    if not is_first_process():
        return
    saving = folder.with_name(f".{folder.name}")
    model.save_pretrained(str(saving), create_model_card=False)
    for name, content in beside.items():
        write_json(saving / name, content)
    saving.rename(folder)


def save_plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """As `save_whole`, of a transformers model and its tokenizer."""
    if not is_first_process():
        return
    saving = folder.with_name(f".{folder.name}")
    shutil.rmtree(saving, ignore_errors=True)
    model.save_pretrained(str(saving))
    tokenizer.save_pretrained(str(saving))
    saving.rename(folder)
