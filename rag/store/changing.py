"""An index in Milvus, changed: by one writer, in place or in a collection of its own, and visible at once.

What a kill leaves, by the moment that it comes:
- while a full build writes: a collection that nothing names, in which the same command goes on;
- while an update writes: rows of a generation that nothing reads, which the next writer uses or takes out;
- before the property or the alias is written: the old generation serves; after it, the new one, whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.errors import IndexMismatchError
from rag.store.lease import Lease
from rag.store.milvus import MilvusReader, Opened, analyzer_of
from rag.store.note import StoreNote
from rag.store.rows import document_row, passage_row
from rag.store.state import OPEN, State, read_state, visible, write_state
from rag.store.table import ROWS_AT_ONCE, Table, literal
from rag.types import Passage

BUILDING = "rag.building"
TWIN = "_b"
FINGERPRINT_DIGITS, HEX = 12, set("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Change:
    """The generation under way: its collection and number. `serving` is what it changes; None where all is made anew.

    `wanted` is the manifest as far as it is known.
    """

    collection: str
    number: int
    serving: Opened | None
    wanted: Mapping[str, Any]
    lease: Lease

    @property
    def held(self) -> str:
        """The filter of the rows that are there already."""
        return visible(self.number if self.serving is None else self.serving.state.serving)


class MilvusStore(MilvusReader):
    """The index of a folder in the Milvus that its note names."""

    def __init__(self, note: StoreNote, folder: Path, *, creates: bool = False):
        super().__init__(note, folder, creates=creates)
        self._change: Change | None = None

    @contextlib.contextmanager
    def changing(self, manifest: Mapping[str, Any], *, anew: bool = False, goes_on: bool = False) -> Iterator[None]:
        """As in `Store`; where it `goes_on`, what a killed writer has written of an update stays for `written_of`."""
        with self.writing() as lease:
            self.refresh()
            self._change = self._begin(manifest, lease, anew=anew, goes_on=goes_on)
            try:
                yield
            finally:
                self._change = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[Lease]:
        """Be the only writer. Raises IndexBusyError where another is."""
        place = f"{self.note.name}_control"
        Table(self.client, place, ["vector"]).make(2, "FLAT")
        lease = Lease(self.client, place)
        lease.take()
        try:
            yield lease
        finally:
            with contextlib.suppress(IndexMismatchError):  # what went wrong before is what is to be said
                lease.give_back()

    def _begin(self, wanted: Mapping[str, Any], lease: Lease, *, anew: bool, goes_on: bool) -> Change:
        serving = self._opened
        if serving is None or anew or any(wanted[key] != serving.state.manifest[key] for key in ("encoder", "bm25")):
            return Change(self._prepared(wanted, anew=anew), 1, None, wanted, lease)
        state = serving.state
        if state.previous is not None and state.previous > state.serving:  # what was gone back from ends here
            state = dataclasses.replace(state, previous=None)
            write_state(self.client, serving.collection, state)
        passages, documents = self._tables(serving.collection)
        passages.load().clean(state.serving, state.previous, but=state.last + 1 if goes_on else None)
        documents.load().clean(state.serving, state.previous)
        self._opened = serving = Opened(serving.collection, state)
        return Change(serving.collection, state.last + 1, serving, wanted, lease)

    def _prepared(self, wanted: Mapping[str, Any], *, anew: bool) -> str:
        """A collection to build in; what a killed build of the same passages left in it stays."""
        key = str(wanted["fingerprint"])
        serving = self._opened.collection if self._opened else None
        names = [name for name in (f"{self.note.name}_{key}", f"{self.note.name}_{key}{TWIN}") if name != serving]
        collection = next((name for name in names if self._goes_on(name, key, anew=anew)), None)
        if collection is None:
            collection = next((name for name in names if not self.client.has(name)), names[0])
            self._drop(collection)
        passages, documents = self._tables(collection)
        passages.make(wanted["encoder"]["dimension"], self.index_kind)
        documents.make(2, "FLAT")
        self.client("alter_collection_properties", collection, properties={BUILDING: key})
        for table in (passages, documents):
            table.load()
        return collection

    def _goes_on(self, collection: str, key: str, *, anew: bool) -> bool:
        """Whether a collection was begun for what is to be built; a whole one serves as it is, unless made `anew`."""
        if not self.client.has(collection):
            return False
        state = read_state(self.client, collection)
        begun = self.client("describe_collection", collection)["properties"].get(BUILDING)
        return begun == key and (state is None or (state.last == 1 and not anew))

    @property
    def change(self) -> Change:
        """What is under way, and still this process's to write."""
        if self._change is None:
            raise RuntimeError("a store is changed inside `changing`")
        self._change.lease.keep()
        return self._change

    def changes(self, generation: str) -> bool:
        """Whether what is under way changes this generation."""
        return self.change.serving is not None and self.generation == generation

    def keep(self) -> None:
        """Stay the only writer. Raises IndexBusyError where another has taken over."""
        self.change.lease.keep()

    def digests(self) -> dict[str, str]:
        """The hash of each passage (`rag.store.rows.digest_of`) that is there already for what is under way."""
        change = self.change
        rows = self._passages(change.collection).scan(change.held, ["id", "digest"])
        return {row["id"]: row["digest"] for row in rows}

    def written_of(self, wanted: Mapping[str, str]) -> set[str]:
        """The ids that a killed writer of this update has written already, of passages with the hashes `wanted`.

        What else it has written is taken out.
        """
        change = self.change
        if change.serving is None:
            return set()  # `digests` has them
        table = self._passages(change.collection)
        rows = {row["id"]: row["digest"] for row in table.scan(f"since == {change.number}", ["id", "digest"])}
        there = {pid for pid, digest in rows.items() if wanted.get(pid) == digest}
        table.drop([pid for pid in rows if pid not in there], change.number)
        self._end(table, sorted(there))
        return there

    def write(
        self, passages: Sequence[Passage], vectors: np.ndarray, collections: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        change, named = self.change, collections or {}
        table = self._passages(change.collection)
        self._end(table, [passage.id for passage in passages])
        analyzer = analyzer_of(change.wanted)
        table.write(
            passage_row(passage, vector, change.number, analyzer, named.get(passage.document, ()))
            for passage, vector in zip(passages, vectors, strict=True)
        )

    def delete(self, ids: Iterable[str]) -> None:
        change, gone = self.change, list(ids)
        table = self._passages(change.collection)
        self._end(table, gone)
        table.drop(gone, change.number)

    def write_documents(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Let the next generation be of these documents."""
        change = self.change
        table = self._documents(change.collection)
        rows = {row["id"]: row for row in (document_row(record, change.number) for record in records)}
        there = {row["id"]: row["digest"] for row in table.scan(change.held, ["id", "digest"])}
        changed = [pid for pid, row in rows.items() if there.get(pid) != row["digest"]]
        self._end(table, [*changed, *(pid for pid in there if pid not in rows)])
        table.drop([pid for pid in there if pid not in rows], change.number)
        table.write(rows[pid] for pid in changed)

    def _end(self, table: Table, ids: Sequence[str]) -> None:
        """Let rows of the generation that serves be in the next one no more."""
        change = self.change
        if change.serving is None:
            return
        for i in range(0, len(ids), ROWS_AT_ONCE):
            some = f"id in {literal(ids[i : i + ROWS_AT_ONCE])} and since < {change.number} and until == {OPEN}"
            table.end(some, change.number)

    def finish(self, manifest: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> None:
        change = self.change
        for table in self._tables(change.collection):
            table.flush()
        n = self._passages(change.collection).count(change.number)
        if n != manifest["n_passages"]:
            raise IndexMismatchError(
                f"{change.collection} holds {n:,} passages, not the {manifest['n_passages']:,} that were written; the "
                "index stays as it was: run the same command again"
            )
        change.lease.check()
        if change.serving is not None:
            state = change.serving.state.followed_by(manifest, beside or {}, change.number)
            write_state(self.client, change.collection, state)
        else:
            before = self._opened
            state = State().followed_by(manifest, beside or {}, change.number)
            state = dataclasses.replace(state, before=before.collection if before else None)
            write_state(self.client, change.collection, state)
            self._name(change.collection)
        # What a kill left here once is dropped, too.
        for other in self._collections():
            if other not in (change.collection, state.before):
                self._drop(other)
        self.refresh()

    def roll_back(self) -> Mapping[str, Any]:
        with self.writing() as lease:
            self.refresh()
            collection, state = self.opened
            if state.previous is not None:
                lease.check()
                write_state(
                    self.client, collection, dataclasses.replace(state, serving=state.previous, previous=state.serving)
                )
            elif state.before is not None and (other := self._state_of(state.before)) is not None:
                lease.check()
                write_state(self.client, state.before, dataclasses.replace(other, before=collection, previous=None))
                self._name(state.before)
            else:
                raise IndexMismatchError(f"{self.folder} holds no generation to go back to")
            self.refresh()
            self.check()
        return self.manifest

    def _state_of(self, collection: str) -> State | None:
        """The state of a collection; None where it is gone."""
        return read_state(self.client, collection) if self.client.has(collection) else None

    def amend(self, manifest: Mapping[str, Any]) -> None:
        """Let the manifest of what serves say something else of where it came from."""
        with self.writing() as lease:
            self.refresh()
            collection, state = self.opened
            manifests = {**state.manifests, str(state.serving): manifest}
            lease.check()
            write_state(self.client, collection, dataclasses.replace(state, manifests=manifests))
            self.refresh()

    def _name(self, collection: str) -> None:
        """Let the alias of the index name a collection."""
        method = "create_alias" if self.client.named_by(self.note.name) is None else "alter_alias"
        self.client(method, collection, self.note.name)

    def _drop(self, collection: str) -> None:
        """Delete a collection that serves nothing; Milvus itself would delete one that an alias names."""
        if self.client.named_by(self.note.name) == collection:
            raise IndexMismatchError(f"the collection {collection} serves {self.folder}, and is not dropped")
        for table in self._tables(collection):
            if self.client.has(table.name):
                if aliases := self.client("list_aliases", table.name)["aliases"]:
                    raise IndexMismatchError(f"the alias {aliases[0]} names {table.name}, which is not dropped")
                table.release()

    def _collections(self) -> list[str]:
        """The collections of this index, whatever became of them."""
        begin = f"{self.note.name}_"
        found = [name for name in self.client("list_collections") if name.startswith(begin)]
        prints = {name: name.removeprefix(begin).removesuffix(TWIN) for name in found}
        return [name for name, key in prints.items() if len(key) == FINGERPRINT_DIGITS and not set(key) - HEX]

    def delete_all(self) -> None:
        """Delete the index from the store; first what makes it one."""
        with self.writing():
            self.refresh()
            if self._opened is not None:
                self.client("drop_alias", self.note.name)
                self._opened = None
            for collection in self._collections():
                self._drop(collection)
        Table(self.client, f"{self.note.name}_control", ["vector"]).release()

    def _tables(self, collection: str) -> tuple[Table, Table]:
        return self._passages(collection), self._documents(collection)
