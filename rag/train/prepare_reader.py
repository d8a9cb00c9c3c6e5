"""The first step of tuning a span reader: everything that its training is given, from settings and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.build.serving import Serving
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.splits import refuse_written
from rag.errors import ConfigError, DataError
from rag.index.read import OpenIndex, open_index
from rag.progress import say
from rag.train.files import TrainingFiles, choose_watched
from rag.train.gate import question_ids, watched_ids
from rag.train.gate_reader import rows_to_judge
from rag.train.reader import is_reader
from rag.train.reader_dev import ReaderDev
from rag.train.reader_recipes import RECIPES, ReaderRecipe
from rag.train.reader_rows import ReaderRow, make_rows
from rag.train.recipes import chosen_recipe
from rag.train.run import Watch


@dataclass(frozen=True, slots=True)
class ReaderJob:
    """What a reader is trained with, and the dev questions that judge it afterwards."""

    recipe: ReaderRecipe
    start: Path
    """The checkpoint to start from."""
    index: OpenIndex
    rows: Sequence[ReaderRow]
    dev: ReaderDev
    watch: Watch
    judged: Sequence[Example]


def prepare_reader(
    serving: Serving,
    files: TrainingFiles,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> ReaderJob:
    """Read the files, choose the recipe and the start, make the rows; `base` as in `tune_reader`.

    Whatever can be refused is refused here, before anything is trained: ConfigError, DataError.
    """
    chosen = serving.settings.training.reader
    recipe = chosen_recipe(RECIPES, recipe_name, "reader", serving.settings.training)
    start = _start(serving, base, recipe)
    index = open_index(serving.index_folder)
    training, held_out = files.splits(index.corpus, with_unanswerable=True)
    if with_gate:
        refuse_written(held_out)
    made = make_rows(training, index.corpus, recipe, _mined(files, index.corpus, training))
    say(made.summary())
    # What chose the model to start from is watched again: a question that has chosen a checkpoint judges none.
    chose = watched_ids(start)
    watched, judged = choose_watched(held_out, chosen.dev_questions, files.without, chose)
    dev = ReaderDev(rows_to_judge(serving, index.corpus, watched), [*chose, *question_ids(watched)])
    if not any(row.answers for row in dev.rows):
        raise DataError("no right passage of the dev questions holds their answer; name other questions with --dev")
    watch = Watch(evaluations=chosen.evaluations, report_to=chosen.report_to)
    return ReaderJob(recipe, start, index, made.rows, dev, watch, judged)


def _start(serving: Serving, base: str | None, recipe: ReaderRecipe) -> Path:
    """The checkpoint to start from; raises ConfigError where there is none, or the recipe does not fit it."""
    if base is not None:
        start = serving.find(base).folder
    else:
        model = serving.reranker_model()
        if model is None:
            raise ConfigError(
                "a reader starts from the reranker that serves; leave reranker.enabled = true, or name another model "
                "with --base"
            )
        start = model.folder
    if recipe.tuned_share < 1 and not is_reader(start):
        raise ConfigError(
            f"training.reader.tuned_share mixes the reader with the one that it starts from, and {start} is none; name "
            "a reader with --base, or leave it out"
        )
    return start


def _mined(files: TrainingFiles, corpus: Corpus, training: Sequence[Example]) -> dict[str, list[str]] | None:
    """Ids of mined negatives per question id; None where no file of them is named."""
    mined = files.mined(corpus, training)
    return None if mined is None else {qid: [pid for pid, _ in one.negatives] for qid, one in mined.items()}
