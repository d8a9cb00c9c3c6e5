"""Questions and other texts that the generator of the settings writes about the passages of an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.build import parts
from rag.build.identity import generator_identity
from rag.build.round_trip import keep_found
from rag.build.serving import Serving
from rag.config import Settings
from rag.errors import ConfigError
from rag.generate.written import CHUNK_PASSAGES, MAX_NEW_TOKENS, Written, examples_of, write_questions
from rag.generate.written_kinds import KINDS, QUESTION
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.resume import read_jsonl, remember
from rag.types import Generator

SUMMARY_TOKENS = 160


def question_generator(settings: Settings, max_new_tokens: int = MAX_NEW_TOKENS) -> Lazy[Generator]:
    """The generator of the settings for short texts, loaded when it is first needed."""
    short = settings.generator.model_copy(update={"max_new_tokens": max_new_tokens})
    return Lazy(
        lambda: parts.make_generator(settings.model_copy(update={"generator": short}), interactive=False),
    )


def write_training_questions(
    serving: Serving,
    target: str | Path,
    *,
    sample: int | None = None,
    per_passage: int = 1,
    kinds: Sequence[str] = (QUESTION,),
    generator: Lazy[Generator] | None = None,
    chunk_size: int = CHUNK_PASSAGES,
) -> Written:
    """Let the generator write a question for each passage of an index into a training file, or for `sample` of them.

    Up to `per_passage` texts of each of `kinds`. It goes on after a kill, and raises, as
    `rag.generate.written.write_questions` does; ConfigError for a kind that is none.
    """
    if unknown := sorted(set(kinds) - KINDS.keys()):
        raise ConfigError(f"no kind of text is called {unknown[0]!r}; choose one of {', '.join(KINDS)}")
    kinds = tuple(kind for kind in KINDS if kind in kinds)
    index = open_index(serving.index_folder)
    length = MAX_NEW_TOKENS if kinds == (QUESTION,) else SUMMARY_TOKENS
    own = generator or question_generator(serving.settings, length)
    written = write_questions(
        index.corpus,
        own.get,
        target,
        sample=sample,
        per_passage=per_passage,
        kinds=kinds,
        identity={"index": index.manifest.fingerprint, "generator": generator_identity(serving.settings)},
        chunk_size=chunk_size,
    )
    if generator is None:
        own.release()
    return written


def write_found_questions(
    serving: Serving,
    target: str | Path,
    round_trip: int,
    *,
    sample: int | None = None,
    per_passage: int = 1,
    kinds: Sequence[str] = (QUESTION,),
) -> Written:
    """The same, with only the texts in `target` that find their passage among the first `round_trip`; 0 keeps all.

    What was written lies beside it as NAME.all.txt, the ranks as NAME.round-trip.jsonl. Raises DataError where no text
    finds its passage.
    """
    target = Path(target)
    if not round_trip:
        return write_training_questions(serving, target, sample=sample, per_passage=per_passage, kinds=kinds)
    every = target.with_suffix(".all.txt")
    target.parent.mkdir(parents=True, exist_ok=True)
    # A file that was written without a round trip is not replaced.
    made = {"index": serving.manifest.fingerprint, "round_trip": round_trip}
    remember(target.with_suffix(".settings.json"), made, target)
    written = write_training_questions(serving, every, sample=sample, per_passage=per_passage, kinds=kinds)
    n_kept = keep_found(serving, every, target.with_suffix(".round-trip.jsonl"), target, round_trip)
    return Written(written.n_passages, n_kept, examples_of(read_jsonl(target)))
