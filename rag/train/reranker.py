"""Fine-tuning the cross-encoder with sentence-transformers' trainer. The recipes stand in `reranker_recipes`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.data.passages import Corpus
from rag.files import weights_sha256
from rag.rerank.own_predict import check_room
from rag.train.by_length import prepare_model
from rag.train.checkpoints import save_whole
from rag.train.dev_evaluation import DevCandidates, dev_evaluator, reranker_figures
from rag.train.fit import fit
from rag.train.model_parts import freeze_layers, learning_rates, parts_of
from rag.train.reranker_groups import Group, training_dataset
from rag.train.reranker_recipes import RerankerRecipe
from rag.train.reranker_start import load_start
from rag.train.run import Watch, check_same_training, digest, note_training

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from torch.nn import Module

ALL_PAIRS = -1
"""A batch's pairs in one forward pass, so that pairs of like length can run together; parts would save no memory."""


def train_reranker(
    base: str | Path,
    groups: Sequence[Group],
    corpus: Corpus,
    recipe: RerankerRecipe,
    target: str | Path,
    *,
    dev: DevCandidates,
    dev_groups: Sequence[Group] = (),
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best on dev; returns that folder.

    `base` is a reranker, or a body that gets a head (`reranker_start`). Recipes that select by loss measure it on
    `dev_groups`.

    A run that was killed goes on from its last checkpoint, and a finished one is left as it is. A target that was made
    with another recipe, base or data is refused (RunMismatchError).
    """
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments

    target = Path(target)
    identity = _identity(base, groups, corpus, recipe, dev, dev_groups)
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    model = load_start(base, recipe)
    longest = model.max_seq_length
    model.max_seq_length = min(recipe.max_length_tokens, longest or recipe.max_length_tokens)
    check_room(model, model.max_seq_length, Path(base))
    prepare_model(model, model.model, recipe)
    model.set_keep_in_fp32_modules(_scoring_layers(model))
    parts = parts_of(model, model.model)
    freeze_layers(model, parts, recipe.freeze_layers or 0)
    loss = _loss(model, recipe)
    rates = learning_rates(parts, recipe)
    chosen_by: dict[str, Any] = {}
    if recipe.select == "loss":
        chosen_by = {"eval_dataset": training_dataset(dev_groups, corpus, recipe), "metric": "loss"}
    # Nothing is refused from here on, so that a command that was refused leaves the folder to the right one.
    note_training(target, identity)
    fit(
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        model,
        training_dataset(groups, corpus, recipe),
        loss,
        dev_evaluator(functools.partial(reranker_figures, dev=dev)),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        section="training.reranker",
        separation=TrainingSeparation(model, loss),
        learning_rate_mapping=rates,
        **chosen_by,
    )
    # The recipe's length, and the precision of the last layer, hold for training alone.
    model.max_seq_length = longest
    model.set_keep_in_fp32_modules([])
    save_whole(model, finished)
    return finished


def _identity(
    base: str | Path,
    groups: Sequence[Group],
    corpus: Corpus,
    recipe: RerankerRecipe,
    dev: DevCandidates,
    dev_groups: Sequence[Group],
) -> dict:
    """What the run is made of. Texts count by themselves, so that an edited passage makes another run."""

    def made_of(group: Group) -> list:
        return [group.query, [corpus.by_id(pid).content for pid in group.ids], group.labels]

    return {
        "recipe": asdict(recipe),
        "base": weights_sha256(Path(base)),
        "n": len(groups),
        "data": digest(made_of(group) for group in groups),
        "dev": digest(
            [dev.queries, dev.candidates, dev.relevant, dev.n_gold, dev.unanswerable]
            + [made_of(group) for group in dev_groups]
        ),
        "watched": sorted(set(dev.ids)),
    }


def _scoring_layers(model: CrossEncoder) -> list[str]:
    """The linear layers that a chain of modules ends in: in bf16 a language model's logits have steps of 1/8."""
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.cross_encoder.modules import LogitScore
    from torch.nn import Linear

    last = model[-1]
    name = "0.model.lm_head" if isinstance(last, LogitScore) else ""
    if isinstance(last, Dense):
        name = f"{len(model) - 1}.linear"
    return [name] if type(dict(model.named_modules()).get(name)) is Linear else []


def _loss(model: CrossEncoder, recipe: RerankerRecipe) -> Module:
    import torch
    from sentence_transformers.cross_encoder import losses

    from rag.train.reranker_losses import HybridLoss, NoneOfTheseLoss

    match recipe.loss:
        case "bce":
            return losses.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(recipe.positive_weight))
        case "lambda":
            return losses.LambdaLoss(model, mini_batch_size=ALL_PAIRS)
        case "listnet":
            return losses.ListNetLoss(model, mini_batch_size=ALL_PAIRS)
        case "ranknet":
            return losses.RankNetLoss(model, mini_batch_size=ALL_PAIRS)
        case "hybrid":
            return HybridLoss(model)
        case "none_of_these":
            return NoneOfTheseLoss(model)


class TrainingSeparation:
    """Called: the mean of (gold's logit - the best of its group's others) over training steps since the last call.

    For single pairs: (the mean of gold's - the mean of the others') of a batch. It listens to the forward passes of
    `model` within `loss`, whichever loss that is. None where there was nothing to tell apart.
    """

    def __init__(self, model: Module, loss: Module):
        self._logits: list[np.ndarray] = []  # of the forward passes since the loss was last computed
        self._found: list[float] = []  # since the last call
        model.register_forward_hook(self._keep)
        loss.register_forward_hook(self._measure)

    def __call__(self) -> float | None:
        found = self._found
        self._found = []
        return float(np.mean(found)) if found else None

    def _keep(self, model, inputs, outputs) -> None:
        if model.training:
            self._logits.append(outputs["scores"].detach().float().view(-1).cpu().numpy())

    def _measure(self, loss, inputs, output) -> None:
        if not self._logits:
            return
        logits, labels = np.concatenate(self._logits), inputs[1]
        self._logits = []
        if isinstance(labels, list):
            self._found += _separations_of_groups(logits, labels)
            return
        is_gold = (labels.view(-1) > 0.5).cpu().numpy()
        if is_gold.any() and not is_gold.all():
            self._found.append(float(logits[is_gold].mean() - logits[~is_gold].mean()))


def _separations_of_groups(logits: np.ndarray, labels: Sequence) -> list[float]:
    """Of groups whose first passage has the highest label; `logits` (n,) are the groups' one after the other."""
    ends = np.cumsum([len(own) for own in labels])
    return [
        float(own[0] - own[1:].max())
        for own, given in zip(np.split(logits, ends[:-1]), labels, strict=True)
        if len(given) > 1 and (given[0] > given[1:]).all()
    ]
