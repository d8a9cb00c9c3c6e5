"""What the reranker is trained on: groups of a question, one gold passage and negatives."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rag.data.labelled import Example, random_passages, share_of
from rag.data.passages import Corpus
from rag.errors import ConfigError
from rag.train.reranker_recipes import RerankerRecipe

if TYPE_CHECKING:
    from datasets import Dataset

LEARNS_TO_REFUSE = ("none_of_these", "bce")
TAKES_LABELS_OF_0_AND_1 = ("none_of_these", "hybrid")


@dataclass(frozen=True, slots=True)
class Group:
    """A question with passage ids and their labels, from 0 to 1."""

    query: str
    ids: tuple[str, ...]
    labels: tuple[float, ...]


def make_groups(
    examples: Sequence[Example],
    corpus: Corpus,
    recipe: RerankerRecipe,
    mined: Mapping[str, Sequence[str]] | None,
) -> list[Group]:
    """One group per gold passage, which is labelled 1 and comes first; the negatives are labelled 0.

    `mined` are the ids of negatives per question id; if the recipe takes the hardest first, in that order. An
    unanswerable question has one group, all 0, which begins with the passages judged not to answer it. Raises
    ConfigError where the recipe does not fit the examples or lacks what it needs.
    """
    _check_groups(examples, recipe, mined)
    rng = random.Random(recipe.seed)
    groups = []
    for example in examples:
        negatives = _negatives(example, corpus, recipe, mined, rng)
        zeros = (0.0,) * len(negatives)
        for positive in example.positives:
            groups.append(Group(example.question.rewrite, (positive, *negatives), (1.0, *zeros)))
        if not example.positives:
            groups.append(Group(example.question.rewrite, tuple(negatives), zeros))
    return groups


def _check_groups(
    examples: Sequence[Example], recipe: RerankerRecipe, mined: Mapping[str, Sequence[str]] | None
) -> None:
    if any(not example.positives for example in examples) and recipe.loss not in LEARNS_TO_REFUSE:
        raise ConfigError(
            f"the loss {recipe.loss!r} learns nothing from unanswerable questions; set "
            f"training.reranker.unanswerable = false, or choose {' or '.join(LEARNS_TO_REFUSE)}"
        )
    if not recipe.negatives:
        raise ConfigError("a reranker learns by comparing; set training.reranker.negatives to 1 or more")
    if recipe.loss in TAKES_LABELS_OF_0_AND_1 and recipe.soft_share:
        raise ConfigError(f"the loss {recipe.loss!r} takes no soft labels; set training.reranker.soft_share = 0")
    if recipe.negatives_from == "mined" and mined is None:
        raise ConfigError(
            f"the recipe {recipe.name!r} takes mined negatives: rag mine TRAIN -i INDEX -o FILE, --negatives FILE"
        )


def _negatives(
    example: Example,
    corpus: Corpus,
    recipe: RerankerRecipe,
    mined: Mapping[str, Sequence[str]] | None,
    rng: random.Random,
) -> list[str]:
    """Ids of `recipe.negatives` passages, filled up with random ones; fewer in a small corpus."""
    hard: list[str] = []
    if recipe.negatives_from == "evidences":
        hard = list(example.negatives)
    elif recipe.negatives_from == "mined" and mined is not None:
        # What has become gold since the mining is no negative.
        hard = [pid for pid in mined.get(example.question.id, ()) if pid not in example.positives]
        if not recipe.hardest_first:
            rng.shuffle(hard)
        if not example.positives:
            hard = list(dict.fromkeys([*example.negatives, *hard]))
        hard = hard[: recipe.negatives - share_of(recipe.negatives, recipe.random_share, rng)]
    negatives = hard[: recipe.negatives]
    return negatives + random_passages(recipe.negatives - len(negatives), corpus, example, rng, negatives)


def soften(group: Group, logits: Sequence[float] | np.ndarray, recipe: RerankerRecipe) -> Group:
    """The group with `soft_share` of the model's own judgement, from its `logits`, in the labels.

    For ListNet that is the softmax over the group, else each pair's own probability.
    """
    values, labels = np.asarray(logits, float), np.asarray(group.labels)
    if recipe.loss == "listnet":
        exponents = np.exp(values - values.max())
        own = exponents / exponents.sum()
        labels = labels / max(sum(group.labels), 1e-9)
    else:
        own = 1 / (1 + np.exp(-values))
    mixed = (1 - recipe.soft_share) * labels + recipe.soft_share * own
    return replace(group, labels=tuple(mixed.tolist()))


def training_dataset(groups: Sequence[Group], corpus: Corpus, recipe: RerankerRecipe) -> Dataset:
    """The texts of the groups with their labels; for binary cross-entropy their single pairs, in random order."""
    from datasets import Dataset

    def text(pid: str) -> str:
        return corpus.by_id(pid).content

    if recipe.loss == "bce":
        # The groups of a question with several gold passages have their negatives in common: once is enough.
        pairs = [(g.query, text(pid), label) for g in groups for pid, label in zip(g.ids, g.labels, strict=True)]
        pairs = list(dict.fromkeys(pairs))
        random.Random(recipe.seed).shuffle(pairs)
        queries, passages, labels = zip(*pairs, strict=True)
        return Dataset.from_dict({"query": queries, "passage": passages, "label": labels})
    return Dataset.from_dict(
        {
            "query": [group.query for group in groups],
            "passages": [[text(pid) for pid in group.ids] for group in groups],
            "labels": [targets(group.labels, recipe.loss) for group in groups],
        }
    )


def targets(labels: Sequence[float], loss: str) -> list[float]:
    """Labels as the loss takes them. ListNet takes a softmax of them: the logarithm gives the distribution back."""
    if loss != "listnet":
        return list(labels)
    share = np.asarray(labels, float) / max(sum(labels), 1e-9)
    return np.log(np.clip(share, 1e-6, None)).tolist()
