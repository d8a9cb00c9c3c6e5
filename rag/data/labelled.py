"""Training questions with their gold passages, and checks that no split leaks into another.

Course layout: each row of `train.txt` carries `evidences` (passage texts) and `retrieval_labels` (1 where the evidence
answers the question); `qrels.txt` beside it may know of further passages that do, where evidences were cut to a few.
BEIR layout: `queries.jsonl` and `qrels/train.tsv`.
Tables, and rows in the layouts of other libraries: `rag.data.source` and `rag.data.evidences`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.evidences import NO_LABELS, Evidence, evidences_of, holds_evidences
from rag.data.packed import or_packed
from rag.data.passages import Corpus
from rag.data.qrels import load_qrels
from rag.data.questions import Question, holds_json, load_questions, numbered_questions
from rag.data.rows import line_error
from rag.data.source import Source, source_of
from rag.data.tables import open_table
from rag.errors import DataError
from rag.types import CANNOTANSWER, Qrels

JUDGEMENTS_FILE = "qrels.txt"
WRITTEN = "written_"
"""What the ids of questions begin with that a model wrote."""
LABELLED = "labelled_"
"""What the ids of questions begin with that people asked, and a model found the passages of."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the ids of the passages that answer it (none: it is unanswerable), and of those judged not to."""

    question: Question
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples that can be trained on, and why other questions of the file cannot."""

    examples: tuple[Example, ...]
    n_questions: int
    n_unanswerable: int = 0
    n_gold_missing: int = 0
    n_unknown_evidences: int = 0
    unanswerable: tuple[Example, ...] = ()
    """Questions without a gold passage whose reference says CANNOTANSWER."""
    n_completed: int = 0
    """Questions to whose labels the judgements beside the file have added gold passages."""

    @property
    def gold(self) -> set[str]:
        """The ids of all gold passages."""
        return {pid for example in self.examples for pid in example.positives}

    def summary(self, name: str, *, with_unanswerable: bool = False) -> str:
        """One line: how many of how many, and what was left out."""
        taken = len(self.unanswerable) if with_unanswerable else 0
        left_out = []
        if self.n_unanswerable > taken:
            left_out.append(f"{self.n_unanswerable - taken:,} unanswerable")
        if self.n_gold_missing:
            left_out.append(f"{self.n_gold_missing:,} whose gold passage is not in the corpus")
        text = f"{name}: {len(self.examples) + taken:,} of {self.n_questions:,} questions"
        if taken:
            text += f", {taken:,} of them unanswerable"
        if self.n_completed:
            text += f", {self.n_completed:,} with more gold passages from {JUDGEMENTS_FILE}"
        if self.n_unknown_evidences:
            left_out.append(f"{self.n_unknown_evidences:,} evidences that the corpus lacks")
        return f"{text} (left out: {', '.join(left_out)})" if left_out else text


def load_examples(
    path: str | Path, corpus: Corpus, qrels: str | Path | None = None, *, split: str = "train"
) -> ExampleSet:
    """Examples from `train.txt`, a table, a BEIR folder, or any questions with a file of judgements.

    A `qrels.txt` beside `train.txt` completes its labels (an evidence labelled 0 stays 0); `qrels` given say which
    passages answer, and an evidence labelled 0 that they do not name stays a negative. Of a BEIR folder only the
    questions judged in `qrels/SPLIT.tsv` are taken, of a folder given as `qrels` only that file. A positive that the
    corpus lacks is dropped; a question left without one is counted and skipped. Raises DataError naming file and line,
    and where nothing is left to train on.
    """
    source = source_of(path)
    if qrels is None and source.kind == "folder":
        qrels = source.path
    if qrels is not None and source_of(qrels).kind == "folder":
        qrels = _of_split(Path(qrels), split)
    examples = _judged(source, corpus, qrels) if qrels is not None else _labelled(source, corpus, _beside(source))
    if not examples.examples:
        raise DataError(
            f"{source} holds no question whose gold passage is in the corpus ({examples.n_questions:,} questions, "
            f"{examples.n_unanswerable:,} unanswerable); is it the corpus that belongs to it?"
        )
    return examples


def _of_split(folder: Path, split: str) -> Path:
    """One split's judgements in a BEIR folder, or in its folder of judgements."""
    file = or_packed((folder / "qrels" if (folder / "qrels").is_dir() else folder) / f"{split}.tsv")
    if not file.is_file():
        raise DataError(f"{folder} holds no qrels/{split}.tsv; name a course file ({split}.txt) or a BEIR folder")
    return file


