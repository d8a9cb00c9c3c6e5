"""The first step of tuning a retriever: everything that its training is given, from settings and files."""

from __future__ import annotations

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
    start = serving.find(base or serving.encoder).folder
    # What chose the model to start from is watched again: a question that has chosen a checkpoint judges none.
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, chosen.dev_questions, files.without, chose)
    dense = serving.retrievers().get("dense")
    found = dense.retrieve([example.question.rewrite for example in watched], chosen.dev_candidates)
    candidates = [[hit.passage.id for hit in hits] for hits in found]
    return RetrieverJob(
        recipe,
        start,
        encoder.prompts,
        training,
        index.corpus,
        files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None,
        _own_guide(encoder, index) if guide is encoder else _other_guide(guide, index.corpus),
        guide.fingerprint.weights_sha256,
        make_dev_pool(watched, index.corpus, candidates, chose),
        Watch(evaluations=chosen.evaluations, report_to=chosen.report_to),
        judged,
    )


def _own_guide(encoder: Encoder, index: OpenIndex) -> MakesGuide:
    """The guide by the encoder that serves; the passages' vectors are the index's own."""

    def make(queries: Sequence[str], rows: np.ndarray) -> Guide:
        return _guide(encoder, queries, rows, index.vectors().vectors(rows.tolist()), len(index.corpus))

    return make


def _load_guide(serving: Serving, name: str) -> Encoder:
    """Another encoder, as its own files say: the settings of the serving one are not its own."""
    own = {"query_prompt": None, "passage_prompt": None, "truncate_dim": None}
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
