"""The generator's answers to questions that it wrote about the passages of an index, from these passages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from rag.build.identity import generator_identity
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving
from rag.data.answers import references
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.errors import DataError
from rag.evaluate.unanswerable import holds_answer
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.runs.batch import questions_sha256
from rag.types import Generator, Hit, Response

CHUNK_ANSWERS = 16
PROMPT = "extract-v1"
"""Asks for a short phrase out of the passage, whose words can be looked for elsewhere."""


def answered_examples(
    serving: Serving, examples: Sequence[Example], corpus: Corpus, target: str | Path, generator: Lazy[Generator]
) -> list[Example]:
    """The questions whose right passages hold their answer's words, with their answers.

    A question without a known answer is answered by the generator from its right passages alone; the answers are kept
    in the file `target`. Where it refuses, or answers in words that are not there, the question is left out: such a
    check rids written questions of many that nobody can answer (Alberti et al. 2019, https://arxiv.org/abs/1906.05416).
    Raises RunMismatchError where the file holds the answers to other questions, DataError where no question is left.
    """
    unknown = [example for example in examples if not references(example.question)]
    found = _answers(serving, unknown, corpus, Path(target), generator) if unknown else {}
    answered = []
    for example in examples:
        answer = found.get(example.question.id, example.question.answer)
        known = dataclasses.replace(example, question=dataclasses.replace(example.question, answer=answer))
        answers = references(known.question)
        if any(holds_answer(corpus.by_id(pid).content, answers) for pid in example.positives):
            answered.append(known)
    if not answered:
        raise DataError(
            f"the generator answered none of {len(examples):,} questions from their own passages; choose a larger "
            "model: --set generator.model=MODEL"
        )
    return answered


def _answers(
    serving: Serving, examples: Sequence[Example], corpus: Corpus, target: Path, generator: Lazy[Generator]
) -> dict[str, str]:
    """The generator's answer to each question, by its id; those that the file `target` lacks are made first."""
    pipeline = make_pipeline(serving, interactive=False)
    # The right passages are shown whole, whatever they score.
    pipeline.rerank_threshold = pipeline.sentence_margin = pipeline.reading = None
    pipeline.generator = generator
    pipeline.prompt = dataclasses.replace(get_prompt(PROMPT), withhold=pipeline.prompt.withhold)
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = {
        "generator": generator_identity(serving.settings),
        "prompt_sha256": pipeline.prompt.sha256(),
        "questions": questions_sha256([example.question for example in examples]),
    }
    remember(target.with_suffix(".settings.json"), identity, target)
    done = resume_jsonl(target)
    todo = [example for example in examples if example.question.id not in done]

    def rows(chunk: Sequence[Example]) -> Iterable[dict]:
        given = [
            Response(example.question.query, reranked=tuple(Hit(corpus.by_id(pid), 0.0) for pid in example.positives))
            for example in chunk
        ]
        for response in pipeline.parse(pipeline.generate(given)):
            assert response.answer is not None  # every question is answered, or refused
            yield {"qid": response.query.id, "query": response.query.text, "answer": response.answer.text}

    n_done = len(examples) - len(todo)
    append_rows(target, todo, rows, label="Answering", n_done=n_done, chunk_size=CHUNK_ANSWERS)
    return {row["qid"]: row["answer"] for row in read_jsonl(target)}
