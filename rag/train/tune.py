"""Settings and files become training questions, mined negatives and tuned models, which meet the gate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np

from rag.build import parts
from rag.build.retrievers import Retrievers
from rag.config import Settings
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.splits import refuse_written
from rag.errors import ConfigError
from rag.files import write_json
from rag.index.read import OpenIndex, open_index
from rag.models.promoted import serving
from rag.models.resolve import resolve
from rag.progress import say
from rag.train.files import TrainingFiles, choose_watched
from rag.train.gate import (
    check_reranks,
    gate_reranker,
    gate_retriever,
    parted,
    question_ids,
    serving_candidates,
    verdict_of,
    watched_ids,
)
from rag.train.negatives import Mined, mined_by
from rag.train.retriever import RECIPES, make_dev_pool, train_retriever
from rag.train.run import Watch, digest, is_first_process


def _recipe(recipes: Mapping, name: str, settings: Settings):
    """The recipe with what the settings change; raises ConfigError for what it does not know."""
    if name not in recipes:
        raise ConfigError(f"no recipe is called {name!r}; choose one of {', '.join(recipes)}")
    overrides = settings.training.overrides()
    known = {field.name for field in dataclasses.fields(recipes[name])}
    if odd := sorted(overrides.keys() - known):
        raise ConfigError(f"the recipe {name!r} has no setting training.{odd[0]}")
    for setting, hint in get_type_hints(type(recipes[name])).items():
        if get_origin(hint) is Literal and overrides.get(setting, get_args(hint)[0]) not in get_args(hint):
            raise ConfigError(f"training.{setting} of the recipe {name!r} is one of {', '.join(get_args(hint))}")
    recipe = dataclasses.replace(recipes[name], **overrides)
    if idle := sorted(overrides.keys() & recipe.unread()):
        raise ConfigError(f"training.{idle[0]} changes nothing in the recipe {name!r} as it is set; leave it out")
    return recipe


def tune_retriever(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the retriever and let it meet the serving one on dev; returns the gate's record, None without the gate.

    `base` names the model to start from, by default the serving one.
    """
    recipe = _recipe(RECIPES, recipe_name, settings)
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus)
    if with_gate:
        refuse_written(held_out)
    if recipe.loss != "contrastive" and files.negatives is not None and mined_by(files.negatives) != "reranker":
        raise ConfigError(
            f"the recipe {recipe.name!r} learns from the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    encoder = parts.make_encoder(settings)
    index.check_encoder(encoder.fingerprint)
    retrievers = Retrievers(settings, index_folder)
    start = resolve(base or serving(settings.encoder.model), source=settings.models.source).folder
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, settings.training.dev_questions, files.without, chose)
    candidates = [
        [hit.passage.id for hit in hits]
        for hits in retrievers.get("dense").retrieve(
            [example.question.rewrite for example in watched], settings.training.dev_candidates
        )
    ]
    model = train_retriever(
        start,
        encoder.prompts,
        training,
        index.corpus,
        recipe,
        target,
        dev=dataclasses.replace(make_dev_pool(watched, index.corpus, candidates), ids=[*chose, *question_ids(watched)]),
        mined=files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None,
        guide=_guide(encoder, index),
        guide_sha256=encoder.fingerprint.weights_sha256,
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    del retrievers
    return gate_retriever(settings, index_folder, target, model, judged)


def _guide(encoder, index: OpenIndex) -> Callable:
    from rag.train.retriever_losses import Guide

    def make(queries: Sequence[str]) -> Guide:
        vectors = index.vectors()
        return Guide(encoder.encode_queries(queries, label="Guide"), vectors.vectors(range(len(index.corpus))))

    return make


def tune_reranker(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    reuse: Sequence[str | Path] = (),
    with_gate: bool = True,
) -> dict | None:
    """Train the reranker and let it meet its base on dev; returns the gate's record, None without the gate.

    `reuse` are other runs' folders, from whose gate the base's scores are taken where they are of the same candidates.
    """
    from rag.train.reranker import RECIPES as RERANKER_RECIPES
    from rag.train.reranker import DevCandidates, make_groups, train_reranker

    recipe = _recipe(RERANKER_RECIPES, recipe_name, settings)
    check_reranks(settings)
    if recipe.select == "loss" and recipe.negatives_from == "mined":
        raise ConfigError(
            "training.select = loss needs dev pairs made as the training pairs are, and dev questions have no mined "
            "negatives; choose select = mrr"
        )
    known = [verdict_of(run) for run in reuse]
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus, with_unanswerable=recipe.unanswerable)
    if with_gate:
        refuse_written(held_out)
    mined = files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None
    if mined is not None and (without := sum(e.question.id not in mined for e in training)):
        say(f"warning: {without:,} of {len(training):,} questions have none but random negatives ({files.negatives})")
    if recipe.hardest_first or recipe.skip_easy is not None:
        training, mined = _hard(training, mined, files.negatives, recipe)
    hard = None if mined is None else {qid: [pid for pid, _ in one.negatives] for qid, one in mined.items()}
    groups = make_groups(training, index.corpus, recipe, hard)
    start = resolve(serving(settings.reranker.model), source=settings.models.source).folder
    if recipe.soft_share:
        groups = _softened(settings, groups, index.corpus, recipe, target)
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, settings.training.dev_questions, files.without, chose)
    found = list(zip(held_out, serving_candidates(settings, index_folder, held_out), strict=True))
    at_gate = set(question_ids(judged))
    shown = [(one, hits[: settings.training.dev_candidates]) for one, hits in found if one.question.id not in at_gate]
    shown, shown_unanswerable = parted(shown)
    dev_groups = []
    if recipe.select == "loss":
        dev_groups = make_groups([example for example, _ in [*shown, *shown_unanswerable]], index.corpus, recipe, None)
        if recipe.soft_share:
            dev_groups = _softened(settings, dev_groups, index.corpus, recipe, target)
    model = train_reranker(
        start,
        groups,
        index.corpus,
        recipe,
        target,
        dev=DevCandidates(
            [example.question.rewrite for example, _ in shown],
            [[hit.passage.content for hit in hits] for _, hits in shown],
            [[hit.passage.id in example.positives for hit in hits] for example, hits in shown],
            [len(example.positives) for example, _ in shown],
            [(example.question.rewrite, [hit.passage.content for hit in hits]) for example, hits in shown_unanswerable],
            [*chose, *question_ids(watched)],
        ),
        dev_groups=dev_groups,
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    met = [one for one in found if one[0].question.id in at_gate]
    return gate_reranker(settings, index, target, model, met, known)


def _hard(
    training: Sequence[Example], mined: Mapping[str, Mined] | None, negatives: str | Path, recipe
) -> tuple[list[Example], dict[str, Mined]]:
    """What the cross-encoder that mined finds hard: such questions, and of each the negatives by falling score."""
    if mined is None:
        raise ConfigError(f"the recipe {recipe.name!r} takes no mined negatives, of which the hardest could come first")
    if mined_by(negatives) != "reranker":
        raise ConfigError(
            "training.hardest_first and skip_easy go by the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    ordered = {
        qid: dataclasses.replace(one, negatives=tuple(sorted(one.negatives, key=_by_falling_score)))
        for qid, one in mined.items()
    }
    if recipe.skip_easy is None:
        return list(training), ordered
    left = [
        example
        for example in training
        if (one := mined.get(example.question.id)) is None or not one.is_easy(recipe.skip_easy)
    ]
    say(f"{len(training) - len(left):,} of {len(training):,} questions are easy and left out")
    if not left:
        raise ConfigError("every question is easy and nothing is left to train on; raise training.skip_easy")
    return left, ordered


def _by_falling_score(negative: tuple[str, float | None]) -> float:
    """Of a mined negative; random ones, which nothing scored, come last."""
    return float("inf") if negative[1] is None else -negative[1]


def _softened(settings: Settings, groups, corpus: Corpus, recipe, target: str | Path) -> list:
    """Labels mixed with what the serving reranker says of the same pairs; what it says is kept in the run's folder."""
    from rag.train.reranker import soften

    reranker = parts.make_reranker(settings)
    pairs = [(group.query, corpus.by_id(pid).content) for group in groups for pid in group.ids]
    path = Path(target) / f"own-scores-{digest([reranker.weights_sha256, *pairs])}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [float(value) for value in reranker.score(pairs, label="Scoring")])
    logits = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    ends = np.cumsum([len(group.ids) for group in groups])
    return [soften(group, own, recipe) for group, own in zip(groups, np.split(logits, ends[:-1]), strict=True)]
