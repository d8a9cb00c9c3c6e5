"""A collection of rows that have versions: what a generation holds is a filter over `since` and `until`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rag.errors import DataError
from rag.store.client import Client
from rag.store.state import OPEN, visible

MAX_BYTES = 65_535
"""Of one text in Milvus."""
MAX_NAME_BYTES = 4_096
MAX_COLLECTIONS = 1_024
ROWS_AT_ONCE = 1_000
MOST_FOUND = 16_384  # rows of one answer of Milvus
BYTES_AT_ONCE = 16 * 2**20
KEY = "key"
PASSAGE_FIELDS = ("id", "since", "until", "document", "collections", "content", "digest", "words", "body", "vector")
DOCUMENT_FIELDS = ("id", "since", "until", "digest", "body", "vector")
K1, B = 1.5, 0.75


class Table:
    """A collection of Milvus with these fields; `words` is left out where nothing counts words."""

    def __init__(self, client: Client, name: str, fields: Sequence[str]):
        self.client, self.name, self._all_fields = client, name, fields

    @functools.cached_property
    def fields(self) -> list[str]:
        """The fields that are written."""
        return [field for field in self._all_fields if field != "words" or self.has_words]

    @functools.cached_property
    def has_words(self) -> bool:
        """Whether words are counted: in a collection that is there, by the server that made it."""
        there = self.client.fields_of(self.name)
        return self.client.has_bm25 if there is None else "words" in there

    def make(self, dimension: int, index: str) -> None:
        """Make the collection, with its indexes, where it is not there."""
        if self.client.has(self.name):
            return
        from pymilvus import DataType, Function, FunctionType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=MAX_NAME_BYTES)
        for name in self.fields:
            if name in ("since", "until"):
                schema.add_field(name, DataType.INT64)
            elif name == "vector":
                schema.add_field(name, DataType.FLOAT_VECTOR, dim=dimension)
            elif name == "collections":
                of = {"element_type": DataType.VARCHAR, "max_capacity": MAX_COLLECTIONS, "max_length": MAX_NAME_BYTES}
                schema.add_field(name, DataType.ARRAY, **of)
            elif name == "words":
                # The words are the product's own (`rag.store.words`): this tokenizer only tells them apart.
                shape = {"enable_analyzer": True, "analyzer_params": {"tokenizer": "standard"}}
                schema.add_field(name, DataType.VARCHAR, max_length=MAX_BYTES, **shape)
                schema.add_field("counts", DataType.SPARSE_FLOAT_VECTOR)
                counted = {"input_field_names": ["words"], "output_field_names": ["counts"]}
                schema.add_function(Function(name="bm25", function_type=FunctionType.BM25, **counted))
            else:
                longest = MAX_BYTES if name == "body" else MAX_NAME_BYTES
                schema.add_field(name, DataType.VARCHAR, max_length=longest)
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("vector", index_type=index, metric_type="IP", params=_shape_of(index))
        if "words" in self.fields:
            shape = {"bm25_k1": K1, "bm25_b": B}
            indexes.add_index("counts", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=shape)
        self.client(
            "create_collection",
            self.name,
            schema=schema,
            index_params=indexes,
            consistency_level=self.client.note.consistency,
            patient=True,
        )

    def load(self) -> Table:
        """Let the collection be searched; once in a process."""
        if self.name not in self.client.loaded:
            self.client("load_collection", self.name, replica_number=self.client.note.replicas, patient=True)
            self.client.loaded.add(self.name)
        return self

    def release(self) -> None:
        """Delete the collection."""
        self.client("drop_collection", self.name, patient=True)
        self.client.loaded.discard(self.name)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write whole rows; a row of a key that is there takes its place."""
        batch: list[dict[str, Any]] = []
        size = 0
        for row in rows:
            self._check(row)
            batch.append({name: row[name] for name in (KEY, *self.fields)})
            size += 4 * len(row["vector"]) + 2 * len(row["body"]) + len(row.get("words", ""))
            if len(batch) >= ROWS_AT_ONCE or size > BYTES_AT_ONCE:
                self.client("upsert", self.name, batch, patient=True)
                batch, size = [], 0
        if batch:
            self.client("upsert", self.name, batch, patient=True)

    def _check(self, row: dict[str, Any]) -> None:
        for name in ("body", "words", "id"):
            limit = MAX_NAME_BYTES if name == "id" else MAX_BYTES
            if len(row.get(name, "").encode("utf-8", "surrogatepass")) > limit:
                raise DataError(
                    f"{row['id']!r:.80} is longer than Milvus keeps ({limit:,} bytes of its {name}); split it into "
                    "several passages, or use --set store.kind=faiss"
                )

    def end(self, where: str, generation: int) -> None:
        """Let the rows of a filter be in no generation from this one on."""
        for batch in self._batches(where, [KEY, *self.fields]):
            self.write({**row, "until": generation} for row in batch)

    def drop(self, ids: Sequence[str], generation: int) -> None:
        """Take out rows that came with this generation."""
        for i in range(0, len(ids), ROWS_AT_ONCE):
            some = literal(ids[i : i + ROWS_AT_ONCE])
            self.client("delete", self.name, filter=f"id in {some} and since == {generation}")

    def clean(self, serving: int, previous: int | None, *, but: int | None = None) -> None:
        """Undo what a killed writer left, and drop the rows that neither of two generations holds.

        Rows that came with the generation `but` stay.
        """
        self.client("delete", self.name, filter=f"since > {serving}" + (f" and since != {but}" if but else ""))
        for batch in self._batches(f"until > {serving} and until < {OPEN}", [KEY, *self.fields]):
            self.write({**row, "until": OPEN} for row in batch)
        oldest = serving if previous is None else min(serving, previous)
        self.client("delete", self.name, filter=f"until <= {oldest}")

    def count(self, generation: int) -> int:
        """How many rows a generation holds, counted now: the statistics of Milvus are late."""
        found = self.client("query", self.name, filter=visible(generation), output_fields=["count(*)"], patient=True)
        return int(found[0]["count(*)"])

    def find(self, name: str, values: Iterable[str], where: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows of a filter whose field `name` has one of these values; of very many some."""
        wanted = list(dict.fromkeys(values))
        for i in range(0, len(wanted), ROWS_AT_ONCE):
            some = f"{name} in {literal(wanted[i : i + ROWS_AT_ONCE])} and {where}"
            yield from self.client("query", self.name, filter=some, output_fields=list(fields), limit=MOST_FOUND)

    def scan(self, where: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows of a filter."""
        for batch in self._iterated(where, fields):
            yield from batch

    def _batches(self, where: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """The rows of a filter, by keys that are read first: rows that are written meanwhile are not met again."""
        found = [row[KEY] for batch in self._iterated(where, [KEY]) for row in batch]
        for i in range(0, len(found), ROWS_AT_ONCE):
            some = f"{KEY} in {literal(found[i : i + ROWS_AT_ONCE])}"
            yield list(self.client("query", self.name, filter=some, output_fields=list(fields), patient=True))

    def _iterated(self, where: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        some: dict[str, Any] = {"filter": where, "output_fields": list(fields), "batch_size": ROWS_AT_ONCE}
        rows = self.client("query_iterator", self.name, **some)
        try:
            yield from iter(rows.next, [])
        finally:
            rows.close()

    def flush(self) -> None:
        """Wait until what was written is on disk and indexed."""
        self.client("flush", self.name, patient=True)


def literal(values: Iterable[str]) -> str:
    """Texts as a list in a filter: nothing in them ends their quotes."""
    return json.dumps(list(values), ensure_ascii=False)


def _shape_of(index: str) -> dict[str, int]:
    if index == "HNSW":
        return {"M": 32, "efConstruction": 200}
    return {"nlist": 1024} if index.startswith("IVF") else {}
