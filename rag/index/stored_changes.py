"""What an index in a store lacks of the passages that it is to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.data.passages import Corpus
from rag.data.pieces import PartlyRead
from rag.documents.collection import collections_of
from rag.documents.records import HASH_CHARACTERS
from rag.index.manifest import Manifest
from rag.index.stored_corpus import StoreCorpus
from rag.retrieve.encoder import Encoder
from rag.store.changing import MilvusStore
from rag.store.rows import digest_of
from rag.types import Passage


@dataclass(frozen=True, slots=True)
class Difference:
    """What a store lacks: `left` are the passages to write, `gone` the ids to take out.

    `cut` is how many of the other passages, which are there already, are longer than the encoder takes.
    """

    left: list[Passage]
    gone: list[str]
    cut: int


def difference(
    store: MilvusStore, corpus: Corpus, encoder: Encoder, names: Mapping[str, Sequence[str]], own: Manifest | None
) -> Difference:
    """What a store that is being changed lacks of a corpus.

    `names` are the collections of each document; `own` is the manifest of what serves, where its vectors are used
    again.
    """
    if (
        own is not None
        and isinstance(corpus, PartlyRead)
        and isinstance(corpus.before, StoreCorpus)
        and store.changes(corpus.before.generation)
    ):
        return _told(store, corpus, encoder, names, own)
    return _compared(store, corpus, encoder, names, own)


def _compared(
    store: MilvusStore, corpus: Corpus, encoder: Encoder, names: Mapping[str, Sequence[str]], own: Manifest | None
) -> Difference:
    """What the store lacks, by the hash of every passage."""
    there = store.digests()
    digests = {passage.id: digest_of(passage, names.get(passage.document, ())) for passage in corpus}
    left: list[Passage] = []
    kept: list[Passage] = []
    for passage in corpus:
        (kept if there.get(passage.id) == digests[passage.id] else left).append(passage)
    counts = kept and (own is None or own.passages_cut > 0)
    cut = encoder.count_cut([passage.content for passage in kept]) if counts else 0
    return Difference(left, [pid for pid in there if pid not in digests], cut)


def _told(
    store: MilvusStore, corpus: PartlyRead, encoder: Encoder, names: Mapping[str, Sequence[str]], own: Manifest
) -> Difference:
    """What the store lacks, by the documents that stay as they are: of these, nothing is read."""
    rows = store.documents()
    before = {row["sha256"][:HASH_CHARACTERS]: row["n_passages"] for row in rows}
    names_before = names_of(rows)
    moved = [name for name in sorted(corpus.kept) if sorted(names_before[name]) != sorted(names[name])]
    left = [*corpus.fresh, *(passage for name in moved for passage in store.of_document(name))]
    ids = {passage.id for passage in left}
    gone = [f"{name}@{n}" for name in before if name not in corpus.kept for n in range(before[name])]
    cut = own.passages_cut
    if cut:
        anew = [name for name in before if name not in corpus.kept or name in moved]
        cut -= encoder.count_cut([passage.content for name in anew for passage in store.of_document(name)])
    return Difference(left, [pid for pid in gone if pid not in ids], cut)


def names_of(documents: Sequence[Mapping]) -> dict[str, list[str]]:
    """The collections of each document, by its name in the ids of its passages."""
    names: dict[str, list[str]] = {}
    for name, rows in collections_of(list(documents)).items():
        for row in rows:
            names.setdefault(row["sha256"][:HASH_CHARACTERS], []).append(name)
    return names
