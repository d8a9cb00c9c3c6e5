"""The first step of tuning a reranker: everything that its training is given, from settings and files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.build.serving import Serving
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.splits import refuse_written
from rag.errors import ConfigError
from rag.files import write_json
from rag.index.read import OpenIndex, open_index
from rag.progress import say
from rag.train.dev_evaluation import DevCandidates, make_dev_candidates
from rag.train.files import TrainingFiles, choose_watched
from rag.train.gate import (
    Found,
    check_reranks,
    question_ids,
    serving_candidates,
    serving_reranker,
    split_unanswerable,
    watched_ids,
)
from rag.train.negatives import Mined, mined_by
from rag.train.recipes import chosen_recipe
from rag.train.reranker_groups import Group, make_groups, soften
from rag.train.reranker_recipes import RECIPES, RerankerRecipe
from rag.train.reranker_start import check_start
from rag.train.run import Watch, digest


@dataclass(frozen=True, slots=True)
class RerankerJob:
    """What a reranker is trained with, and the dev questions with their hits that judge it afterwards."""

    recipe: RerankerRecipe
    start: Path
    """The checkpoint to start from."""
    index: OpenIndex
    groups: Sequence[Group]
    dev: DevCandidates
    dev_groups: Sequence[Group]
    watch: Watch
    judged: Found


def prepare_reranker(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> RerankerJob:
    """Read the files, choose the recipe, make the groups, and find the dev candidates; `base` as in `tune_reranker`.

    Whatever can be refused is refused here, before anything is trained: ConfigError, DataError. For soft labels the
    serving reranker scores the groups; its scores are kept in `target`.
    """
    chosen = serving.settings.training.reranker
    recipe = _recipe(serving, recipe_name)
    start = _start(serving, base, recipe)
    index = open_index(serving.index_folder)
    training, held_out = files.splits(index.corpus, with_unanswerable=recipe.unanswerable)
    if with_gate:
        refuse_written(held_out)
    training, negatives = _training_questions(files, index.corpus, training, recipe)
    groups = make_groups(training, index.corpus, recipe, negatives)
    if recipe.soft_share:
        groups = _softened(serving, groups, index.corpus, recipe, target)
    # What chose the model to start from is watched again: a question that has chosen a checkpoint judges none.
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, chosen.dev_questions, files.without, chose)
    found = list(zip(held_out, serving_candidates(serving, held_out), strict=True))
    at_gate = set(question_ids(judged))
    shown = [(one, hits[: chosen.dev_candidates]) for one, hits in found if one.question.id not in at_gate]
    dev_groups: list[Group] = []
    if recipe.select == "loss":
        answerable_first = [example for part in split_unanswerable(shown) for example, _ in part]
        dev_groups = make_groups(answerable_first, index.corpus, recipe, None)
        if recipe.soft_share:
            dev_groups = _softened(serving, dev_groups, index.corpus, recipe, target)
    return RerankerJob(
        recipe,
        start,
        index,
        groups,
        make_dev_candidates(*split_unanswerable(shown), ids=[*chose, *question_ids(watched)]),
        dev_groups,
        Watch(evaluations=chosen.evaluations, report_to=chosen.report_to),
        [(example, hits) for example, hits in found if example.question.id in at_gate],
    )


def _recipe(serving: Serving, name: str) -> RerankerRecipe:
    """The recipe with what the settings change; raises ConfigError for what could not end well."""
    recipe = chosen_recipe(RECIPES, name, "reranker", serving.settings.training)
    check_reranks(serving)
    if recipe.select == "loss" and recipe.negatives_from == "mined":
        raise ConfigError(
            "training.reranker.select = loss needs dev pairs made as the training pairs are, and dev questions have no "
            "mined negatives; choose select = mrr"
        )
    return recipe


def _start(serving: Serving, base: str | None, recipe: RerankerRecipe) -> Path:
    """The checkpoint to start from; raises ConfigError or ModelError where none can be made of it."""
    model = serving.reranker_model() if base is None else serving.find(base)
    assert model is not None  # `_recipe` has refused otherwise
    check_start(model.folder, recipe)
    return model.folder


def _training_questions(
    files: TrainingFiles, corpus: Corpus, training: list[Example], recipe: RerankerRecipe
) -> tuple[list[Example], dict[str, list[str]] | None]:
    """(questions to train on, ids of mined negatives per question id); None where the recipe takes no mined ones."""
    mined = files.mined(corpus, training) if recipe.negatives_from == "mined" else None
    if mined is not None and (without := sum(example.question.id not in mined for example in training)):
        say(f"warning: {without:,} of {len(training):,} questions have none but random negatives ({files.negatives})")
    if recipe.hardest_first or recipe.skip_easy is not None:
        mined = _by_falling_scores(mined, files.negatives, recipe)
        if recipe.skip_easy is not None:
            training = _without_easy(training, mined, recipe.skip_easy)
    if mined is None:
        return training, None
    return training, {qid: [pid for pid, _ in one.negatives] for qid, one in mined.items()}


def _by_falling_scores(
    mined: Mapping[str, Mined] | None, negatives: str | Path | None, recipe: RerankerRecipe
) -> dict[str, Mined]:
    """The mined negatives, each question's in the order of the scores that the cross-encoder gave them.

    Raises ConfigError where there are none, or other scores.
    """
    if mined is None or negatives is None:
        raise ConfigError(f"the recipe {recipe.name!r} takes no mined negatives, of which the hardest could come first")
    if mined_by(negatives) != "reranker":
        raise ConfigError(
            "training.reranker.hardest_first and skip_easy go by the cross-encoder's scores; mine with them: rag mine "
            "TRAIN -i INDEX -o FILE --scorer reranker"
        )

    def place(negative: tuple[str, float | None]) -> float:
        """Random negatives, which nothing scored, come last."""
        _, score = negative
        return float("inf") if score is None else -score

    return {
        qid: dataclasses.replace(one, negatives=tuple(sorted(one.negatives, key=place))) for qid, one in mined.items()
    }


def _without_easy(training: Sequence[Example], mined: Mapping[str, Mined], skip_easy: float) -> list[Example]:
    """The questions that the cross-encoder finds hard, or that were not mined; ConfigError where there is none."""
    easy = {qid for qid, one in mined.items() if one.is_easy(skip_easy)}
    left = [example for example in training if example.question.id not in easy]
    say(f"{len(training) - len(left):,} of {len(training):,} questions are easy and left out")
    if not left:
        raise ConfigError("every question is easy and nothing is left to train on; raise training.reranker.skip_easy")
    return left


def _softened(
    serving: Serving, groups: Sequence[Group], corpus: Corpus, recipe: RerankerRecipe, target: str | Path
) -> list[Group]:
    """The groups with labels mixed with what the serving reranker says of the same pairs.

    Its scores are kept in the run's folder, under a name made of the model and the pairs, so that a run that goes on
    after a kill reads them.
    """
    reranker = serving_reranker(serving)
    pairs = [(group.query, corpus.by_id(pid).content) for group in groups for pid in group.ids]
    path = Path(target) / f"own-scores-{digest([reranker.weights_sha256, *pairs])}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [float(value) for value in reranker.score(pairs, label="Scoring")])
    logits = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    ends = np.cumsum([len(group.ids) for group in groups])
    return [soften(group, own, recipe) for group, own in zip(groups, np.split(logits, ends[:-1]), strict=True)]
