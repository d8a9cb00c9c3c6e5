"""An index opened from Python: `from rag import open_index`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.errors import DataError
from rag.pipeline import Pipeline
from rag.types import Hit, Query, Response


class Index:
    """An index that answers questions. Models load with the first question and stay loaded."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline

    def ask(self, question: str) -> Response:
        """The answer to a standalone question, `response.answer.text`, with its contexts, scores and timings.

        `response.answer.abstained` says that the documents hold no answer; `response.answer.citations` are the ids of
        the passages cited, among `response.contexts`. Raises DataError for an empty question, GenerationError where
        the generator fails.
        """
        (response,) = self._pipeline.run([_query(question)])
        return response

    def stream(self, question: str) -> Iterator[Response]:
        """Growing snapshots of the same response: with the passages, then with each piece of the answer, then whole."""
        yield from self._pipeline.stream(_query(question))

    def search(self, question: str, k: int = 10) -> list[Hit]:
        """The k best passages, best first, as the retriever finds them: without reranking. Raises as `ask`."""
        return self._pipeline.retriever.get().retrieve([_query(question).text], k)[0]


def open_index(folder: str | Path, *, config: str | Path | None = None, overrides: Sequence[str] = ()) -> Index:
    """Open an index folder, made by `rag ingest` or `rag index`, for questions.

    `config` is a TOML file of settings, `overrides` single ones such as "reranker.depth=20". Raises IndexMismatchError
    where the folder holds no sound index, ConfigError for a wrong setting.
    """
    quiet_libraries()
    settings = load_settings(config, overrides)
    return Index(make_pipeline(serving_over(settings, folder), interactive=True))


def _query(question: str) -> Query:
    if not question.strip():
        raise DataError("the question is empty")
    return Query("q", question.strip())