def _judged(source: Source, corpus: Corpus, qrels_path: str | Path) -> ExampleSet:
    """Examples of any questions, whose passages the judgements name."""
    questions = load_questions(source)
    qrels = load_qrels(qrels_path)
    if source.kind == "folder":  # BEIR keeps the questions of every split in one file
        questions = [question for question in questions if question.id in qrels]
    labelled_0: dict[str, tuple[str, ...]] = {}
    if source.is_table or (source.path.is_file() and holds_json(source.path)):
        labelled_0 = {row.question.id: row.negatives for row in _label_rows(source, corpus, needed=False)}
    examples: list[Example] = []
    without: list[Example] = []
    n_missing = 0
    for question in questions:
        judged = qrels.get(question.id, {})
        gold = [pid for pid, grade in judged.items() if grade > 0]
        positives = tuple(pid for pid in gold if pid in corpus)
        refuted = [*labelled_0.get(question.id, ()), *(pid for pid, grade in judged.items() if grade <= 0)]
        negatives = tuple(pid for pid in dict.fromkeys(refuted) if pid in corpus and pid not in positives)
        if positives:
            examples.append(Example(question, positives, negatives))
        elif gold:
            n_missing += 1
        else:
            without.append(Example(question, (), negatives))
    return ExampleSet(
        tuple(examples),
        n_questions=len(questions),
        n_unanswerable=len(without),
        n_gold_missing=n_missing,
        unanswerable=_unanswerable(without),
    )


def _beside(source: Source) -> Qrels:
    """The judgements beside a file of labelled questions; none where there is no such file."""
    judgements = or_packed(source.path.parent / JUDGEMENTS_FILE)
    is_there = source.kind != "hub" and judgements.is_file() and judgements != source.path
    return load_qrels(judgements) if is_there else {}


@dataclass(frozen=True, slots=True)
class _LabelRow:
    """What the rows of a question say of its passages: ids of those labelled 1, of those labelled 0."""

    question: Question
    labelled: tuple[str, ...]
    negatives: tuple[str, ...]
    has_gold: bool
    n_unknown: int

    def with_row(self, other: _LabelRow) -> _LabelRow:
        """What two rows of the same question say together; one that answers in one of them does."""
        labelled = tuple(dict.fromkeys([*self.labelled, *other.labelled]))
        negatives = dict.fromkeys(pid for pid in [*self.negatives, *other.negatives] if pid not in labelled)
        has_gold, n_unknown = self.has_gold or other.has_gold, self.n_unknown + other.n_unknown
        return _LabelRow(self.question, labelled, tuple(negatives), has_gold, n_unknown)


def _label_rows(source: Source, corpus: Corpus, *, needed: bool) -> Iterable[_LabelRow]:
    """The labels of every question.

    A row without labels that can be used is a DataError where they are `needed`, else it is skipped, and so is every
    layout but that of the course.
    """
    known = _Known(corpus)
    found: dict[str, _LabelRow] = {}
    if source.is_table:
        columns = open_table(source).columns
        if not holds_evidences(source, columns):
            if not needed:
                return
            raise source.lacks("a passage that answers", "positive", columns, ", or name judgements with --qrels")
    for number, row, question in numbered_questions(source):
        is_course = "evidences" in row or "retrieval_labels" in row
        try:
            evidences = evidences_of(row, source, number, question.answer) if needed or is_course else None
        except DataError:
            if needed:
                raise
            continue
        if evidences is None and needed:
            raise line_error(source, number, NO_LABELS, "write a 0 or 1 per evidence")
        if evidences is None:
            continue
        one = known.labels(question, evidences)
        if source.is_table and question.id in found and found[question.id].question.text == question.text:
            one = found[question.id].with_row(one)
        found[question.id] = one
    yield from found.values()


