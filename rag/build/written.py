"""Questions that the generator of the settings writes about the passages of an index."""

from __future__ import annotations

from pathlib import Path

from rag.build import parts
from rag.build.identity import generator_identity
from rag.build.serving import Serving
from rag.config import Settings
from rag.generate.written import CHUNK_PASSAGES, MAX_NEW_TOKENS, Written, write_questions
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.types import Generator


def question_generator(settings: Settings) -> Lazy[Generator]:
    """The generator of the settings for short texts, loaded when it is first needed."""
    short = settings.generator.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})
    return Lazy(
        lambda: parts.make_generator(settings.model_copy(update={"generator": short}), interactive=False),
    )


def write_training_questions(
    serving: Serving,
    target: str | Path,
    *,
    sample: int | None = None,
    per_passage: int = 1,
    generator: Lazy[Generator] | None = None,
    chunk_size: int = CHUNK_PASSAGES,
) -> Written:
    """Let the generator write a question for each passage of an index into a training file, or for `sample` of them.

    Up to `per_passage` for each. It goes on after a kill, and raises, as `rag.generate.written.write_questions` does.
    """
    index = open_index(serving.index_folder)
    identity = {"index": index.manifest.fingerprint, "generator": generator_identity(serving.settings)}
    start = (generator or question_generator(serving.settings)).get
    return write_questions(
        index.corpus,
        start,
        target,
        sample=sample,
        per_passage=per_passage,
        identity=identity,
        chunk_size=chunk_size,
    )
