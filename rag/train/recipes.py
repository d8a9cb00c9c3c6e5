"""Recipes by name, with what the settings of training change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from rag.config.training import Kind, TrainingSettings
from rag.errors import ConfigError


class _Recipe(Protocol):
    """A dataclass; `unread` names those of its fields that change nothing as it is set."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def unread(self) -> set[str]: ...


R = TypeVar("R", bound=_Recipe)


def chosen_recipe(recipes: Mapping[str, R], name: str, kind: Kind, training: TrainingSettings) -> R:
    """The recipe of this name with what the settings change; raises ConfigError for what it does not know."""
    if name not in recipes:
        raise ConfigError(f"no recipe is called {name!r}; choose one of {', '.join(recipes)}")
    overrides = training.overrides(kind)
    known = {field.name for field in dataclasses.fields(recipes[name])}
    if odd := sorted(overrides.keys() - known):
        raise ConfigError(f"the {kind}'s recipe {name!r} has no setting training.{odd[0]}")
    # Values that stand under [training] itself need not fit this kind of model.
    for setting, hint in get_type_hints(type(recipes[name])).items():
        choices = get_args(hint)
        if get_origin(hint) is Literal and setting in overrides and overrides[setting] not in choices:
            raise ConfigError(f"training.{setting} of the {kind}'s recipe {name!r} is one of {', '.join(choices)}")
    recipe = dataclasses.replace(recipes[name], **overrides)
    if idle := sorted(overrides.keys() & recipe.unread()):
        raise ConfigError(
            f"training.{kind}.{idle[0]} changes nothing in the recipe {name!r} as it is set; leave it out"
        )
    return recipe
