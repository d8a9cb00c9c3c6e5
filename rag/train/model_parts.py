"""The parts of a model by its own names: word embeddings, layers, head. What learns, and how fast."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.progress import say
from rag.train.reranker_recipes import RerankerRecipe

if TYPE_CHECKING:
    from torch.nn import Module, ModuleList


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Names of parameters by part. What belongs to none, such as a last norm, learns as the upper layers do."""

    embeddings: Sequence[str]
    layers: Sequence[Sequence[str]]
    """From the lowest up; an encoder's before its decoder's."""
    head: Sequence[str]


def parts_of(model: Module, transformer: Any) -> ModelParts:
    """The parts of a model, by its structure; `transformer` is the transformers model within it.

    Layers are what stands in lists of modules. A pooler belongs to the head. Tied weights count where they stand first.
    """
    body = transformer.base_model
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def of(modules: Iterable[Any]) -> list[str]:
        return [names[id(one)] for module in modules for one in module.parameters() if id(one) in names]

    layers = [of([layer]) for stack in _stacks(body) for layer in stack]
    within = {name for layer in layers for name in layer}
    at_word = [module for name, module in body.named_modules() if name.rpartition(".")[2] == "embeddings"]
    # An encoder and its decoder may have word embeddings each.
    words = body.get_input_embeddings()
    alike = [module for module in body.modules() if type(module) is type(words) and _shape(module) == _shape(words)]
    embeddings = dict.fromkeys(of([words, *alike, *at_word]))
    pooler = getattr(body, "pooler", None)
    in_body = set(of([body])) - set(of([pooler] if pooler is not None else []))
    return ModelParts(
        [name for name in embeddings if name not in within],
        layers,
        [name for name in names.values() if name not in in_body],
    )


def _shape(embeddings: Any) -> tuple[int, ...]:
    return tuple(embeddings.weight.shape)


def _stacks(module: Any) -> Iterator[ModuleList]:
    """The lists of layers in a module, but those within a layer."""
    from torch.nn import ModuleList

    for child in module.children():
        if isinstance(child, ModuleList):
            yield child
        else:
            yield from _stacks(child)


def freeze_layers(model: Module, parts: ModelParts, n: int) -> None:
    """Keep the lowest `n` layers as they are. Raises ConfigError where the model has fewer."""
    if n > len(parts.layers):
        raise ConfigError(
            f"the model has {len(parts.layers)} layers; set training.reranker.freeze_layers to at most that"
        )
    frozen = {name for layer in parts.layers[:n] for name in layer}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def learning_rates(parts: ModelParts, recipe: RerankerRecipe) -> dict[str, float]:
    """Patterns of parameter names with a learning rate of their own, for sentence-transformers' trainer.

    With `layer_decay` each layer learns at that share of the rate of the one above it, and the word embeddings at that
    of the lowest layer. Raises ConfigError where the model has no word embeddings that a rate is for.
    """
    rates: dict[str, float] = {}
    decay = recipe.layer_decay or 1.0
    n = len(parts.layers)
    if decay < 1:
        for number, layer in enumerate(parts.layers):
            rates[_pattern(layer)] = recipe.learning_rate * decay ** (n - 1 - number)
    embedding_rate = recipe.embedding_learning_rate or (recipe.learning_rate * decay**n if decay < 1 else None)
    if embedding_rate is not None:
        if not parts.embeddings:
            raise ConfigError(
                f"the recipe {recipe.name!r} has a learning rate for word embeddings, which this model lacks; choose "
                "another recipe"
            )
        rates[_pattern(parts.embeddings)] = embedding_rate
    if recipe.head_learning_rate is not None:
        if parts.head:
            rates[_pattern(parts.head)] = recipe.head_learning_rate
        else:
            say("this model has no head of its own, so training.reranker.head_learning_rate changes nothing")
    return rates


def _pattern(names: Sequence[str]) -> str:
    """An expression that finds these names alone, whatever the trainer puts before them."""
    return rf"(?:^|\.)(?:{'|'.join(map(re.escape, names))})$"
