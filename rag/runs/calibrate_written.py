"""Choosing what a question is refused below without labelled questions: the generator writes them from the passages.

    as written   answerable: its own passage holds the answer's words
    withheld     unanswerable: searched without the passage's document, and without all else that holds these words
    near-twin    unanswerable: one of several names or numbers is exchanged, and no passage found holds both it and
                 the answer's words

The threshold lies in the middle between both kinds (`rag.evaluate.calibration`): people's questions are harder to tell
apart. For that reason no model of the evidence is fitted; the one that came with the reader is used.

A folder `calibration-questions` in the index keeps the questions and answers, one `calibration-run` the two runs:
`asked` of the questions as written, `refused` of the others. A kill costs no more than what was under way.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.build.identity import generator_identity
from rag.build.indexes import corpus_of
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving
from rag.build.threshold import calibration_beside
from rag.build.written import question_generator, write_training_questions
from rag.data.answers import references
from rag.data.labelled import Example, load_examples
from rag.data.near_twins import pieces, pieces_by_shape
from rag.data.passages import Corpus
from rag.data.questions import Question, sample_questions
from rag.evaluate.calibration_words import too_few
from rag.evaluate.evidence import calibrate_by
from rag.evaluate.unanswerable import Withheld, answers_twin, unanswered_twin
from rag.evidence import EvidenceModel, features_of
from rag.index.calibration import WRITTEN
from rag.lazy import Lazy
from rag.runs.batch import questions_sha256
from rag.runs.calibrate import OWN_RUN, calibration_identity, own_folder, require_reranker, store_calibration, unrefused
from rag.runs.withholding import WithholdingRetriever
from rag.runs.written import answered_examples
from rag.types import Response

PASSAGES = 100
"""How many passages are asked about by default."""
UNANSWERABLE_SHARE = 0.2
"""The share of questions without an answer that people are taken to ask: more than half of those made here have none.
On OpenQA it is .22 of the dev and .16 of the test questions."""
CHUNK_PASSAGES = 16
OWN_QUESTIONS = "calibration-questions"
WRITTEN_FILE, ANSWERS_FILE = "written.txt", "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Twin:
    """A near-twin of a question, and what was put in."""

    question: Question
    other: str


def make_written_calibration(
    serving: Serving,
    queries: str | Path | None,
    run_folder: str | Path | None,
    *,
    sample: int | None = None,
    min_precision: float,
    max_wrong_refusals: float,
) -> list[str]:
    """Choose the refusal threshold from questions that a model wrote, store it with the index; returns a summary.

    `queries` is a file that `rag questions` wrote for this index; None lets the generator write about `sample` random
    passages now (default: 100). Of a file, `sample` takes that many questions. `run_folder` keeps questions and scores
    (None: folders within the index). The limits are those of `make_calibration`. Raises ConfigError without a reranker,
    DataError where the generator writes no question, or answers none from its own passage.
    """
    require_reranker(serving)
    corpus = corpus_of(serving.index_folder)
    file, examples = _examples(serving, corpus, queries, run_folder, sample)
    identity = calibration_identity(serving, file)
    folder = Path(run_folder) if run_folder else own_folder(serving.index_folder, OWN_RUN, identity)
    asked = [example.question for example in examples]
    pipeline = make_pipeline(serving, interactive=False)
    found = unrefused(pipeline, asked, serving, folder / "asked", identity)
    refused, n_withheld = _refused(serving, corpus, examples, found, folder, identity)
    responses = [*found, *refused]
    made = {"as_written": len(found), "withheld": n_withheld, "near_twins": len(refused) - n_withheld}
    result = calibrate_by(
        _model_beside(serving),
        [features_of(response) for response in responses],
        [row < len(found) for row in range(len(responses))],
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
        unanswerable_share=UNANSWERABLE_SHARE,
    )
    lines = store_calibration(serving, result, {"queries": str(file), "questions": WRITTEN, "made": made})
    more = f"ask about more passages with --sample {2 * (sample or PASSAGES)}, or calibrate on questions of your own"
    by = "all evidence, weighed as the reader's own calibration does" if "evidence" in result else "the rerank score"
    return [
        f"{file}: {len(found):,} written questions are answered from their passages; without their documents "
        f"{n_withheld:,} are unanswerable, as near-twins {made['near_twins']:,}",
        *too_few(result, more),
        *lines,
        f"refused by {by}; people's questions are harder to tell apart than these",
    ]


def _model_beside(serving: Serving) -> EvidenceModel | None:
    """The model of all evidence that was fitted to people's questions, and came with the reader; None without one."""
    if serving.reranker is None:
        return None
    beside = calibration_beside(serving.settings, serving.reranker, serving.reader)
    return None if beside is None else EvidenceModel.of(beside["evidence"])


