"""Which settings a recipe takes, under their names and under those from before [training] was split by model."""

import dataclasses
from typing import get_args, get_type_hints

import pytest

from rag.config import RerankerTraining, RetrieverTraining, load_settings
from rag.errors import ConfigError
from rag.train.recipes import chosen_recipe
from rag.train.reranker_recipes import RECIPES as RERANKER_RECIPES
from rag.train.retriever_recipes import RECIPES as RETRIEVER_RECIPES

RECIPES = {"retriever": RETRIEVER_RECIPES, "reranker": RERANKER_RECIPES}
SECTIONS = {"retriever": RetrieverTraining, "reranker": RerankerTraining}
WATCHED = {"evaluations", "dev_questions", "dev_candidates", "report_to"}


def choose(kind, name, *overrides):
    return chosen_recipe(RECIPES[kind], name, kind, load_settings(overrides=overrides).training)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_kind_has_the_settings_that_its_recipes_know(kind):
    recipe = next(iter(RECIPES[kind].values()))
    fixed = {"name", "warmup_share", *(["pooling"] if kind == "retriever" else [])}
    assert set(SECTIONS[kind].model_fields) - WATCHED == {f.name for f in dataclasses.fields(recipe)} - fixed
    for name, hint in get_type_hints(type(recipe)).items():
        if name in SECTIONS[kind].model_fields and isinstance(get_args(hint)[:1][0] if get_args(hint) else None, str):
            setting = get_args(SECTIONS[kind].model_fields[name].annotation)[0]
            assert get_args(setting) == get_args(hint), name


def test_settings_of_one_kind_leave_the_other_alone():
    assert choose("retriever", "mined", "training.retriever.epochs=7", "training.reranker.epochs=3").epochs == 7
    assert choose("reranker", "lambda", "training.retriever.epochs=7") == RERANKER_RECIPES["lambda"]


def test_without_settings_a_recipe_is_what_it_is():
    for kind, recipes in RECIPES.items():
        for name, recipe in recipes.items():
            assert choose(kind, name) == recipe


def test_an_old_key_reaches_both_kinds():
    assert choose("retriever", "mined", "training.epochs=7").epochs == 7
    assert choose("reranker", "lambda", "training.epochs=7").epochs == 7


def test_an_old_key_reaches_the_kind_that_takes_its_value():
    assert choose("retriever", "mined", "training.loss=margin_mse").loss == "margin_mse"
    assert choose("reranker", "lambda", "training.loss=listnet").loss == "listnet"
    assert choose("reranker", "lambda", "training.skip_easy=3").skip_easy == 3
    assert choose("retriever", "mined", "training.temperature=0.5").temperature == 0.5


@pytest.mark.parametrize(
    ("kind", "recipe", "override", "message"),
    [
        ("retriever", "mined", "training.skip_easy=3", "'mined' has no setting training.skip_easy"),
        ("reranker", "lambda", "training.temperature=0.1", "'lambda' has no setting training.temperature"),
        ("retriever", "mined", "training.loss=lambda", "is one of contrastive, kl, margin_mse"),
        ("reranker", "lambda", "training.loss=kl", "is one of bce, lambda, listnet, ranknet, hybrid, none_of_these"),
        ("retriever", "mined", "training.negatives_from=evidences", "is one of mined, random"),
        (
            "retriever",
            "mined",
            "training.contrastive_share=1",
            "contrastive_share changes nothing in the recipe 'mined'",
        ),
        ("reranker", "lambda", "training.reranker.positive_weight=2", "positive_weight changes nothing in the recipe"),
    ],
)
def test_what_the_trained_kind_does_not_take_is_refused(kind, recipe, override, message):
    with pytest.raises(ConfigError, match=message):
        choose(kind, recipe, override)


def test_a_new_key_replaces_what_an_old_one_said_of_another_kind():
    assert choose("retriever", "mined", "training.loss=lambda", "training.retriever.loss=contrastive").name == "mined"