class _Known:
    """The passages of a corpus by their texts; a title alone is no evidence."""

    def __init__(self, corpus: Corpus):
        self._corpus = corpus
        self._ids: dict[str, list[str]] = defaultdict(list)
        for passage in corpus:
            if passage.text:
                self._ids[passage.text].append(passage.id)

    def labels(self, question: Question, evidences: Sequence[Evidence]) -> _LabelRow:
        """What a row says of the passages that the corpus has: an evidence is found by its id, else by its text."""
        ids = [(one.answers, self._of(one)) for one in evidences]
        labelled, negatives = (
            tuple(dict.fromkeys(pid for answers, own in ids if answers == wanted for pid in own))
            for wanted in (True, False)
        )
        return _LabelRow(
            question, labelled, negatives, any(one.answers for one in evidences), sum(not own for _, own in ids)
        )

    def _of(self, evidence: Evidence) -> Sequence[str]:
        if evidence.id and evidence.id in self._corpus:
            return [evidence.id]
        return self._ids.get(evidence.text, ())


def _labelled(source: Source, corpus: Corpus, judged: Qrels) -> ExampleSet:
    """Examples of rows with passages, whose labels `judged` completes."""
    load_questions(source)  # a question that stands twice, or none, is told first
    examples: list[Example] = []
    without: list[Example] = []
    n_questions = n_missing = n_unknown = n_completed = 0
    for row in _label_rows(source, corpus, needed=True):
        question = row.question
        known = [pid for pid, grade in judged.get(question.id, {}).items() if grade > 0 and pid in corpus]
        positives = tuple(dict.fromkeys([*row.labelled, *(pid for pid in known if pid not in row.negatives)]))
        n_questions += 1
        n_unknown += row.n_unknown
        if len(positives) > len(row.labelled):
            n_completed += 1
        if positives:
            examples.append(Example(question, positives, tuple(pid for pid in row.negatives if pid not in positives)))
        elif row.has_gold:
            n_missing += 1
        else:
            without.append(Example(question, (), row.negatives))
    return ExampleSet(
        tuple(examples),
        n_questions=n_questions,
        n_unanswerable=len(without),
        n_gold_missing=n_missing,
        n_unknown_evidences=n_unknown,
        unanswerable=_unanswerable(without),
        n_completed=n_completed,
    )


def _unanswerable(without: Sequence[Example]) -> tuple[Example, ...]:
    """Those questions without a gold passage that are known to have none; the others may not have been judged."""
    return tuple(example for example in without if example.question.answer == CANNOTANSWER)


def random_passages(
    n: int, corpus: Corpus, example: Example, rng: random.Random, taken: Iterable[str] = ()
) -> list[str]:
    """The ids of `n` random passages; fewer where the corpus has fewer.

    None of them is `taken`, or a gold passage of the example, or reads as one of these does.
    """
    left_out = {*taken, *example.positives}
    texts = {plain(corpus.by_id(pid).text) for pid in example.positives}
    drawn: list[str] = []
    for row in _shuffled(len(corpus), rng):
        if len(drawn) == n:
            break
        passage = corpus[row]
        if passage.id not in left_out and plain(passage.text) not in texts:
            drawn.append(passage.id)
    return drawn


def share_of(n: int, share: float, rng: random.Random) -> int:
    """`share` of `n`, rounded up or down at random, so that the mean over many draws is exact."""
    return int(n * share + rng.random())


def _shuffled(n: int, rng: random.Random) -> Iterator[int]:
    """The numbers below `n` in random order, without a list of all of them: few are asked for."""
    moved: dict[int, int] = {}
    for place in range(n):
        other = rng.randrange(place, n)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)


def plain(text: str) -> str:
    """The text without capitals and extra spaces: equal for copies of a text."""
    return " ".join(text.lower().split())


def asked(examples: Sequence[Example]) -> list[list]:
    """What is asked and answered, for a digest."""
    return [[example.question.id, example.question.rewrite, sorted(example.positives)] for example in examples]
