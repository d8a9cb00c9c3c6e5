"""An index opened for reading: one function for each part of a generation, for answering and for the doctor.

Each raises IndexMismatchError with the command that makes the part again. What is made from sound passages can be made
from them again; only damaged passages need the files that they came from.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag import fixes
from rag.data.corpus import load_corpus
from rag.data.passages import Corpus
from rag.data.rows import json_rows
from rag.data.stored import StoredCorpus, described, is_of
from rag.errors import DataError, IndexMismatchError
from rag.files import json_if_sound
from rag.index.folder import CURRENT, PREVIOUS, read_pointer, serving_manifest
from rag.index.manifest import Manifest, read_manifest, source_is_there
from rag.index.parts import (
    BM25,
    DOCUMENTS,
    PASSAGES,
    QUESTIONS,
    SOURCES,
    VECTORS,
    WINDOWS,
    check_part,
    damage_to,
    damage_to_any,
    has_hashes,
    read_parts,
)
from rag.index.questions import Beside, read_beside
from rag.index.segments import Vectors, is_segmented, open_bm25, open_passages, open_vectors
from rag.index.unhashed import ARRAY_ERRORS, check_bm25, check_vectors
from rag.progress import say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import EncoderFingerprint
from rag.retrieve.vectors import FaissIndex
from rag.store.note import has_note


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A generation opened for reading: its folder, its manifest and its passages. The other parts load when asked.

    `anew` says that the hash of every part is taken, though none may have changed since it was.
    """

    folder: Path
    manifest: Manifest
    corpus: Corpus
    anew: bool = False

    def check_encoder(self, fingerprint: EncoderFingerprint) -> None:
        """Raises IndexMismatchError where another encoder made this index."""
        stored = asdict(self.manifest.encoder)
        now = asdict(fingerprint)
        differing = [name for name in now if stored[name] != now[name]]
        if not differing:
            return
        details = "; ".join(f"{name}: {stored[name]!r:.40} in the index, {now[name]!r:.40} now" for name in differing)
        raise IndexMismatchError(
            f"{self.folder.parent} was built with another encoder ({details})",
            _encode_again(self.folder, self.manifest),
            to=f"choose the one that made it with --set encoder.model={self.manifest.encoder_model}, or rebuild it",
        )

    def check_holds_passages(self) -> None:
        """Raises DataError, with the command that adds documents, for an index that holds none."""
        if not self.corpus:
            folder = self.folder.parent
            raise DataError(f"{folder} holds no documents; add some: {fixes.ingest(folder, ['PATH'])}")

    def vectors(self, *, nprobe: int = 32, ef_search: int = 128) -> Vectors:
        """One row for each passage, then one for each window, then one for each question beside a passage."""
        n_windows = len(self.windows())
        fix = _encode_again(self.folder, self.manifest)
        if is_segmented(self.folder):
            with _with_fix(fix):
                check = functools.partial(check_part, self.folder, fix=fix, anew=self.anew)
                more = {"nprobe": nprobe, "ef_search": ef_search}
                return open_vectors(self.folder, self.manifest, n_windows, check, **more)
        path = self.folder / VECTORS
        check_part(self.folder, VECTORS, fix, anew=self.anew)
        if not has_hashes(self.folder):
            check_vectors(path, len(self.corpus) + n_windows, self.manifest, fix)
        try:
            index = FaissIndex.load(path, nprobe=nprobe, ef_search=ef_search)
        except IndexMismatchError as error:
            raise IndexMismatchError(error.what, fix) from error
        except (RuntimeError, MemoryError, ValueError) as error:
            raise IndexMismatchError(f"{path} is missing or damaged ({error})", fix) from error
        if len(index) != len(self.corpus) + n_windows:
            raise IndexMismatchError(
                f"{self.folder} holds {len(index):,} vectors for {len(self.corpus):,} passages and {n_windows:,} "
                "windows and questions",
                fix,
            )
        return index

    def windows(self) -> np.ndarray:
        """(m,) int: the passage's row of each window, then of each question; empty for an index without either."""
        if not (self.manifest.window_sentences or self.manifest.questions):
            return np.zeros(0, np.int64)
        path = self.folder / WINDOWS
        fix = _encode_again(self.folder, self.manifest)
        check_part(self.folder, WINDOWS, fix, anew=self.anew)
        try:
            owners = np.load(path, allow_pickle=False)
            if owners.ndim != 1 or owners.dtype != np.int64:
                raise ValueError(f"it holds {owners.dtype} of shape {owners.shape}")
            if len(owners) and not 0 <= owners.min() <= owners.max() < len(self.corpus):
                raise ValueError("it names passages that are not there")
        except ARRAY_ERRORS as error:
            raise IndexMismatchError(f"{path} is missing or damaged ({error})", fix) from error
        return owners

    def questions(self) -> Beside:
        """The questions that were written about the passages."""
        if not self.manifest.questions:
            return Beside()
        fix = _encode_again(self.folder, self.manifest)
        check_part(self.folder, QUESTIONS, fix, anew=self.anew)
        with _with_fix(fix):
            return read_beside(self.folder, self.corpus, self.manifest.questions)

    def bm25(self) -> BM25Retriever:
        """The BM25 index over the passages. Raises DataError where there are none."""
        self.check_holds_passages()
        fix = _encode_again(self.folder, self.manifest)
        if isinstance(self.corpus, StoredCorpus) and is_segmented(self.folder):
            with _with_fix(fix):
                check = functools.partial(check_part, self.folder, fix=fix, anew=self.anew)
                return open_bm25(self.folder, self.manifest, self.corpus, check)
        check_part(self.folder, BM25, fix, anew=self.anew)
        if not has_hashes(self.folder):
            check_bm25(self.folder / BM25, len(self.corpus), fix)
        try:
            return BM25Retriever.load(self.folder / BM25, self.corpus, analyzer=self.manifest.analyzer)
        except IndexMismatchError as error:
            raise IndexMismatchError(error.what, fix) from error
        except (TypeError, AttributeError, MemoryError, EOFError, ImportError) as error:
            raise IndexMismatchError(f"{self.folder / BM25} is missing or damaged ({error})", fix) from error


