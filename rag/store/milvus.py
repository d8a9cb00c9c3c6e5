"""An index in Milvus, read: one generation, as it was when it was opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rag import fixes
from rag.errors import ConfigError, IndexMismatchError
from rag.retrieve.analyzer import Analyzer
from rag.store.client import Client, check_installed
from rag.store.note import StoreNote
from rag.store.rows import passage_of
from rag.store.state import State, read_state, visible
from rag.store.store import EVERYWHERE, Scored, Where
from rag.store.table import DOCUMENT_FIELDS, K1, PASSAGE_FIELDS, Table, literal
from rag.store.words import words_field
from rag.types import Passage

QUERIES_AT_ONCE = 256
LEAST_EF = 128


class Opened(NamedTuple):
    """A collection and the state that it was in; changes of others do not change it."""

    collection: str
    state: State

    @property
    def visible(self) -> str:
        """The filter of the rows that it holds."""
        return visible(self.state.serving)


class MilvusReader:
    """The index of a folder in the Milvus that its note names. Opened where an index serves there, else empty.

    `creates` makes an embedded store that is not there.
    """

    def __init__(self, note: StoreNote, folder: Path, *, creates: bool = False):
        check_installed(embedded=note.is_embedded)
        if note.is_embedded and note.index not in ("auto", "FLAT"):
            raise ConfigError(
                f"an embedded store searches exactly (store.index {note.index} is for servers: under a filter it finds "
                "too little there); use --set store.index=auto"
            )
        self.note, self.folder = note, folder
        self.client = Client(note, folder, creates=creates)
        self._opened: Opened | None = None
        self.refresh()

    def refresh(self) -> None:
        """Open the generation that serves now."""
        collection = self.client.named_by(self.note.name)
        state = None if collection is None else read_state(self.client, collection)
        self._opened = None if collection is None or state is None else Opened(collection, state)

    @property
    def opened(self) -> Opened:
        """What is open. Raises IndexMismatchError where nothing serves."""
        if self._opened is None:
            raise IndexMismatchError(
                f"the store at {self.client.address} holds no collection for {self.folder} ({self.note.name})",
                fixes.make_index(self.folder),
                to="make one",
            )
        return self._opened

    @property
    def serves(self) -> bool:
        """Whether there is a generation."""
        return self._opened is not None

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.opened.state.manifest

    @property
    def beside(self) -> Mapping[str, Any]:
        """What else is kept of the generation: `sources`, where it is of documents."""
        return self.opened.state.beside[str(self.opened.state.serving)]

    @property
    def generation(self) -> str:
        """A name for the generation that changes with it."""
        return f"{self.opened.collection}-{self.opened.state.serving}"

    def check(self) -> None:
        """Raises IndexMismatchError where the rows are not those of the manifest, by their number and dimension."""
        opened, manifest = self.opened, self.manifest
        fields = self.client("describe_collection", opened.collection)["fields"]
        dimension = next(int(f["params"]["dim"]) for f in fields if f["name"] == "vector")
        fix = fixes.encode_again(self.folder)
        if dimension != manifest["encoder"]["dimension"]:
            raise IndexMismatchError(
                f"{opened.collection} holds vectors of {dimension} numbers, its manifest says "
                f"{manifest['encoder']['dimension']}",
                fix,
            )
        n = self._passages(opened.collection).load().count(opened.state.serving)
        if n != manifest["n_passages"]:
            raise IndexMismatchError(
                f"{opened.collection} holds {n:,} passages, its manifest says {manifest['n_passages']:,}", fix
            )

    def check_counts_words(self) -> None:
        """Raises IndexMismatchError where there is no BM25: the server is too old, or was when the index was made."""
        if not self.client.has_bm25:
            raise IndexMismatchError(
                f"{self.client.without_words}; use Milvus 2.5 or later, or --set retriever.kind=dense"
            )
        if not self._passages(self.opened.collection).has_words:
            raise IndexMismatchError(
                f"{self.opened.collection} was made by a Milvus that counts no words, and is searched with --set "
                "retriever.kind=dense alone",
                fixes.encode_again(self.folder),
            )

    def dense(self, vectors: np.ndarray, k: int, where: Where = EVERYWHERE) -> list[Scored]:
        params = {"ef": max(LEAST_EF, 2 * k)} if self.index_kind == "HNSW" else {}
        shape = {"anns_field": "vector", "search_params": {"metric_type": "IP", "params": params}}
        return self._search(np.asarray(vectors, np.float32).tolist(), k, where, shape)

    def lexical(self, queries: Sequence[str], k: int, where: Where = EVERYWHERE) -> list[Scored]:
        self.check_counts_words()
        fields = [words_field(analyzer_of(self.manifest), query) for query in queries]
        asked = [field for field in fields if field]
        shape = {"anns_field": "counts", "search_params": {"metric_type": "BM25"}}
        found = iter(self._search(asked, k, where, shape))
        # Scores as bm25s gives them: without the factor k1 + 1, and an embedded store gives distances below zero.
        return [[(pid, abs(score) / (K1 + 1)) for pid, score in next(found)] if field else [] for field in fields]

    def _search(self, data: Sequence[Any], k: int, where: Where, shape: Mapping[str, Any]) -> list[Scored]:
        opened = self.opened
        self._passages(opened.collection).load()
        is_nowhere = any(some is not None and not some for some in (where.documents, where.collections))
        if is_nowhere or not data:
            return [[] for _ in data]
        named = {"filter": f"{opened.visible}{_filter(where)}", "limit": k, "output_fields": ["id"], **shape}
        found: list[Scored] = []
        for i in range(0, len(data), QUERIES_AT_ONCE):
            hits = self.client("search", opened.collection, data=list(data[i : i + QUERIES_AT_ONCE]), **named)
            found += [[(hit["entity"]["id"], float(hit["distance"])) for hit in own] for own in hits]
        return [
            sorted(own, key=lambda pair: (-abs(pair[1]) if shape["anns_field"] == "counts" else -pair[1], pair[0]))
            for own in found
        ]

    def passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        table = self._passages(self.opened.collection).load()
        found = {row["id"]: passage_of(row) for row in table.find("id", ids, self.opened.visible, ["id", "body"])}
        return {pid: found[pid] for pid in ids if pid in found}

    def of_document(self, document: str) -> list[Passage]:
        """The passages of a document, by its name in their ids."""
        table = self._passages(self.opened.collection).load()
        return [passage_of(row) for row in table.find("document", [document], self.opened.visible, ["body"])]

    def scan(self) -> Iterator[Passage]:
        table = self._passages(self.opened.collection).load()
        yield from map(passage_of, table.scan(self.opened.visible, ["body"]))

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        table = self._passages(self.opened.collection).load()
        found = {row["id"]: row["vector"] for row in table.find("id", ids, self.opened.visible, ["id", "vector"])}
        return np.array([found[pid] for pid in ids], np.float32).reshape(
            len(ids), self.manifest["encoder"]["dimension"]
        )

    def vectors_of_contents(self, hashes: Iterable[str]) -> dict[str, np.ndarray]:
        """The vectors of passages by the hash of their content, as far as the generation that serves has them."""
        if self._opened is None:
            return {}
        table = self._passages(self.opened.collection).load()
        found = table.find("content", hashes, self.opened.visible, ["content", "vector"])
        return {row["content"]: np.array(row["vector"], np.float32) for row in found}

    def documents(self) -> list[dict[str, Any]]:
        """The documents of the generation; [] for one of a corpus file."""
        if not self.beside.get("documents"):
            return []
        rows = self._documents(self.opened.collection).load().scan(self.opened.visible, ["body"])
        return sorted((json.loads(row["body"]) for row in rows), key=lambda record: record["sha256"])

    @property
    def index_kind(self) -> str:
        """The kind of index of the vectors: exact in an embedded store, whose HNSW finds too little under a filter."""
        if self.note.index != "auto":
            return self.note.index
        return "FLAT" if self.note.is_embedded else "HNSW"

    def _passages(self, collection: str) -> Table:
        return Table(self.client, collection, PASSAGE_FIELDS)

    def _documents(self, collection: str) -> Table:
        return Table(self.client, f"{collection}_documents", DOCUMENT_FIELDS)


def analyzer_of(manifest: Mapping[str, Any]) -> Analyzer:
    """How the words of passages and questions are found."""
    return Analyzer(manifest["bm25"]["language"], manifest["bm25"]["analyzer"])


def _filter(where: Where) -> str:
    """What a part adds to the filter of a generation."""
    parts = []
    if where.documents is not None:
        parts.append(f"document in {literal(sorted(where.documents))}")
    if where.collections is not None:
        parts.append(f"array_contains_any(collections, {literal(sorted(where.collections))})")
    if where.hidden:
        parts.append(f"document not in {literal(sorted(where.hidden))}")
    return "".join(f" and {part}" for part in parts)
