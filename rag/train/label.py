"""Training labels for questions that nobody judged: the cross-encoder finds the passages that answer them.

Questions come from people: those asked in the chat, or a list of answered questions without passages. The candidates
are found by words (BM25) and by meaning, and the cross-encoder scores them: Augmented SBERT (Thakur et al. 2021,
https://arxiv.org/abs/2010.08240).

A candidate is taken to answer a question

    with an answer      if it holds the answer's words, no other that does scores higher, and it is not ruled out
    otherwise           if no other candidate scores higher, and it scores `min_score` or more

One passage is taken, since a short answer stands in many that do not answer. What else holds the answer's words may be
right as well, so it is not taken for a negative either.

Where a question has an answer, the cross-encoder is given both for this choice, since the answer tells which passage is
meant. What is learnt from later, the soft labels, are its scores of the question alone. A question without a passage
that it is sure of is left out: a wrong label teaches worse than none.

OUT                    questions with their passages, in the layout of `train.txt`
OUT.negatives.jsonl    the other candidates, with all scores, as `rag mine` writes them
OUT.scored.jsonl       every candidate with its scores, from which a killed run goes on
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rag.build.serving import Serving
from rag.config import RetrieverKind
from rag.data.answers import references
from rag.data.labelled import LABELLED, WRITTEN, Example
from rag.data.passages import Corpus
from rag.data.questions import Question, load_questions, sample_questions
from rag.data.splits import refuse_test_file
from rag.errors import ConfigError, DataError
from rag.evaluate.unanswerable import holds_answer
from rag.files import json_line, write_json, write_whole
from rag.index.read import open_index
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.train.mine import pair_scorer
from rag.train.negatives import MiningSettings, PairScorer, choose_negatives, interleaved, settings_of
from rag.train.run import digest
from rag.types import CANNOTANSWER, Retriever

CHUNK_QUESTIONS = 64
EXAMPLES_TO_READ = 5
RULED_OUT = 0.1
"""A passage that holds the answer's words is taken for another matter where the cross-encoder gives it less."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """How many questions were read and labelled, by which rule; why others were not; some (question, passage) pairs."""

    n_questions: int
    by_rule: Mapping[str, int]
    left_out: Mapping[str, int]
    examples: tuple[tuple[str, str], ...]

    @property
    def n_labelled(self) -> int:
        return sum(self.by_rule.values())


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A passage that was found: by what, and its probabilities for the question, and for question and answer."""

    id: str
    origin: str
    score: float
    with_answer: float


def label_questions(
    serving: Serving,
    questions: str | Path,
    target: str | Path,
    *,
    min_score: float = 0.5,
    retrievers: Sequence[str] = ("bm25", "dense"),
    depth: int = 8,
    per_question: int = 7,
    sample: int | None = None,
) -> Labelled:
    """Find the passages that answer the questions of a file, by the reranker that serves, and write training files.

    Started again after a kill it does the rest; `min_score` may change without scoring again. Raises ConfigError where
    no reranker serves, DataError for a test file and where no question can be labelled, RunMismatchError where the
    files were made otherwise.
    """
    if unknown := sorted(set(retrievers) - set(get_args(RetrieverKind))):
        raise ConfigError(f"no retriever is called {unknown[0]!r}; choose one of {', '.join(get_args(RetrieverKind))}")
    refuse_test_file(questions)
    target = Path(target)
    if target.resolve() == Path(questions).resolve():
        raise ConfigError(f"{target} holds the questions; name another file with -o")
    asked, left_out = _askable(load_questions(questions), sample)
    index = open_index(serving.index_folder)
    score, scorer_sha256 = pair_scorer(serving, index, "reranker")
    assert score is not None  # a cross-encoder scores, or it was refused
    available = serving.retrievers()
    identity = {
        "index": index.manifest.fingerprint,
        **serving.query_identity(),
        "retrievers": list(retrievers),
        "depth": depth,
        "scorer_sha256": scorer_sha256,
        "questions": digest([one.id, one.rewrite, references(one)] for one in asked),
    }
    scored = target.with_suffix(".scored.jsonl")
    chosen = {kind: available.get(kind) for kind in retrievers}
    candidates = _score(asked, chosen, score, depth, scored, identity)
    mining = MiningSettings(per_question, depth)
    return _write(asked, candidates, index.corpus, min_score, mining, target, identity, left_out)


def _askable(questions: Sequence[Question], sample: int | None) -> tuple[list[Question], Counter[str]]:
    """(questions that may have an answer in the corpus, each text once; how many others there are, by why)."""
    left_out: Counter[str] = Counter()
    once: dict[str, Question] = {}
    for question in questions:
        if question.answer == CANNOTANSWER:
            left_out["unanswerable"] += 1
        elif question.rewrite.lower() in once:
            left_out["asked before"] += 1
        else:
            once[question.rewrite.lower()] = question
    asked = list(once.values())
    return (asked if sample is None else sample_questions(asked, sample)), left_out


def _score(
    asked: Sequence[Question],
    retrievers: Mapping[str, Retriever],
    score: PairScorer,
    depth: int,
    file: Path,
    identity: Mapping,
) -> dict[str, list[_Candidate]]:
    """The candidates of each question by its id, in the order in which they were found; kept in `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    remember(settings_of(file), identity, file)
    done = resume_jsonl(file)
    todo = [question for question in asked if question.id not in done]

    def rows(chunk: Sequence[Question]) -> Iterable[dict]:
        queries = [question.rewrite for question in chunk]
        lists = {name: retriever.retrieve(queries, depth) for name, retriever in retrievers.items()}
        found = [
            interleaved({name: [hit.passage.id for hit in hits[row]] for name, hits in lists.items()})
            for row in range(len(chunk))
        ]
        pairs = [(one.rewrite, pid) for one, pids in zip(chunk, found, strict=True) for pid in pids]
        answered = [
            (f"{one.rewrite} {answers[0]}", pid)
            for one, pids in zip(chunk, found, strict=True)
            if (answers := references(one))
            for pid in pids
        ]
        values = iter(score([*pairs, *answered]))
        alone = [[round(float(next(values)), 6) for _ in pids] for pids in found]
        for one, pids, own in zip(chunk, found, alone, strict=True):
            both = [round(float(next(values)), 6) for _ in pids] if references(one) else own
            yield {
                "qid": one.id,
                "candidates": [list(each) for each in zip(pids, pids.values(), own, both, strict=True)],
            }

    append_rows(file, todo, rows, label="Labelling", n_done=len(asked) - len(todo), chunk_size=CHUNK_QUESTIONS)
    return {row["qid"]: [_Candidate(*each) for each in row["candidates"]] for row in read_jsonl(file)}


def _write(
    asked: Sequence[Question],
    candidates: Mapping[str, Sequence[_Candidate]],
    corpus: Corpus,
    min_score: float,
    mining: MiningSettings,
    target: Path,
    identity: Mapping,
    left_out: Counter[str],
) -> Labelled:
    """Write the training file and its negatives."""
    by_rule: Counter[str] = Counter()
    rows, mined, shown = [], [], []
    for question in asked:
        found = candidates.get(question.id, ())
        positives, why = positives_of(question, found, corpus, min_score)
        if not positives:
            left_out[why] += 1
            continue
        by_rule[why] += 1
        own = dataclasses.replace(question, id=_qid(question))
        example = Example(own, positives)
        doubtful = {one.id for one in _holding(question, found, corpus)} - set(positives)
        origins = {one.id: one.origin for one in found if one.id not in doubtful}
        scores = {one.id: one.score for one in found}
        rows.append(json_line(_row(own, positives, scores, corpus)))
        mined.append(json_line(dataclasses.asdict(choose_negatives(example, origins, scores, corpus, mining))))
        shown.append((question.rewrite, corpus.by_id(positives[0]).text))
    if not rows:
        told = ", ".join(f"{n:,} {why}" for why, n in left_out.items())
        raise DataError(f"no question could be labelled ({told}); lower --min-score, or ask what the documents answer")
    negatives = negatives_beside(target)
    # The scores are the reranker's: recipes that learn from them look for that here (`mined_by`).
    write_json(settings_of(negatives), {**identity, "scorer": "reranker", "min_score": min_score})
    write_whole(negatives, b"".join(mined))
    write_whole(target, b"".join(rows))
    return Labelled(len(asked), dict(by_rule), dict(left_out), tuple(shown[:: -(-len(shown) // EXAMPLES_TO_READ)]))


def negatives_beside(target: Path) -> Path:
    """The file of scored candidates beside a file of labelled questions."""
    return target.with_suffix(".negatives.jsonl")


def positives_of(
    question: Question, found: Sequence[_Candidate], corpus: Corpus, min_score: float
) -> tuple[tuple[str, ...], str]:
    """(ids of the candidates taken to answer: one; the rule that chose them); or none of them, and why."""
    if not found:
        return (), "nothing found"
    held = [one for one in _holding(question, found, corpus) if one.with_answer >= RULED_OUT]
    if held:
        return (_best(held).id,), "by the words of their answer"
    best_one = _best(found)
    if best_one.with_answer < min_score:
        return (), "without a passage that scores enough"
    return (best_one.id,), "by the reranker's score"


def _holding(question: Question, found: Sequence[_Candidate], corpus: Corpus) -> list[_Candidate]:
    """The candidates that hold the answer's words; none where there is no answer."""
    answers = references(question)
    return [one for one in found if answers and holds_answer(corpus.by_id(one.id).content, answers)]


def _best(found: Sequence[_Candidate]) -> _Candidate:
    return min(found, key=lambda one: (-one.with_answer, one.id))


def _qid(question: Question) -> str:
    return question.id if question.id.startswith((LABELLED, WRITTEN)) else f"{LABELLED}{question.id}"


def _row(question: Question, positives: Sequence[str], scores: Mapping[str, float], corpus: Corpus) -> dict:
    """A row in the layout of `train.txt`, with the reranker's score of each passage."""
    row: dict = {
        "qid": question.id,
        "question": question.text,
        "rewrite": question.rewrite,
        "evidences": [corpus.by_id(pid).text for pid in positives],
        "retrieval_labels": [1] * len(positives),
        "scores": [scores[pid] for pid in positives],
        "source": question.source,
    }
    if question.answer is not None:
        row["answer"] = {"text": question.answer, "aliases": list(question.aliases)}
    return row