def open_index(folder: str | Path) -> OpenIndex:
    """Open the generation that serves; raises as `serving_manifest` does, and for passages that are not its own."""
    return open_generation(*serving_manifest(folder))


def open_generation(generation: Path, manifest: Manifest, *, anew: bool = False) -> OpenIndex:
    """Open a generation with its passages, which stay on the disk where the generation has a table of them.

    `anew` takes the hash of every part. Raises IndexMismatchError where the passages are damaged or not its own.
    """
    if has_note(generation.parent):
        from rag.index.stored_index import open_stored

        return open_stored(generation, manifest)
    fix = fixes.remake(generation.parent, manifest.corpus_path)
    if (stored := open_passages(generation, manifest, fix, anew=anew)) is not None:
        return OpenIndex(generation, manifest, stored, anew)
    path = generation / PASSAGES
    try:
        if path.is_dir():  # a folder may hold a corpus, which is not this one
            raise DataError("a folder stands in its place")
        # An index whose last document was taken out holds no passage, as no corpus file does.
        is_empty = manifest.n_passages == 0 and not path.stat().st_size
        corpus = Corpus([]) if is_empty else load_corpus(path)
    except (DataError, OSError) as error:
        raise IndexMismatchError(f"the passages of {generation} cannot be read ({error})", fix) from error
    if len(corpus) != manifest.n_passages or not is_of(corpus, manifest.corpus_sha256):
        raise IndexMismatchError(
            f"{generation} holds {len(corpus):,} passages that are not the {manifest.n_passages:,} of its manifest", fix
        )
    return OpenIndex(generation, manifest, corpus, anew)


@contextlib.contextmanager
def _with_fix(fix: str) -> Iterator[None]:
    """Lets what cannot be opened inside raise IndexMismatchError with the command that makes it again."""
    try:
        yield
    except (IndexMismatchError, DataError) as error:
        raise IndexMismatchError(error.what if isinstance(error, IndexMismatchError) else str(error), fix) from error
    except (*ARRAY_ERRORS, RuntimeError, KeyError) as error:
        raise IndexMismatchError(f"a segment is missing or damaged ({error})", fix) from error


def _encode_again(generation: Path, manifest: Manifest) -> str:
    """The command that makes again what is made from sound passages.

    Named by its corpus file, a killed build goes on where it was; but an index may travel without the file.
    """
    if source_is_there(manifest):
        return fixes.index_corpus(manifest.corpus_path, generation.parent)
    return fixes.encode_again(generation.parent)


def passages_in_one_file(generation: Path, target: Path) -> Path:
    """A file of the passages of a generation: its own, or for one in segments `target`, which is written."""
    if not is_segmented(generation):
        return generation / PASSAGES
    described(open_generation(generation, read_manifest(generation)).corpus, path=target)
    return target


def damage_of(generation: Path, manifest: Manifest) -> str:
    """What is missing or not as the manifest says, of a generation's parts; "" where it is whole."""
    try:
        if damage := damage_to_any(generation):
            return damage
        opened = open_generation(generation, manifest)
        opened.vectors()
        if opened.corpus:
            opened.bm25()
        read_documents(generation)
    except IndexMismatchError as error:
        return error.what
    return ""


