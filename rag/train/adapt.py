"""A retriever is adapted to documents about which nobody has asked anything, by one command: GPL.

The generator writes questions, those that cannot find their own passage go, the reranker scores what is found for the
others, and the retriever learns from its scores (Wang et al. 2022, https://arxiv.org/abs/2112.07577). People's
questions judge the result; written ones never do.

    OUT/questions.txt      what the generator wrote
    OUT/round-trip.jsonl   at which rank each question finds its own passage
    OUT/kept.txt           the questions to train on
    OUT/negatives.jsonl    their candidates, scored by the reranker
    OUT/retriever/         the run of the retriever; OUT/reranker/ that of the reranker, if one is wanted

Every step goes on where a kill ended it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rag.build.round_trip import keep_found
from rag.build.serving import Serving
from rag.build.written import write_training_questions
from rag.data.labelled import load_examples
from rag.data.passages import Corpus
from rag.data.splits import refuse_test_file, refuse_written
from rag.errors import ConfigError
from rag.evaluate.verdict import PROMOTE
from rag.generate.written import count_asked, is_worth_asking, passages_to_ask
from rag.index.read import open_index
from rag.progress import say
from rag.train.files import TrainingFiles, choose_watched
from rag.train.gate import check_reranks, watched_ids
from rag.train.mine import mine_negatives
from rag.train.negatives import MiningSettings
from rag.train.recipes import chosen_recipe
from rag.train.retriever_recipes import RECIPES, RetrieverRecipe
from rag.train.tune import tune_reranker, tune_retriever, tune_without_verdict

QUESTIONS, ROUND_TRIP, KEPT, NEGATIVES = "questions.txt", "round-trip.jsonl", "kept.txt", "negatives.jsonl"
RETRIEVER, RERANKER = "retriever", "reranker"
TAKEN = "distill, margin or mined"
LEAST_DEV = 200
FOR_WRITTEN = {"tuned_share": 0.5, "learning_rate": 3e-5}
"""Settings of the retriever's training that written questions are best learnt with, where none are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapting:
    """How much is written and mined, and what is trained.

    A question is kept if its own passage is among the first `round_trip` that it finds; 0 keeps all. `dev` are people's
    questions, with judgements of their own or in `qrels`.
    """

    sample: int = 700
    per_passage: int = 3
    round_trip: int = 20
    per_question: int = 7
    depth: int = 12
    recipe: str = "distill"
    reranker: bool = False
    dev: str | Path | None = None
    qrels: str | Path | None = None


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it: how many questions were written and kept, and the records of the comparisons by role.

    `is_verdict` says that people's questions judged.
    """

    n_written: int
    n_kept: int
    records: Mapping[str, dict]
    is_verdict: bool

    @property
    def to_promote(self) -> list[str]:
        """The roles whose models passed."""
        return [role for role, record in self.records.items() if self.is_verdict and record["verdict"] == PROMOTE]


def plan(serving: Serving, adapting: Adapting) -> list[str]:
    """What would be done, and how many rows of what, as lines. Refuses what cannot end well, as `adapt` does."""
    serving = for_written(serving)
    recipe = _check_recipe(serving, adapting)
    corpus = open_index(serving.index_folder).corpus
    n_watched, n_judged = _check_dev(serving, adapting, corpus)
    n_worth = sum(map(is_worth_asking, corpus))
    chosen = passages_to_ask(corpus, adapting.sample)
    n_questions = count_asked(chosen, adapting.per_passage)
    n_pairs = n_questions * (adapting.depth + 1)
    lines = [
        f"1. write up to {adapting.per_passage} questions about each of {len(chosen):,} passages, of {n_worth:,} that "
        f"are long enough: {n_questions:,} questions at most",
        f"2. keep those that find their own passage among the first {adapting.round_trip}"
        if adapting.round_trip
        else "2. keep all of them",
        f"3. find and score {adapting.depth} candidates of each: {n_pairs:,} pairs at most",
        f"4. train the retriever ({adapting.recipe}): {n_questions:,} rows, {recipe.steps(n_questions):,} steps at most"
        + ("; then the reranker" if adapting.reranker else ""),
    ]
    if adapting.dev is None:
        return [
            *lines,
            "5. compare with the serving model on held-out written questions: no verdict, and nothing can be promoted; "
            "name people's questions with --dev",
        ]
    few = f" (few: {LEAST_DEV} questions or more tell better)" if n_watched + n_judged < LEAST_DEV else ""
    return [
        *lines,
        f"5. compare with the serving model on people's questions: {n_watched:,} choose the checkpoint, {n_judged:,} "
        f"others judge{few}",
    ]


def adapt(serving: Serving, target: str | Path, adapting: Adapting) -> Adapted:
    """Write, filter, mine, train and compare, into the folder `target`; what is there already is not done again.

    Nothing is promoted. Without people's questions there is no verdict either. Raises as the steps do.
    """
    target, serving = Path(target), for_written(serving)
    _check_recipe(serving, adapting)
    _check_dev(serving, adapting, open_index(serving.index_folder).corpus)
    say("step 1 of 5: writing questions")
    written = write_training_questions(
        serving, target / QUESTIONS, sample=adapting.sample, per_passage=adapting.per_passage
    )
    say("step 2 of 5: do they find their own passages?")
    n_kept = keep_found(serving, target / QUESTIONS, target / ROUND_TRIP, target / KEPT, adapting.round_trip)
    say("step 3 of 5: mining and scoring candidates")
    mining = MiningSettings(adapting.per_question, adapting.depth)
    mine_negatives(serving, target / KEPT, target / NEGATIVES, mining)
    say("steps 4 and 5: training and comparing")
    files = TrainingFiles(target / KEPT, adapting.dev, adapting.qrels, target / NEGATIVES)
    is_verdict = adapting.dev is not None
    records = {}
    if is_verdict:
        records[RETRIEVER] = tune_retriever(serving, files, target / RETRIEVER, adapting.recipe)
    else:
        records[RETRIEVER] = tune_without_verdict(serving, files, target / RETRIEVER, adapting.recipe)
    if adapting.reranker:
        records[RERANKER] = tune_reranker(serving, files, target / RERANKER, "lambda", with_gate=is_verdict)
    found = {role: record for role, record in records.items() if record is not None}
    return Adapted(written.n_questions, n_kept, found, is_verdict)


def for_written(serving: Serving) -> Serving:
    """The same with the settings of training that suit written questions, unless others are set."""
    training = serving.settings.training
    new = {name: value for name, value in FOR_WRITTEN.items() if getattr(training.retriever, name) is None}
    changed = training.model_copy(update={"retriever": training.retriever.model_copy(update=new)})
    return dataclasses.replace(serving, settings=serving.settings.model_copy(update={"training": changed}))


def _check_recipe(serving: Serving, adapting: Adapting) -> RetrieverRecipe:
    """The recipe; refused now, and not after hours, where written questions cannot be learnt from in this way."""
    check_reranks(serving)
    recipe = chosen_recipe(RECIPES, adapting.recipe, "retriever", serving.settings.training)
    if recipe.pooling != "own" or recipe.negatives_from != "mined":
        raise ConfigError(f"the recipe {adapting.recipe!r} learns nothing from mined candidates; choose {TAKEN}")
    # One of the candidates is the passage that the question was written about.
    if min(adapting.per_question, adapting.depth - 1) < recipe.negatives:
        raise ConfigError(
            f"the recipe {adapting.recipe!r} takes {recipe.negatives} negatives of each question; set --per-question "
            f"{recipe.negatives} and --depth {recipe.negatives + 1}, or more"
        )
    return recipe


def _check_dev(serving: Serving, adapting: Adapting, corpus: Corpus) -> tuple[int, int]:
    """How many questions of people watch the training, and how many judge; refused as early where they cannot."""
    if adapting.dev is None:
        return 0, 0
    refuse_test_file(adapting.dev, adapting.qrels)
    qrels = None if Path(adapting.dev).is_dir() else adapting.qrels
    examples = load_examples(adapting.dev, corpus, qrels, split="dev").examples
    refuse_written(examples)
    before = watched_ids(serving.find(serving.encoder).folder)
    watched, judged = choose_watched(examples, serving.settings.training.retriever.dev_questions, before=before)
    return len(watched), len(judged)
