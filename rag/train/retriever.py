"""Fine-tuning the bi-encoder with sentence-transformers' trainer. The recipes stand in `retriever_recipes`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.compute.hardware import default_device
from rag.compute.quiet import quiet_transformers
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.errors import ConfigError
from rag.files import weights_sha256
from rag.models.query_encoder import NOTE, note_of
from rag.train.by_length import prepare_model
from rag.train.checkpoints import save_whole
from rag.train.dev_evaluation import DevPool, dev_evaluator, retriever_figures
from rag.train.fit import fit
from rag.train.frozen_passages import FrozenPassages
from rag.train.lasttoken import is_causal_lm, lasttoken_encoder
from rag.train.negatives import Mined, logit
from rag.train.retriever_recipes import RetrieverRecipe
from rag.train.retriever_rows import (
    UNASKED,
    TrainingRow,
    passage_columns,
    training_dataset,
    training_rows,
    unasked_passages,
)
from rag.train.run import Watch, check_same_training, digest, n_processes, note_training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

    from rag.train.retriever_losses import Guide

LASTTOKEN_MAX_LENGTH = 512

MakesGuide = Callable[[Sequence[str], np.ndarray], "Guide"]
"""The guide for these training queries and rows of the corpus, each once, (m,) int."""


def train_retriever(
    base: str | Path,
    prompts: Mapping[str, str],
    examples: Sequence[Example],
    corpus: Corpus,
    recipe: RetrieverRecipe,
    target: str | Path,
    *,
    dev: DevPool,
    mined: Mapping[str, Mined] | None = None,
    guide: MakesGuide | None = None,
    guide_sha256: str = "",
    frozen: FrozenPassages | None = None,
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best by MRR@10 on dev; returns that folder.

    `base` is a sentence-transformers folder, or for last-token pooling a causal language model. Recipes that filter
    false negatives call `guide` with the training queries and the rows of the passages; its encoder's weights are
    `guide_sha256`. A recipe that trains the question tower alone takes `frozen`, the candidates of every question, and
    the folder says beside which encoder the model embeds questions. A run that was killed goes on from its last
    checkpoint, and a finished one is left as it is. A target that was made with another recipe, base or data is refused
    (RunMismatchError), and so is a recipe that lacks what it needs (ConfigError).
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    from rag.train.sampler import WholeEpochSampler

    if recipe.query_only and frozen is None:
        raise ConfigError(f"the recipe {recipe.name!r} needs the vectors of an index, and there are none")
    target = Path(target)
    rows = training_rows(examples, corpus, recipe, mined)
    unasked = unasked_passages(examples, rows, corpus, recipe)
    identity = _identity(base, prompts, rows, corpus, recipe, dev, guide_sha256, frozen)
    if unasked:
        identity["unasked"] = digest(unasked)
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    model, longest = _prepared(base, recipe, prompts)
    loss = _loss(model, rows, recipe, guide) if frozen is None else _query_loss(model, rows, recipe, guide, frozen)
    if recipe.tension_share is not None:
        loss = _with_tension(loss, model, base, recipe, prompts)
    # Nothing is refused from here on, so that a command that was refused leaves the folder to the right one.
    note_training(target, identity)
    fit(
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        model,
        training_dataset(rows, corpus, recipe, unasked),
        loss,
        dev_evaluator(functools.partial(retriever_figures, dev=dev, prompts=prompts)),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        section="training.retriever",
        separation=getattr(loss, "separation", None),
        beside=getattr(loss, "twin", None),
        batch_sampler=WholeEpochSampler,
        prompts={"anchor": prompts["query"], **dict.fromkeys([*passage_columns(recipe), UNASKED], prompts["passage"])},
    )
    # The recipe's length holds for training alone; the prompts are saved so that serving uses the same.
    model.max_seq_length = longest
    model.prompts = {"query": prompts["query"], "passage": prompts["passage"], "document": prompts["passage"]}
    save_whole(model, finished, {} if frozen is None else {NOTE: note_of(frozen.encoder)})
    return finished


def _identity(
    base: str | Path,
    prompts: Mapping[str, str],
    rows: Sequence[TrainingRow],
    corpus: Corpus,
    recipe: RetrieverRecipe,
    dev: DevPool,
    guide_sha256: str,
    frozen: FrozenPassages | None,
) -> dict:
    """What the run is made of. Texts count by themselves, so that an edited passage makes another run."""
    chosen = dataclasses.asdict(recipe)
    if not recipe.query_only:  # runs begun before it go on
        del chosen["query_only"]
    identity = {
        "recipe": chosen,
        "base": weights_sha256(Path(base)),
        "n": len(rows),
        "data": digest([row.query, [corpus[n].content for n in row.columns], row.scores] for row in rows),
        "dev": digest([list(dev.queries), [sorted(gold) for gold in dev.gold], list(dev.passages)]),
        "prompts": dict(prompts),
        "watched": sorted(set(dev.ids)),
    }
    if recipe.filter_by_guide:
        identity["guide"] = guide_sha256
    if frozen is not None:
        identity["frozen"] = frozen.identity()
    return identity


def _prepared(
    base: str | Path, recipe: RetrieverRecipe, prompts: Mapping[str, str]
) -> tuple[SentenceTransformer, int | None]:
    """(the encoder to train, with the recipe's longest text; the longest text that it takes by itself)."""
    model = _load(base, recipe, prompts)
    longest = model.max_seq_length
    model.max_seq_length = min(recipe.max_length_tokens, longest or recipe.max_length_tokens)
    prepare_model(model, model[0].model, recipe)
    return model, longest


def _with_tension(
    loss: Module, model: SentenceTransformer, base: str | Path, recipe: RetrieverRecipe, prompts: Mapping[str, str]
) -> Module:
    """The loss with contrastive tension beside it.

    The twin is loaded a second time: the forward pass of a prepared model belongs to that model, and a copy would run
    the first one's.
    """
    from rag.train.retriever_losses import TensionLoss

    if n_processes() > 1:
        raise ConfigError("training.retriever.tension_share trains in one process; leave it out, or train in one")
    assert recipe.tension_share is not None
    twin, _ = _prepared(base, recipe, prompts)
    return TensionLoss(loss, model, twin, share=recipe.tension_share, temperature=recipe.temperature)


def _load(base: str | Path, recipe: RetrieverRecipe, prompts: Mapping[str, str]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    if is_causal_lm(base) != (recipe.pooling == "lasttoken"):
        wanted = "a causal language model" if recipe.pooling == "lasttoken" else "a sentence-transformers checkpoint"
        raise ConfigError(f"the recipe {recipe.name!r} starts from {wanted}, and {base} is none; choose another --base")
    if recipe.pooling == "lasttoken":
        return lasttoken_encoder(base, prompts, LASTTOKEN_MAX_LENGTH).to(default_device())
    quiet_transformers()
    return SentenceTransformer(str(base), device=default_device(), local_files_only=True)


def _loss(
    model: SentenceTransformer,
    rows: Sequence[TrainingRow],
    recipe: RetrieverRecipe,
    guide: MakesGuide | None,
) -> Module:
    from rag.train.retriever_losses import DistilledLoss, MarginLoss, MaskedContrastiveLoss, PairTable

    if recipe.loss == "margin_mse":
        return MarginLoss(model)
    found = None
    if recipe.filter_by_guide:
        if guide is None:
            raise ConfigError(f"the recipe {recipe.name!r} filters false negatives by a guide, and none was given")
        used = np.unique([column for row in rows for column in row.columns])
        found = dataclasses.replace(guide([row.query for row in rows], used), margin=recipe.guide_margin)
    # Even without masking, a question's own gold passage is no negative where the batch holds it twice.
    positives = [row.positives if recipe.mask_positives else row.columns[:1] for row in rows]
    table = PairTable(np.array([row.columns for row in rows]), positives, found)
    if recipe.loss == "contrastive":
        return MaskedContrastiveLoss(
            model, table, temperature=recipe.temperature, mini_batch_size=recipe.mini_batch_size
        )
    return DistilledLoss(
        model,
        table,
        np.array([logit(row.scores) for row in rows]),
        temperature=recipe.temperature,
        teacher_temperature=recipe.teacher_temperature,
        contrastive_share=recipe.contrastive_share,
        mini_batch_size=recipe.mini_batch_size,
    )


def _query_loss(
    model: SentenceTransformer,
    rows: Sequence[TrainingRow],
    recipe: RetrieverRecipe,
    guide: MakesGuide | None,
    frozen: FrozenPassages,
) -> Module:
    from rag.train.query_losses import CandidateTable, QueryLoss

    found = None
    if recipe.filter_by_guide:
        if guide is None:
            raise ConfigError(f"the recipe {recipe.name!r} filters false negatives by a guide, and none was given")
        made = guide([row.query for row in rows], frozen.rows)
        found = dataclasses.replace(made, passages=made.passages[frozen.rows], margin=recipe.guide_margin)
    positives = [row.positives if recipe.mask_positives else row.columns[:1] for row in rows]
    table = CandidateTable(
        np.stack([frozen.positions(row.columns) for row in rows]),
        [frozen.positions(own).tolist() for own in positives],
        found,
    )
    if recipe.loss == "contrastive":
        return QueryLoss(model, frozen.vectors, table, temperature=recipe.temperature)
    return QueryLoss(
        model,
        frozen.vectors,
        table,
        temperature=recipe.temperature,
        teacher=np.array([logit(row.scores) for row in rows]),
        teacher_temperature=recipe.teacher_temperature,
        contrastive_share=recipe.contrastive_share,
    )