def read_documents(generation: Path) -> list[dict]:
    """The rows of documents.jsonl; [] for an index that was made from a corpus file.

    Raises IndexMismatchError where it is not as it was written.
    """
    if has_note(generation.parent):
        return rows_of_documents(generation)
    parts = read_parts(generation)
    if parts.named and DOCUMENTS not in parts.named:
        return []
    rows = rows_of_documents(generation)
    if damage_to(generation, DOCUMENTS, anew=False) or (not rows and not parts.named and _is_of_documents(generation)):
        raise IndexMismatchError(f"{generation / DOCUMENTS} is damaged", fixes.ingest(generation.parent))
    return rows


def _is_of_documents(generation: Path) -> bool:
    """Whether an index holds passages that are of no corpus file."""
    manifest = read_manifest(generation)
    return manifest.n_passages > 0 and not manifest.corpus_path


def rows_of_documents(generation: Path) -> list[dict]:
    """`read_documents`, as far as the lines can be read: their bytes may be others than were written."""
    if has_note(generation.parent):
        from rag.index.stored import stored_documents

        return stored_documents(generation)
    path = generation / DOCUMENTS
    try:
        if not path.exists():
            return []
        rows = [row for _, row in json_rows(path)]
        if not all(map(_is_document, rows)):
            raise DataError("a line describes no document")
    except (DataError, OSError) as error:
        raise IndexMismatchError(f"{path} is damaged", fixes.ingest(generation.parent)) from error
    return rows


def _is_document(row: dict) -> bool:
    """Whether a row has what every reader of it takes for granted."""
    kinds: dict[str, type] = {"sha256": str, "kind": str, "title": str, "n_passages": int, "paths": list}
    if not all(isinstance(row.get(name), kind) for name, kind in kinds.items()):
        return False
    return all(
        isinstance(place, dict) and isinstance(place.get("root"), str) and isinstance(place.get("path"), str)
        for place in row["paths"]
    )


def read_sources(generation: Path) -> dict[str, Any]:
    """What an index of documents follows: {"roots": […], "forgotten": […]}, both paths of files and folders.

    Addresses of web pages are among them; {"depths": {…}} says how many links away from one pages are taken, {"names":
    {…}} to which collection belongs what lies below a path, and {"left_out": {…}} why files were not read. Where that
    is lost, the roots are those of the documents. Raises IndexMismatchError where these are damaged too.
    """
    if has_note(generation.parent):
        from rag.index.stored import stored_sources

        return stored_sources(generation)
    path = generation / SOURCES
    stored = {} if _is_damaged(generation, SOURCES) else json_if_sound(path) or {}
    if all(_are_texts(stored.get(key)) for key in ("roots", "forgotten")):
        followed = {"roots": stored["roots"], "forgotten": stored["forgotten"]}
        more = {key: stored.get(key) for key in ("depths", "names", "left_out")}
        return followed | {key: value for key, value in more.items() if isinstance(value, dict) and value}
    try:
        documents = rows_of_documents(generation)
        if _is_damaged(generation, DOCUMENTS):
            raise IndexMismatchError(f"{generation / DOCUMENTS} is damaged")
    except IndexMismatchError as error:
        raise IndexMismatchError(
            f"the files that {generation.parent} was made from are no longer known",
            fixes.start_again(generation.parent),
            to="delete it and name the files again",
        ) from error
    if documents:
        say(f"{path} is missing or damaged: the roots are taken from the documents, what was forgotten is not known")
    places = [place for row in documents for place in row["paths"]]
    followed = {"roots": list(dict.fromkeys(p.get("address") or p["root"] for p in places)), "forgotten": []}
    names = {p.get("address") or p["root"]: p["collection"] for p in places if p.get("collection")}
    return {**followed, "names": names} if names else followed


def _is_damaged(generation: Path, name: str) -> bool:
    """Whether a part is not as it was written, as far as the manifest can say."""
    try:
        return bool(damage_to(generation, name, anew=False))
    except IndexMismatchError:
        return False


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def kept_documents(folder: str | Path) -> Iterator[dict]:
    """The documents of the generation that serves, then of the one before it, as far as they can be read."""
    if has_note(folder):
        yield from read_documents(serving_manifest(folder)[0])
        return
    for pointer in (CURRENT, PREVIOUS):
        generation = read_pointer(Path(folder), pointer)
        if generation is not None:
            with contextlib.suppress(IndexMismatchError):
                yield from read_documents(generation)
