"""The first step of tuning a retriever: everything that its training is given, from settings and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.build.parts import ENCODER_FILES, encoder_of
from rag.build.serving import Serving
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.splits import refuse_written
from rag.errors import ConfigError
from rag.index.read import OpenIndex, open_index
from rag.train.dev_evaluation import DevPool, make_dev_pool
from rag.train.files import TrainingFiles, choose_watched
from rag.train.frozen_passages import FrozenPassages, frozen_dev_pool, frozen_passages
from rag.train.gate import watched_ids
from rag.train.negatives import Mined, mined_by
from rag.train.recipes import chosen_recipe
from rag.train.retriever import MakesGuide
from rag.train.retriever_recipes import RECIPES, RetrieverRecipe
from rag.train.run import Watch

if TYPE_CHECKING:
    from rag.retrieve.encoder import Encoder
    from rag.train.retriever_losses import Guide


@dataclass(frozen=True, slots=True)
class RetrieverJob:
    """What a retriever is trained with, and the dev questions that judge it afterwards."""

    recipe: RetrieverRecipe
    start: Path
    """The checkpoint to start from."""
    prompts: Mapping[str, str]
    training: Sequence[Example]
    corpus: Corpus
    mined: Mapping[str, Mined] | None
    guide: MakesGuide
    guide_sha256: str
    frozen: FrozenPassages | None
    """The passages whose vectors stay, where the question tower alone is trained."""
    dev: DevPool
    watch: Watch
    judged: Sequence[Example]


def prepare_retriever(
    serving: Serving,
    files: TrainingFiles,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> RetrieverJob:
    """Read the files, choose the recipe and the start, and find the dev candidates; `base` as in `tune_retriever`.

    Whatever can be refused is refused here, before anything is trained: ConfigError, DataError, IndexMismatchError.
    """
    chosen = serving.settings.training.retriever
    recipe = chosen_recipe(RECIPES, recipe_name, "retriever", serving.settings.training)
    _check_trainable(recipe)
    index = open_index(serving.index_folder)
    training, held_out = files.splits(index.corpus)
    if with_gate:
        refuse_written(held_out)
    if recipe.learns_scores and files.negatives is not None and mined_by(files.negatives) != "reranker":
        raise ConfigError(
            f"the recipe {recipe.name!r} learns from the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    encoder = serving.load_encoder()
    index.check_encoder(encoder.fingerprint)
    guide = encoder if recipe.guide is None else _load_guide(serving, recipe.guide)
    start = _start(serving, recipe, base, encoder)
    # What chose the model to start from is watched again: a question that has chosen a checkpoint judges none.
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, chosen.dev_questions, files.without, chose)
    mined = files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None
    frozen = None
    if recipe.query_only:
        frozen, dev = _frozen(index, encoder, recipe, training, mined, watched, chose)
    else:
        dense = serving.retrievers().get("dense")
        found = dense.retrieve([example.question.rewrite for example in watched], chosen.dev_candidates)
        dev = make_dev_pool(watched, index.corpus, [[hit.passage.id for hit in hits] for hits in found], chose)
    return RetrieverJob(
        recipe,
        start,
        encoder.prompts,
        training,
        index.corpus,
        mined,
        _own_guide(encoder, index) if guide is encoder else _other_guide(guide, index.corpus),
        guide.fingerprint.weights_sha256,
        frozen,
        dev,
        Watch(evaluations=chosen.evaluations, report_to=chosen.report_to),
        judged,
    )


def _check_trainable(recipe: RetrieverRecipe) -> None:
    """Raises ConfigError for a recipe that cannot train the question tower alone."""
    if recipe.query_only and recipe.tension_share is not None:
        raise ConfigError(
            "training.retriever.query_only leaves the passages alone, and tension_share trains on them; leave one out"
        )
    if recipe.query_only and (recipe.loss == "margin_mse" or recipe.pooling == "lasttoken"):
        raise ConfigError(
            f"the recipe {recipe.name!r} does not train the question tower alone; choose --recipe query or distill "
            "with training.retriever.query_only"
        )


def _start(serving: Serving, recipe: RetrieverRecipe, base: str | None, encoder: Encoder) -> Path:
    """The checkpoint to start from: for questions alone what embeds them now. Raises ConfigError for one of no use."""
    if base is None:
        return serving.find((serving.query_encoder if recipe.query_only else None) or serving.encoder).folder
    model = serving.find(base)
    if recipe.query_only:
        width = encoder_of(serving.settings, model, lazy=True).fingerprint.dimension
        if width != encoder.fingerprint.dimension:
            raise ConfigError(
                f"{base} has {width} dimensions, and the vectors of the index {encoder.fingerprint.dimension}; choose "
                "a --base that has as many"
            )
    return model.folder


def _frozen(
    index: OpenIndex,
    encoder: Encoder,
    recipe: RetrieverRecipe,
    training: Sequence[Example],
    mined: Mapping[str, Mined] | None,
    watched: Sequence[Example],
    chose: set[str],
) -> tuple[FrozenPassages, DevPool]:
    """The passages whose vectors stay, and the dev questions that are sought among all of them."""
    row_of = {passage_id: row for row, passage_id in enumerate(index.corpus.ids())}
    needed = {pid for example in (*training, *watched) for pid in example.positives}
    needed |= {pid for one in (mined or {}).values() for pid, _ in one.negatives}
    rows = [row_of[pid] for pid in needed]
    frozen = frozen_passages(index, dataclasses.asdict(encoder.fingerprint), rows, recipe.seed)
    return frozen, frozen_dev_pool(watched, frozen, row_of, chose)


def _own_guide(encoder: Encoder, index: OpenIndex) -> MakesGuide:
    """The guide by the encoder that serves; the passages' vectors are the index's own."""

    def make(queries: Sequence[str], rows: np.ndarray) -> Guide:
        return _guide(encoder, queries, rows, index.vectors().vectors(rows.tolist()), len(index.corpus))

    return make


def _load_guide(serving: Serving, name: str) -> Encoder:
    """Another encoder, as its own files say: the settings of the serving one are not its own."""
    own = {"query_model": None, "query_prompt": None, "passage_prompt": None, "truncate_dim": None}
    settings = serving.settings.model_copy(update={"encoder": serving.settings.encoder.model_copy(update=own)})
    return encoder_of(settings, serving.find(name, needs=ENCODER_FILES), lazy=True)


def _other_guide(encoder: Encoder, corpus: Corpus) -> MakesGuide:
    """The guide by an encoder that did not make the index: it embeds the passages that are trained on."""

    def make(queries: Sequence[str], rows: np.ndarray) -> Guide:
        vectors, _ = encoder.encode_passages([corpus[row].content for row in rows.tolist()])
        return _guide(encoder, queries, rows, vectors, len(corpus))

    return make


def _guide(encoder: Encoder, queries: Sequence[str], rows: np.ndarray, vectors: np.ndarray, n_passages: int) -> Guide:
    from rag.train.retriever_losses import Guide

    passages = np.zeros((n_passages, vectors.shape[1]), np.float32)
    passages[rows] = vectors
    return Guide(encoder.encode_queries(queries, label="Guide"), passages)
