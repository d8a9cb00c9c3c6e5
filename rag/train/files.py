"""The files of a training run: questions to train on, dev questions, mined negatives."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from rag.data.labelled import Example, load_examples
from rag.data.passages import Corpus
from rag.data.questions import sample_questions
from rag.data.source import source_of
from rag.data.splits import overlaps, refuse_test_file, split_by_document
from rag.errors import DataError
from rag.progress import say
from rag.train.negatives import Mined, load_mined
from rag.types import document_of


def sample_examples(examples: Sequence[Example], sample: int | None) -> list[Example]:
    """`sample` of the answerable questions, each source in its share, and the same share of the unanswerable ones.

    None keeps them all.
    """
    if sample is None:
        return list(examples)
    answerable = [example.question for example in examples if example.positives]
    others = [example.question for example in examples if not example.positives]
    n_others = round(len(others) * min(sample / max(len(answerable), 1), 1.0))
    drawn = [*sample_questions(answerable, sample), *sample_questions(others, n_others)]
    wanted = {question.id for question in drawn}
    return [example for example in examples if example.question.id in wanted]


def choose_watched(
    held_out: Sequence[Example], n: int, without: Sequence[str] = (), before: Set[str] = frozenset()
) -> tuple[list[Example], list[Example]]:
    """(dev questions watched while training, dev questions left for the gate).

    They are different ones, because the watched ones choose the checkpoint and so cannot judge it. `n` answerable ones
    are watched, and the same share of the unanswerable ones. None of them is of a source left out of training
    (`without`), and at most half of the others are watched, so that the gate also judges what was trained for. Those
    that chose the model to start from, `before`, are watched again.

    Raises DataError where nothing is left to watch, or to judge.
    """
    of_trained = [example for example in held_out if example.question.source not in without]
    n_answerable = sum(bool(example.positives) for example in of_trained)
    if n_answerable < 2:
        which = "of sources that are trained on" if without else "or more"
        raise DataError(
            f"dev needs two answerable questions {which}: some to watch the training by, others for the gate"
        )
    drawn = sample_examples(of_trained, min(n, n_answerable // 2))
    ids = {example.question.id for example in drawn} | before
    watched = [example for example in held_out if example.question.id in ids]
    if not any(example.positives for example in held_out if example.question.id not in ids):
        raise DataError("every dev question has chosen a checkpoint on the way to this model; name others with --dev")
    return watched, [example for example in held_out if example.question.id not in ids]


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """What a model is trained and chosen on.

    `sample` keeps that many training questions, each source in its share, among those that `negatives` were mined for.
    `without` leaves whole sources out of training but not out of dev, to see what tuning does to a kind of question
    that it has not met.
    """

    train: str | Path
    dev: str | Path | None = None
    qrels: str | Path | None = None
    negatives: str | Path | None = None
    sample: int | None = None
    without: tuple[str, ...] = ()

    def splits(self, corpus: Corpus, *, with_unanswerable: bool = False) -> tuple[list[Example], list[Example]]:
        """(train, dev) examples; says what is left out and what overlaps. Without a dev file, documents are held out.

        With unanswerable questions both hold examples without positives. Raises DataError for a test file, and for
        questions that are in both files.
        """
        refuse_test_file(self.train, self.dev, self.qrels)
        given = load_examples(self.train, corpus, self.qrels)
        say(given.summary(str(self.train), with_unanswerable=with_unanswerable))
        unanswerable = given.unanswerable if with_unanswerable else ()
        if self.dev is None:
            training, held_out = _split_by_document(given.examples, unanswerable)
            say(f"dev: {len(held_out):,} questions split off by document")
            return self._chosen(training, corpus), held_out
        is_folder = source_of(self.dev).kind == "folder"
        chosen = load_examples(self.dev, corpus, None if is_folder else self.qrels, split="dev")
        say(chosen.summary(str(self.dev), with_unanswerable=with_unanswerable))
        for overlap in overlaps({"train": given.gold, "dev": chosen.gold}):
            say(f"warning: {overlap}")
        training = [*given.examples, *unanswerable]
        held_out = [*chosen.examples, *(chosen.unanswerable if with_unanswerable else ())]
        same = {example.question.id for example in training} & {example.question.id for example in held_out}
        if same:
            raise DataError(f"{len(same):,} questions, such as {min(same)!r}, stand in {self.train} and in {self.dev}")
        return self._chosen(training, corpus), held_out

    def _chosen(self, examples: Sequence[Example], corpus: Corpus) -> list[Example]:
        """The examples to train on: `without` some sources, and a `sample` of the rest."""
        sources = {example.question.source for example in examples}
        if unknown := sorted(set(self.without) - sources):
            known = ", ".join(sorted(sources - {""})) or "none is named"
            raise DataError(f"no question of {self.train} is of the source {unknown[0]!r}; its sources: {known}")
        left = [example for example in examples if example.question.source not in self.without]
        if not left:
            raise DataError(f"{self.train} holds no question of another source than {', '.join(self.without)}")
        if self.sample is not None and self.negatives is not None:
            # The sample that was mined may be another one, and then few of this one would have negatives.
            mined = load_mined(self.negatives, corpus)
            left = [example for example in left if example.question.id in mined] or left
        return sample_examples(left, self.sample)

    def mined(self, corpus: Corpus, training: Sequence[Example]) -> dict[str, Mined] | None:
        """Mined negatives by question id; None where no file of them is named.

        Raises DataError where they were mined for other questions.
        """
        if self.negatives is None:
            return None
        mined = load_mined(self.negatives, corpus)
        asked_of = {example.question.id: example.question.rewrite for example in training}
        if other := next((qid for qid, query in asked_of.items() if qid in mined and mined[qid].query != query), None):
            raise DataError(
                f"{self.negatives} was mined for another question {other!r} than {self.train} holds; mine for this file"
            )
        return mined


def _split_by_document(
    answerable: Sequence[Example], unanswerable: Sequence[Example]
) -> tuple[list[Example], list[Example]]:
    """(train, dev): the unanswerable questions follow the documents of the passages judged not to answer them."""
    training, held_out = split_by_document(answerable)
    documents = {document_of(pid) for example in held_out for pid in example.positives}
    for example in unanswerable:
        is_about_dev = any(document_of(pid) in documents for pid in example.negatives)
        (held_out if is_about_dev else training).append(example)
    return training, held_out