def _examples(
    serving: Serving, corpus: Corpus, queries: str | Path | None, run_folder: str | Path | None, sample: int | None
) -> tuple[Path, list[Example]]:
    """(the file of the questions, those of them that are answered from their passages); each text once."""
    identity = {
        "index": serving.manifest.fingerprint,
        "generator": generator_identity(serving.settings),
        "passages": sample or PASSAGES,
        "queries": None,
    }
    chosen: list[Example] = []
    if queries is not None:
        chosen = _sampled(load_examples(queries, corpus).examples, sample)
        identity |= {"passages": None, "queries": questions_sha256([example.question for example in chosen])}
    folder = Path(run_folder) if run_folder else own_folder(serving.index_folder, OWN_QUESTIONS, identity)
    generator = question_generator(serving.settings)
    file = Path(queries) if queries is not None else folder / WRITTEN_FILE
    if queries is None:
        write_training_questions(
            serving, file, sample=sample or PASSAGES, generator=generator, chunk_size=CHUNK_PASSAGES
        )
        chosen = _sampled(load_examples(file, corpus).examples, None)
    answered = answered_examples(serving, chosen, corpus, folder / ANSWERS_FILE, generator)
    generator.release()
    return file, answered


def _sampled(examples: Sequence[Example], n: int | None) -> list[Example]:
    """`n` of the examples, drawn at random (None: all), none of whose questions reads as another does."""
    by_text = {example.question.rewrite: example for example in reversed(examples)}
    once = [example for example in examples if by_text[example.question.rewrite] is example]
    if n is None:
        return once
    taken = {question.id for question in sample_questions([example.question for example in once], n)}
    return [example for example in once if example.question.id in taken]


def _refused(
    serving: Serving,
    corpus: Corpus,
    examples: Sequence[Example],
    found: Sequence[Response],
    folder: Path,
    identity: dict,
) -> tuple[list[Response], int]:
    """(what the unanswerable questions find, how many of these are withheld ones), the withheld ones first.

    `found` is what the questions find as they were written. Left out are those that find nothing any more, and
    near-twins that a passage found seems to answer.
    """
    withheld = {
        example.question.rewrite: Withheld.of(
            [corpus.by_id(pid) for pid in example.positives], references(example.question)
        )
        for example in examples
    }
    alone = [_renamed(example.question, "withheld") for example in examples]
    twins = _twins(corpus, examples, found)
    pipeline = make_pipeline(serving, interactive=False)
    settings = serving.settings
    pipeline.retriever = Lazy(
        lambda: WithholdingRetriever(
            serving.retrievers(), settings.retriever.kind, withheld, least=settings.prompt.contexts
        )
    )
    responses = unrefused(
        pipeline,
        [*alone, *(twin.question for twin in twins)],
        serving,
        folder / "refused",
        identity | {"withheld": [list(one.answers) for one in withheld.values()]},
        reuse=[folder / "asked"],
    )
    without = [response for response in responses[: len(alone)] if response.reranked]
    unanswered = [
        response
        for twin, response in zip(twins, responses[len(alone) :], strict=True)
        if response.reranked
        and not any(
            answers_twin(hit.passage.content, twin.other, references(twin.question)) for hit in response.reranked
        )
    ]
    return [*without, *unanswered], len(without)


def _twins(corpus: Corpus, examples: Sequence[Example], found: Sequence[Response]) -> list[Twin]:
    """A near-twin of each question that has one: nothing that the question finds answers it, and nobody asks it.

    A name or number has to stay beside the one that is exchanged. Else the near-twin is a question about something else
    in the same documents, which may well answer it.
    """
    asked = {example.question.rewrite for example in examples}
    others = pieces_by_shape(asked)
    twins = {}
    for example, response in zip(examples, found, strict=True):
        if len(pieces(example.question.rewrite)) < 2:
            continue
        texts = [corpus.by_id(pid).content for pid in example.positives]
        texts += [hit.passage.content for hit in response.reranked]
        question = example.question
        # Seeded by question: its near-twin is the same whatever other questions stand beside it.
        made = unanswered_twin(question.rewrite, others, random.Random(question.id), texts, references(question))
        if made is not None and made[0] not in asked:
            twin = dataclasses.replace(_renamed(question, "near-twin"), text=made[0], rewrite=made[0])
            twins[made[0]] = Twin(twin, made[1])
    return list(twins.values())


def _renamed(question: Question, kind: str) -> Question:
    """The question under an id of its own."""
    return dataclasses.replace(question, id=f"{question.id} {kind}")
