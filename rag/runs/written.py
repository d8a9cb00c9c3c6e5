"""Questions that the generator writes about the passages of an index, and its answers to them from these passages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from rag.build import parts
from rag.build.identity import generator_identity
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving
from rag.data.answers import references
from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.errors import ConfigError, DataError
from rag.evaluate.unanswerable import holds_answer
from rag.generate.builtin import get_prompt
from rag.generate.written import CHUNK_PASSAGES, MAX_NEW_TOKENS, Keep, Written, write_questions
from rag.generate.written_kinds import KINDS, QUESTION
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.runs.batch import questions_sha256
from rag.types import Generator, Hit, Passage, Response

CHUNK_ANSWERS = 16
SUMMARY_TOKENS = 160
PROMPT = "extract-v1"
"""Asks for a short phrase out of the passage, whose words can be looked for elsewhere."""


def question_generator(serving: Serving, max_new_tokens: int = MAX_NEW_TOKENS) -> Lazy[Generator]:
    """The generator of the settings for short texts, loaded when it is first needed."""
    return Lazy(lambda: parts.make_generator(serving.with_max_new_tokens(max_new_tokens).settings, interactive=False))


def write_training_questions(
    serving: Serving,
    target: str | Path,
    *,
    sample: int | None = None,
    generator: Lazy[Generator] | None = None,
    chunk_size: int = CHUNK_PASSAGES,
    kinds: Sequence[str] = (QUESTION,),
    round_trip: int = 0,
) -> Written:
    """Let the generator write a question for each passage of an index into a training file, or for `sample` of them.

    Of other `kinds` one text each. With a `round_trip` only what finds its passage again among so many is kept, by the
    retriever of the settings (Dai et al. 2022, https://arxiv.org/abs/2209.11755). It goes on after a kill, and raises,
    as `rag.generate.written.write_questions` does; ConfigError for a kind that is none.
    """
    if unknown := sorted(set(kinds) - KINDS.keys()):
        raise ConfigError(f"no kind of text is called {unknown[0]!r}; choose one of {', '.join(KINDS)}")
    kinds = tuple(kind for kind in KINDS if kind in kinds)
    index = open_index(serving.index_folder)
    identity: dict = {"index": index.manifest.fingerprint, "generator": generator_identity(serving.settings)}
    if kinds != (QUESTION,) or round_trip:  # files begun before there were kinds go on
        identity |= {"kinds": list(kinds), "round_trip": round_trip}
    length = MAX_NEW_TOKENS if kinds == (QUESTION,) else SUMMARY_TOKENS
    start = (generator or question_generator(serving, length)).get
    return write_questions(
        index.corpus,
        start,
        target,
        sample=sample,
        identity=identity,
        chunk_size=chunk_size,
        kinds=kinds,
        keep=_finding(serving, round_trip) if round_trip else None,
    )


def _finding(serving: Serving, k: int) -> Keep:
    """Keeps the texts that find their passage, or a copy of it, among the first `k`."""
    retriever = Lazy(serving.retriever)

    def keep(written: Sequence[tuple[str, Passage]]) -> list[bool]:
        found = retriever.get().retrieve([text for text, _ in written], k)
        return [
            any(hit.passage.id == passage.id or hit.passage.text == passage.text for hit in hits)
            for (_, passage), hits in zip(written, found, strict=True)
        ]

    return keep


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
