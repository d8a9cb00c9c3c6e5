"""What the retriever is trained on: one row for each gold passage of a question, with its negatives."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.data.labelled import Example, random_passages
from rag.data.passages import Corpus
from rag.errors import ConfigError
from rag.progress import say
from rag.train.negatives import Mined, logit
from rag.train.retriever_recipes import RetrieverRecipe

if TYPE_CHECKING:
    from datasets import Dataset


UNASKED = "unasked"
"""The column of passages without questions, the last one of texts."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A query with rows of the corpus: `columns` are the gold passage, then the negatives."""

    query: str
    columns: tuple[int, ...]
    positives: tuple[int, ...]
    """Every known gold passage of the question."""
    scores: tuple[float, ...] = ()
    """The teacher's probabilities of `columns`, where the loss learns from them."""


def training_rows(
    examples: Sequence[Example], corpus: Corpus, recipe: RetrieverRecipe, mined: Mapping[str, Mined] | None
) -> list[TrainingRow]:
    """The rows in the order of the questions, `mined` by question id. What cannot be trained on is counted and skipped.

    Raises ConfigError where the recipe takes mined negatives and there are none, and where no row is left.
    """
    source = mined if recipe.negatives_from == "mined" and recipe.explicit_negatives else None
    if recipe.negatives_from == "mined" and recipe.explicit_negatives and source is None:
        raise ConfigError(
            f"the recipe {recipe.name!r} takes mined negatives: rag mine TRAIN -i INDEX -o FILE, --negatives FILE"
        )
    row_of = {passage_id: row for row, passage_id in enumerate(corpus.ids())}
    rng = random.Random(recipe.seed)
    rows = []
    for example in examples:
        scores: dict[str, float | None] = {}
        if source is None:
            negatives = random_passages(recipe.explicit_negatives, corpus, example, rng)
        else:
            one = source.get(example.question.id)
            chosen = _mined_negatives(one, example, recipe, rng)
            negatives = list(chosen)
            scores = {**dict(one.positives if one else ()), **chosen}
        if len(negatives) < recipe.explicit_negatives:
            continue
        for positive in example.positives:
            columns = (positive, *negatives)
            known = tuple(score for pid in columns if (score := scores.get(pid)) is not None)
            if recipe.learns_scores and len(known) < len(columns):
                continue
            rows.append(
                TrainingRow(
                    example.question.rewrite,
                    tuple(row_of[pid] for pid in columns),
                    tuple(row_of[pid] for pid in example.positives),
                    known if recipe.learns_scores else (),
                )
            )
    _tell_left_out(sum(len(example.positives) for example in examples), len(rows), recipe)
    return rows


def _mined_negatives(
    one: Mined | None, example: Example, recipe: RetrieverRecipe, rng: random.Random
) -> dict[str, float | None]:
    """Passage id -> score of as many mined negatives as the recipe takes; fewer where there are not so many.

    What has become gold since the mining is no negative. A teacher's negatives keep the mining's order and have scores.
    """
    if one is None:
        return {}
    found = [(pid, score) for pid, score in one.negatives if pid not in example.positives]
    if recipe.learns_scores:
        found = [(pid, score) for pid, score in found if score is not None]
    elif len(found) >= recipe.explicit_negatives:
        rng.shuffle(found)
    return dict(found[: recipe.explicit_negatives])


def _tell_left_out(n_gold: int, n_rows: int, recipe: RetrieverRecipe) -> None:
    """Say how many gold passages have no row; raises ConfigError where none has one."""
    needed = f"{recipe.explicit_negatives} negatives"
    if recipe.learns_scores:
        needed += " with scores, and one of gold"
    more = "set training.retriever.negatives lower"
    if recipe.negatives_from == "mined":
        more = "mine more: rag mine TRAIN -i INDEX -o FILE --per-question N"
    if not n_rows:
        raise ConfigError(f"no question has what the recipe {recipe.name!r} needs ({needed}); {more}")
    if left_out := n_gold - n_rows:
        say(f"warning: {left_out:,} gold passages are not trained on: their questions lack {needed}; {more}")


def unasked_passages(
    examples: Sequence[Example], rows: Sequence[TrainingRow], corpus: Corpus, recipe: RetrieverRecipe
) -> list[str]:
    """For each row the text of a passage that none of the questions is about; empty without a `tension_share`.

    All of them have their turn before one comes again. Raises ConfigError where each passage has a question.
    """
    if recipe.tension_share is None:
        return []
    asked = {pid for example in examples for pid in example.positives}
    texts = list(dict.fromkeys(passage.content for passage in corpus if passage.id not in asked))
    if not texts:
        raise ConfigError("every passage has a training question; leave training.retriever.tension_share out")
    random.Random(recipe.seed).shuffle(texts)
    return [texts[number % len(texts)] for number in range(len(rows))]


def passage_columns(recipe: RetrieverRecipe) -> list[str]:
    """The names of a row's passages in the data set: gold first, as the losses of sentence-transformers take them.

    None where only questions are encoded.
    """
    if recipe.query_only:
        return []
    return ["positive", *(f"negative_{n}" for n in range(1, recipe.explicit_negatives + 1))]


def training_dataset(
    rows: Sequence[TrainingRow], corpus: Corpus, recipe: RetrieverRecipe, unasked: Sequence[str] = ()
) -> Dataset:
    """The texts of the rows, with one of `unasked` (`unasked_passages`) in each if there are any, and their labels.

    A label is the number of the row, by which a loss finds what it knows of it. MarginMSE takes the teacher's margins:
    (gold - negative) logits for each negative, in units of cosine.
    """
    from datasets import Dataset

    columns: dict[str, list] = {"anchor": [row.query for row in rows]}
    for number, name in enumerate(passage_columns(recipe)):
        columns[name] = [corpus[row.columns[number]].content for row in rows]
    if unasked:
        columns[UNASKED] = list(unasked)
    if recipe.loss == "margin_mse":
        logits = [logit(row.scores) * recipe.temperature for row in rows]
        columns["label"] = [(own[0] - own[1:]).tolist() for own in logits]
    else:
        columns["label"] = list(range(len(rows)))
    return Dataset.from_dict(columns)
