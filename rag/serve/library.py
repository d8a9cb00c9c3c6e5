"""The documents of an index for assistants: asked, searched and fetched, each as a record that is JSON.

`search` and `fetch` have the form that ChatGPT's connectors and deep research expect
(https://platform.openai.com/docs/mcp): results with id, title and url, and documents with id, title, text, url and
metadata.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, unquote

from rag.documents.address import is_address
from rag.documents.citation import place_of
from rag.documents.records import HASH_CHARACTERS, path_of
from rag.errors import RagError
from rag.lazy import Lazy
from rag.pipeline import Pipeline
from rag.progress import check_waiting
from rag.retrieve.placed import title_as_placed
from rag.serve.asking import answer_record
from rag.serve.chat import MAX_QUESTION_CHARACTERS, Chat
from rag.serve.readers import Readers
from rag.serve.sources import Source, Sources
from rag.serve.turns import Options
from rag.types import Hit, Passage, Query, Retriever

MAX_RESULTS = 50
MAX_TEXT_CHARACTERS = 20_000
MAX_ID_CHARACTERS = 1_000
MAX_SHOWN_CHARACTERS = 400
PASSAGE_SCHEME = "rag://passage/"
UrlOf = Callable[[Passage], str]


class Library:
    """Answers, passages and documents for assistants. It knows no protocol, and nobody who asks.

    Work is done for whoever the thread works for (`rag.progress.working_for`): once they have left, it ends with Left.
    `collections` gives the documents by their collection, as `Retrievers.collections`. `readers` says what each person
    may read; `who` says in which name something is asked.
    """

    def __init__(
        self,
        chat: Chat,
        options: Options,
        sources: Sources,
        collections: Callable[[], Mapping[str, Sequence[Mapping]]],
        readers: Readers | None = None,
    ):
        self._chat, self._options = chat, options
        self._sources = sources
        self._readers = readers or Readers(None, collections)

    def collections(self, who: str = "") -> Mapping[str, Sequence[Mapping]]:
        """The documents that somebody may read, by their collection."""
        return self._readers.collections(who)

    def ask(self, question: str, collections: Sequence[str] | None, url_of: UrlOf, who: str = "") -> dict[str, object]:
        """The record of `answer_record`, whose citations have a `url` too. Raises RagError as the chat would say it."""
        (turn,) = deque(self._chat.ask(question, (), self._within(collections, who)), maxlen=1)
        record = answer_record(turn)
        contexts = turn.response.contexts if turn.response is not None else ()
        urls = {hit.passage.id: url_of(hit.passage) for hit in contexts}
        cited = [{**citation, "url": urls[citation["id"]]} for citation in record["citations"]]
        return {**record, "citations": cited}

    def search(
        self, query: str, collections: Sequence[str] | None, limit: int, url_of: UrlOf, who: str = ""
    ) -> dict[str, object]:
        """{"results": [{"id", "title", "url", "text"}]}, the best first: retrieved, and reranked as for an answer.

        `text` is the beginning of the passage. Raises RagError for a query that is empty or too long, and for a
        collection that is not there.
        """
        query = query.strip()
        if not query:
            raise RagError("the query is empty; say what to search for")
        if len(query) > MAX_QUESTION_CHARACTERS:
            raise RagError(f"the query is longer than {MAX_QUESTION_CHARACTERS:,} characters; please shorten it")
        hits = self._found(query, self._within(collections, who), limit)
        results = [
            {
                "id": hit.passage.id,
                "title": hit.passage.title or place_of(hit.passage),
                "url": url_of(hit.passage),
                "text": _shortened(hit.passage.text),
            }
            for hit in hits
        ]
        return {"results": results}

    def fetch(self, passage_id: str, url_of: UrlOf, who: str = "") -> dict[str, object]:
        """{"id", "title", "text", "url", "metadata"}: the document around a passage.

        A document of more than `MAX_TEXT_CHARACTERS` is cut to the part around the passage; `start` and `end` of the
        metadata say to which of its `characters`. Raises RagError where no passage has the id.
        """
        passage_id = passage_id.strip()
        if not passage_id:
            raise RagError("the id is empty; give one that search has returned")
        source = self._sources.find(passage_id) if len(passage_id) <= MAX_ID_CHARACTERS else None
        passage = self._readers.passage(who, source.passage) if source is not None else None
        if source is None or passage is None:
            raise RagError(
                f"no passage has the id {_shortened(passage_id, 80)!r}; search again, its results have the ids of now"
            )
        start, end = _part(source)
        metadata: dict[str, object] = {
            "source": place_of(passage),
            "passage": passage.text,
            "start": start,
            "end": end,
            "characters": len(source.document.text),
        }
        if passage.place is not None and passage.place.page is not None:
            metadata["page"] = passage.place.page
        if source.note:
            metadata["note"] = source.note
        return {
            "id": passage.id,
            "title": title_as_placed(source.document.title, source.passage, passage)
            or passage.title
            or place_of(passage),
            "text": source.document.text[start:end],
            "url": url_of(passage),
            "metadata": metadata,
        }

    def _within(self, collections: Sequence[str] | None, who: str) -> Options:
        options = dataclasses.replace(self._options, may_read=self._readers.names(who))
        if collections is None:
            return options
        there = self.collections(who)
        if not there:
            raise RagError("these documents are in no collections; leave out the argument 'collections'")
        if not collections:
            raise RagError(f"name at least one collection, or leave the argument out: {', '.join(there)}")
        return dataclasses.replace(options, collections=tuple(collections))

    def _found(self, query: str, options: Options, limit: int) -> Sequence[Hit]:
        chat = self._chat
        retriever: Lazy[Retriever] = chat.retrievers[options.retriever]
        searched = options.searched
        if searched == ():
            return ()
        if searched is not None and chat.narrow is not None:
            retriever = chat.narrow(options.retriever, searched, "")
        depths = options.depths
        wanted = dataclasses.replace(depths, retrieve=max(depths.retrieve, limit), rerank=max(depths.rerank, limit))
        pipeline = Pipeline(
            retriever,
            chat.reranker,
            chat.generator,
            chat.prompt,
            depths=wanted,
            latin_alone=chat.latin_alone,
            mixing=chat.mixing,
        )
        responses = pipeline.retrieve([Query("search", query)])
        check_waiting()
        (response,) = pipeline.rerank(responses)
        return response.reranked[:limit]


def url_below(base: str) -> UrlOf:
    """The address of a web page itself; of anything else the page of the chat at `base` that shows the passage."""

    def url_of(passage: Passage) -> str:
        from rag.serve.source_pages import source_link

        return passage.source if is_address(passage.source) else f"{base.rstrip('/')}/{source_link(passage.id)}"

    return url_of


def url_on_disk(collections: Callable[[], Mapping[str, Sequence[Mapping]]]) -> UrlOf:
    """The address of a web page itself; of a file where it lies on this machine; else `rag://passage/ID`."""

    def url_of(passage: Passage) -> str:
        if is_address(passage.source):
            return passage.source
        if passage.place is not None:
            for row in (row for rows in collections().values() for row in rows):
                place = row.get("places", row["paths"])[0]
                if row["sha256"][:HASH_CHARACTERS] == passage.document and not place.get("address"):
                    page = f"#page={passage.place.page}" if passage.place.page is not None else ""
                    return path_of(place).absolute().as_uri() + page
        return PASSAGE_SCHEME + quote(passage.id, safe="@")

    return url_of


def passage_id_of(uri: str) -> str:
    """The id in `rag://passage/ID`; raises RagError for anything else."""
    if not uri.startswith(PASSAGE_SCHEME):
        raise RagError(f"{_shortened(uri, 80)!r} is no passage; a passage is read as {PASSAGE_SCHEME}ID")
    return unquote(uri.removeprefix(PASSAGE_SCHEME))


def _part(source: Source) -> tuple[int, int]:
    """(start, end) of what is shown of a document: all of it, or the whole blocks that fit around the passage."""
    n = len(source.document.text)
    if n <= MAX_TEXT_CHARACTERS:
        return 0, n
    spare = max(MAX_TEXT_CHARACTERS - (source.end - source.start), 0)
    start = max(min(source.start - spare // 2, n - MAX_TEXT_CHARACTERS), 0)
    end = min(start + MAX_TEXT_CHARACTERS, n)
    blocks = source.document.blocks
    begins = [block.start for block in blocks if start <= block.start <= source.start]
    ends = [block.end for block in blocks if source.end <= block.end <= end]
    return min(begins, default=start), max(ends, default=end)


def _shortened(text: str, characters: int = MAX_SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters].rstrip()}…"
