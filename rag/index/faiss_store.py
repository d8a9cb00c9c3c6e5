"""An index in a folder as a store: the same retrievers over the same files, so that its results are the same bits."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.index.folder import roll_back, serves, serving_manifest, writer_lock
from rag.index.manifest import Manifest, manifest_json, manifest_of_json
from rag.index.questions import Asking
from rag.index.read import OpenIndex, open_index, read_documents
from rag.index.write import build_generation
from rag.retrieve.dense import DenseRetriever
from rag.store.store import EVERYWHERE, Scored, Where
from rag.types import Hit, Passage


class FaissStore:
    """The generation of an index folder that served when it was opened; changes write the next one, whole.

    The folder may hold no index yet: then nothing can be read. What is written anew comes behind what was there, so the
    manifest's hash of all passages is that of their order here.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._index: OpenIndex | None = open_index(folder) if serves(folder) else None
        self._parts: dict[str, Any] = {}
        self._next: dict[str, tuple[Passage, np.ndarray]] | None = None
        self._wanted: Manifest | None = None

    @property
    def index(self) -> OpenIndex:
        """The index. Raises IndexMismatchError where there is none."""
        if self._index is None:
            self._index = open_index(self.folder)
        return self._index

    @property
    def manifest(self) -> Mapping[str, Any]:
        return manifest_json(self.index.manifest)

    def dense(self, vectors: np.ndarray, k: int, where: Where = EVERYWHERE) -> list[Scored]:
        index = self.index
        if "vectors" not in self._parts:
            self._parts["vectors"] = index.vectors(), index.windows()
        found, windows = self._parts["vectors"]
        asked: Any = _Asked(vectors)
        retriever = DenseRetriever(asked, found, index.corpus, self._rows(where), windows)
        return _scored(retriever.retrieve([""] * len(vectors), k))

    def lexical(self, queries: Sequence[str], k: int, where: Where = EVERYWHERE) -> list[Scored]:
        retriever = self._parts.setdefault("bm25", None) or self.index.bm25()
        self._parts["bm25"] = retriever
        rows = self._rows(where)
        return _scored((retriever if rows is None else retriever.restricted_to(rows)).retrieve(queries, k))

    def _rows(self, where: Where) -> np.ndarray | None:
        """(n,) bool: the passages of a part; None: all. A folder's passages know no collections but their documents."""
        if where == EVERYWHERE:
            return None
        names = np.array([passage.document for passage in self.index.corpus], str)
        rows = np.ones(len(names), bool) if where.documents is None else np.isin(names, list(where.documents))
        if where.collections is not None:
            rows &= np.isin(names, list(self._documents_of(where.collections)))
        return rows & ~np.isin(names, list(where.hidden))

    def _documents_of(self, collections: Iterable[str]) -> set[str]:
        from rag.documents.collection import collections_of
        from rag.documents.records import HASH_CHARACTERS

        there = collections_of(read_documents(self.index.folder))
        return {row["sha256"][:HASH_CHARACTERS] for name in collections for row in there.get(name, ())}

    def passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        corpus = self.index.corpus
        return {pid: corpus.by_id(pid) for pid in ids if pid in corpus}

    def scan(self) -> Iterator[Passage]:
        yield from self.index.corpus

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        row_of = {passage.id: row for row, passage in enumerate(self.index.corpus)}
        return self.index.vectors().vectors([row_of[pid] for pid in ids])

    @contextlib.contextmanager
    def changing(self, manifest: Mapping[str, Any], *, anew: bool = False) -> Iterator[None]:
        with writer_lock(self.folder):
            self._index, self._parts = None, {}
            self._wanted = manifest_of_json(manifest)
            self._next = {} if anew else self._held()
            try:
                yield
            finally:
                self._next = None

    def _held(self) -> dict[str, tuple[Passage, np.ndarray]]:
        try:
            manifest = serving_manifest(self.folder)[1]
        except IndexMismatchError:
            return {}
        wanted = self._wanted
        if wanted is None or manifest.encoder != wanted.encoder:
            return {}
        passages = list(self.scan())
        return {p.id: (p, v) for p, v in zip(passages, self.vectors([p.id for p in passages]), strict=True)}

    @property
    def _under_way(self) -> dict[str, tuple[Passage, np.ndarray]]:
        if self._next is None:
            raise RuntimeError("a store is changed inside `changing`")
        return self._next

    def write(
        self, passages: Sequence[Passage], vectors: np.ndarray, collections: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Add passages, or put them in the place of those with their ids. A folder keeps no collections of them."""
        self._under_way.update({p.id: (p, v) for p, v in zip(passages, vectors, strict=True)})

    def delete(self, ids: Iterable[str]) -> None:
        for pid in ids:
            self._under_way.pop(pid, None)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        wanted, there = manifest_of_json(manifest), self._under_way
        passages, vectors = [p for p, _ in there.values()], [v for _, v in there.values()]
        if len(passages) != wanted.n_passages:
            raise IndexMismatchError(f"{len(passages):,} passages were written, not the {wanted.n_passages:,} of it")
        given: Any = _Given(wanted, passages, vectors)
        build_generation(
            Corpus(passages),
            self.folder,
            given,
            corpus_path=wanted.corpus_path,
            corpus_file_sha256=wanted.corpus_file_sha256,
            encoder_model=wanted.encoder_model,
            factory=wanted.factory,
            window_sentences=0,
            asking=Asking(0),
            language=wanted.language,
            hardware=wanted.hardware,
        )
        self._index, self._parts = None, {}

    def roll_back(self) -> Mapping[str, Any]:
        manifest = roll_back(self.folder)
        self._index, self._parts = None, {}
        return manifest_json(manifest)


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """An encoder that has encoded the questions already."""

    vectors: np.ndarray

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        return self.vectors


class _Given:
    """An encoder that knows the vectors of these passages, and of no others."""

    def __init__(self, manifest: Manifest, passages: Sequence[Passage], vectors: Sequence[np.ndarray]):
        self.fingerprint = manifest.encoder
        self._cut = manifest.passages_cut
        self._vectors = {passage.content: vector for passage, vector in zip(passages, vectors, strict=True)}

    def encode_passages(self, texts: Sequence[str], advance: Any = lambda n: None) -> tuple[np.ndarray, int]:
        advance(len(texts))
        return np.array([self._vectors[text] for text in texts], np.float32), self._cut

    def count_cut(self, texts: Sequence[str]) -> int:
        return 0


def _scored(found: Sequence[Sequence[Hit]]) -> list[Scored]:
    return [[(hit.passage.id, hit.score) for hit in hits] for hits in found]
