"""The index folder: passages, vectors, BM25, and a manifest that says what made them.

INDEX/CURRENT                     names the generation that serves, replaced atomically
INDEX/PREVIOUS                    names the one before it, which `roll_back` goes back to
INDEX/generation-…/manifest.json  corpus hash, passage count, encoder fingerprint, settings, format version
                  /passages.jsonl /vectors.faiss /bm25/
                  /windows.npy    for an index with windows: the passage of each vector behind the passages' own
                  /documents.jsonl /sources.json  the documents that the passages are of and what they were taken in
                                                  from, for an index of files
INDEX/building/                   finished shards of a build under way; a killed build goes on from them
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import json
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from rag.data import EMBEDDED, Corpus, corpus_file, json_rows, load_corpus
from rag.errors import DataError, IndexMismatchError
from rag.files import file_sha256, json_line, wait_for_disk, write_durably, write_json, write_whole
from rag.progress import progress, say
from rag.retrieve.bm25 import BM25Retriever
from rag.retrieve.encoder import Encoder, EncoderFingerprint
from rag.retrieve.index import FaissIndex
from rag.retrieve.windows import mix_windows, window_contents

FORMAT_VERSION = 1
SHARD_PASSAGES = 4096
EXACT_FACTORIES = ("Flat", "HNSW16", "HNSW32", "HNSW64")
CURRENT, PREVIOUS, BUILDING = "CURRENT", "PREVIOUS", "building"
MANIFEST, DOCUMENTS, SOURCES = "manifest.json", "documents.jsonl", "sources.json"
WINDOWS = "windows.npy"
TWIN = "-b"  # ends the other name of a generation


@dataclass(frozen=True, slots=True)
class Manifest:
    """What made an index."""

    format_version: int
    corpus_path: str
    corpus_file_sha256: str
    corpus_sha256: str
    n_passages: int
    passages_cut: int
    encoder_model: str
    encoder: EncoderFingerprint
    factory: str
    bm25: dict = field(default_factory=dict)
    window_sentences: int = 0
    created: str = ""
    seconds: float = 0.0
    hardware: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the passages, the encoder or the kind of index."""
        windows = [self.window_sentences] if self.window_sentences else []  # without, an index is what it always was
        return _digest(self.corpus_sha256, asdict(self.encoder), self.factory, self.bm25, *windows)[:12]


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A generation opened for reading."""

    folder: Path
    manifest: Manifest
    corpus: Corpus

    def check_encoder(self, fingerprint: EncoderFingerprint) -> None:
        """Raises IndexMismatchError where another encoder made this index."""
        stored, now = asdict(self.manifest.encoder), asdict(fingerprint)
        if differing := [name for name in now if stored[name] != now[name]]:
            details = "; ".join(
                f"{name}: {stored[name]!r:.40} in the index, {now[name]!r:.40} now" for name in differing
            )
            raise IndexMismatchError(
                f"{self.folder.parent} was built with another encoder ({details}); "
                f"{_rebuild(self.manifest.corpus_path, self.folder.parent, passages_sound=True)}, "
                f"or choose the encoder that made it ({self.manifest.encoder_model}) with --set encoder.model=…"
            )

    def vectors(self, *, nprobe: int = 32, ef_search: int = 128) -> FaissIndex:
        """One row for each passage, then one for each window."""
        index = FaissIndex.load(self.folder / "vectors.faiss", nprobe=nprobe, ef_search=ef_search)
        if len(index) != (wanted := len(self.corpus) + len(self.windows())):
            raise IndexMismatchError(
                f"{self.folder} holds {len(index):,} vectors where {wanted:,} belong; "
                f"{_rebuild(self.manifest.corpus_path, self.folder.parent, passages_sound=True)}"
            )
        return index

    def windows(self) -> np.ndarray:
        """(m,) int: the passage's row of each window."""
        return read_windows(self.folder, self.manifest)

    def bm25(self) -> BM25Retriever:
        return BM25Retriever.load(self.folder / "bm25", self.corpus)


def build_index(
    corpus_path: str | Path,
    target: str | Path,
    encoder: Encoder,
    *,
    encoder_model: str = "",
    factory: str | None = None,
    window_sentences: int | None = None,
    hardware: str = "",
) -> Manifest:
    """Index a corpus file into `target`; returns the manifest.

    An unchanged corpus, encoder and setting is left as it is, unless a part of the index is missing or damaged. What
    was encoded before a kill, or stands in the generation that serves, is not encoded again. That generation stays
    until the new one is whole. Where `factory` or `window_sentences` is None, an index keeps its own; a new one is Flat
    and without windows.
    """
    corpus = load_corpus(corpus_path)
    with writer_lock(target):
        return build_generation(
            corpus,
            target,
            encoder,
            corpus_path=EMBEDDED if str(corpus_path) == EMBEDDED else str(corpus_file(corpus_path).resolve()),
            corpus_file_sha256=_source_sha256(str(corpus_path)),
            encoder_model=encoder_model,
            factory=factory,
            window_sentences=window_sentences,
            hardware=hardware,
        )


def build_generation(
    corpus: Corpus,
    target: str | Path,
    encoder: Encoder,
    *,
    corpus_path: str = "",
    corpus_file_sha256: str = "",
    documents: Sequence[Mapping] | None = None,
    sources: Mapping | None = None,
    from_scratch: bool = False,
    encoder_model: str = "",
    factory: str | None = None,
    window_sentences: int | None = None,
    hardware: str = "",
) -> Manifest:
    """`build_index` of passages at hand, for a caller who holds the `writer_lock`.

    `documents` describes the files that the passages are of, `sources` what they were taken in from; both are kept with
    them. `from_scratch` trusts nothing that is there. Raises DataError for two passages of one id.
    """
    started = time.monotonic()
    target = Path(target)
    if twice := next((pid for pid, n in Counter(p.id for p in corpus).items() if n > 1), None):
        raise DataError(f"two passages have the id {twice!r}")
    current = _read_current(target)
    own = _read_if_sound(current)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        corpus_path=corpus_path,
        corpus_file_sha256=corpus_file_sha256,
        corpus_sha256=corpus.sha256(),
        n_passages=len(corpus),
        passages_cut=0,
        encoder_model=encoder_model,
        encoder=encoder.fingerprint,
        factory=(own.factory if own else "Flat") if factory is None else factory,
        bm25={"k1": 1.5, "b": 0.75, "language": "english"},
        window_sentences=(own.window_sentences if own else 0) if window_sentences is None else window_sentences,
    )
    for generation in dict.fromkeys((current, *_twins(target, manifest.fingerprint))):
        # One that does not serve is one that a kill kept from it, or that another switched away from.
        if from_scratch or generation is None or not generation.is_dir():
            continue
        existing = _read_if_sound(generation)
        if existing is None or existing.fingerprint != manifest.fingerprint:
            continue
        if damage := _damage(generation, existing):
            say(f"{generation} is damaged and is built again ({damage})")
            continue
        if generation != current:
            _serve(target, generation, previous=current)
        if documents is not None:
            _write_documents(generation, documents, sources)
        return _touch_source(generation, existing, manifest)
    if from_scratch:
        shutil.rmtree(target / BUILDING, ignore_errors=True)
    building = _prepare_building(target, manifest, current)
    known = _KnownVectors(None if from_scratch else current, encoder.fingerprint)
    wholes = [passage.content for passage in corpus]
    reused = known.of_passages(wholes)
    vectors, passages_cut = _encode_in_shards("passages", wholes, reused, encoder, building)
    if known.some_cut:
        passages_cut += encoder.count_cut([wholes[position] for position in reused])
    if manifest.window_sentences:
        vectors = _with_windows(corpus, vectors, manifest.window_sentences, known, encoder, building)
    _write_generation(building, corpus, vectors, manifest)
    if documents is not None:
        _write_documents(building, documents, sources)
    manifest = dataclasses.replace(
        manifest,
        passages_cut=passages_cut,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        hardware=hardware,
    )
    write_json(building / MANIFEST, _manifest_json(manifest))
    _switch(target, building, manifest, previous=current)
    return manifest


def roll_back(folder: str | Path) -> Manifest:
    """Let the generation before the present one serve again; a second call goes forward again.

    It serves though its corpus file has changed since, until that changes once more. Raises IndexMismatchError where
    there is none.
    """
    folder = Path(folder)
    if not _is_begun(folder):
        raise IndexMismatchError(f"{folder} holds no index; make one: {_make(folder)}")
    with writer_lock(folder):
        current, previous = _read_current(folder), _read_pointer(folder, PREVIOUS)
        if previous and current and _state(previous) == _state(current):  # killed between the writes of a switch
            others = (other for other in sorted(folder.glob("generation-*")) if _state(other) != _state(current))
            previous = next(others, None)
        if previous is None:
            raise IndexMismatchError(f"{folder} holds no generation to go back to")
        manifest = read_manifest(previous)
        if _source_is_there(manifest):
            seen = dataclasses.replace(manifest, corpus_file_sha256=_source_sha256(manifest.corpus_path))
            manifest = _touch_source(previous, manifest, seen)
        _serve(folder, previous, previous=current)
    return manifest


def read_documents(generation: Path) -> list[dict]:
    """The rows of documents.jsonl; [] for an index that was made from a file of passages.

    Raises IndexMismatchError where a line is damaged.
    """
    path = generation / DOCUMENTS
    try:
        return [row for _, row in json_rows(path)] if path.is_file() else []
    except DataError as error:
        raise IndexMismatchError(f"{path} is damaged; {_rebuild('', generation.parent)}") from error


def read_sources(generation: Path) -> dict:
    """What an index of files was taken in from: {"roots": […], "forgotten": […]}.

    Where that is lost, the roots are those of the documents. Raises IndexMismatchError where these are damaged too.
    """
    path, folder = generation / SOURCES, shlex.quote(str(generation.parent))
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: list(stored[name]) for name in ("roots", "forgotten")}
    except (OSError, ValueError, TypeError, KeyError):
        try:
            documents = read_documents(generation)
        except IndexMismatchError as error:
            raise IndexMismatchError(
                f"{generation.parent} no longer tells what it was taken in from; delete it and name the files again: "
                f"rm -r {folder} && rag ingest PATH -i {folder}"
            ) from error
    if documents:
        say(f"{path} is missing or damaged: what was taken in is known from the documents, what was forgotten is not")
    return {"roots": list(dict.fromkeys(p["root"] for row in documents for p in row["paths"])), "forgotten": []}


def _write_documents(generation: Path, documents: Sequence[Mapping], sources: Mapping | None) -> None:
    write_json(generation / SOURCES, dict(sources or {"roots": [], "forgotten": []}))
    write_whole(generation / DOCUMENTS, b"".join(json_line(row) for row in documents))


def serves(folder: str | Path) -> bool:
    """Whether a generation serves, sound or not."""
    return _read_current(Path(folder)) is not None


def kept_documents(folder: str | Path) -> Iterator[dict]:
    """The documents of the generation that serves, then of the one before it, as far as they can be read."""
    for generation in (_read_pointer(Path(folder), pointer) for pointer in (CURRENT, PREVIOUS)):
        with contextlib.suppress(IndexMismatchError):
            yield from read_documents(generation) if generation else ()


def serving_manifest(folder: str | Path) -> tuple[Path, Manifest]:
    """The folder and manifest of the generation that serves, without loading anything else.

    Raises IndexMismatchError, with the command that mends it, for a missing or damaged index, or a corpus file that
    has changed since.
    """
    folder = Path(folder)
    current = _read_current(folder)
    if current is None:
        hint = " (an unfinished build is there: run the same command again)" if (folder / BUILDING).exists() else ""
        raise IndexMismatchError(f"{folder} holds no index{hint}; make one: {_make(folder)}")
    manifest = read_manifest(current)
    check_source(manifest, folder)
    return current, manifest


def open_index(folder: str | Path) -> OpenIndex:
    """Open the generation that serves; raises as `serving_manifest` does, and for passages that are not its own."""
    return _open(*serving_manifest(folder))


def _open(generation: Path, manifest: Manifest) -> OpenIndex:
    corpus = load_corpus(generation / "passages.jsonl")
    if len(corpus) != manifest.n_passages or corpus.sha256() != manifest.corpus_sha256:
        raise IndexMismatchError(
            f"{generation} holds {len(corpus):,} passages that are not the {manifest.n_passages:,} of its manifest; "
            f"{_rebuild(manifest.corpus_path, generation.parent)}"
        )
    return OpenIndex(generation, manifest, corpus)


def read_manifest(generation: Path) -> Manifest:
    """The manifest of a generation folder."""
    try:
        raw = json.loads((generation / MANIFEST).read_text(encoding="utf-8"))
        if raw.get("format_version") != FORMAT_VERSION:
            raise IndexMismatchError(
                f"{generation} has index format {raw.get('format_version')}, this version reads {FORMAT_VERSION}; "
                f"{_rebuild(raw.get('corpus_path', 'CORPUS'), generation.parent)}"
            )
        stored = raw.pop("fingerprint")
        manifest = Manifest(**{**raw, "encoder": EncoderFingerprint(**raw["encoder"])})
        if manifest.fingerprint != stored:
            raise ValueError(f"its fingerprint should be {manifest.fingerprint}, not {stored}")
        return manifest
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IndexMismatchError(
            f"the manifest of {generation} is missing or damaged ({error}); build the index again: "
            f"rag index CORPUS -o {generation.parent}"
        ) from error


def _read_if_sound(generation: Path | None) -> Manifest | None:
    with contextlib.suppress(IndexMismatchError):
        return read_manifest(generation) if generation else None
    return None


def _damage(generation: Path, manifest: Manifest) -> str:
    """What is missing or not as the manifest says, of a generation's parts; "" where it is whole."""
    try:
        opened = _open(generation, manifest)
        opened.vectors()
        opened.bm25()
        read_documents(generation)
    except (IndexMismatchError, DataError, OSError) as error:
        return str(error).split(";")[0]
    return ""


def check_source(manifest: Manifest, folder: Path) -> None:
    """Refuse an index whose corpus file is still there but no longer the same."""
    if not _source_is_there(manifest):
        return  # an index may travel without the file that it was made from
    if _source_sha256(manifest.corpus_path) == manifest.corpus_file_sha256:
        return
    now = len(load_corpus(manifest.corpus_path))
    raise IndexMismatchError(
        f"{folder} was built for {manifest.n_passages:,} passages, but {manifest.corpus_path} has changed since "
        f"(now {now:,}); {_rebuild(manifest.corpus_path, folder)}"
    )


def _source_is_there(manifest: Manifest) -> bool:
    return manifest.corpus_path == EMBEDDED or Path(manifest.corpus_path).is_file()


def _make(folder: Path) -> str:
    own = shlex.quote(str(folder))
    return f"rag index CORPUS -o {own}, or of documents: rag ingest PATH -i {own}"


def _rebuild(corpus_path: str, folder: Path, *, passages_sound: bool = False) -> str:
    """How to mend an index; one of files is encoded again where its passages are sound, else taken in again."""
    own = shlex.quote(str(folder))
    if corpus_path:
        return f"rebuild it: rag index {shlex.quote(corpus_path)} -o {own}"
    return (
        f"rebuild it: rag index --rebuild -o {own}"
        if passages_sound
        else f"take the files in again: rag ingest -i {own}"
    )


def _source_sha256(corpus_path: str) -> str:
    if corpus_path == EMBEDDED:
        return load_corpus(EMBEDDED).sha256()
    return file_sha256(corpus_file(corpus_path))


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _manifest_json(manifest: Manifest) -> dict:
    return {**asdict(manifest), "fingerprint": manifest.fingerprint}


def is_index(folder: Path) -> bool:
    """Whether a folder holds a generation of an index, which names that others use too do not show."""
    return (folder / CURRENT).is_file() or any(folder.glob("generation-*/" + MANIFEST))


def _is_begun(folder: Path) -> bool:
    """Whether an index was begun in a folder, though no generation of it need be there."""
    return any((folder / name).exists() for name in (CURRENT, BUILDING, ".lock"))


@contextlib.contextmanager
def writer_lock(folder: str | Path) -> Iterator[None]:
    """Be the one process that changes an index; the folder is made where there is none.

    Raises DataError for a folder with other things in it, IndexMismatchError where another process holds the lock.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder for the index")
    if folder.is_dir() and any(folder.iterdir()) and not _is_begun(folder):
        raise DataError(f"{folder} holds other files and is no index; name a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / ".lock"), folder / ".lock-holder"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        with contextlib.suppress(OSError):
            raise IndexMismatchError(
                f"process {holder.read_text(encoding='utf-8').strip()} is changing {folder}; wait until it has finished"
            ) from error
        raise IndexMismatchError(f"another process is changing {folder}; wait until it has finished") from error
    try:
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read_current(folder: Path) -> Path | None:
    return _read_pointer(folder, CURRENT)


def _read_pointer(folder: Path, pointer: str) -> Path | None:
    try:
        name = (folder / pointer).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return folder / name if name and (folder / name).is_dir() else None


def _touch_source(generation: Path, existing: Manifest, wanted: Manifest) -> Manifest:
    """The same passages may come from another file, or from the same file written anew: remember which."""
    updated = dataclasses.replace(
        existing, corpus_path=wanted.corpus_path, corpus_file_sha256=wanted.corpus_file_sha256
    )
    if updated != existing:
        write_json(generation / MANIFEST, _manifest_json(updated))
    return updated


def _prepare_building(target: Path, manifest: Manifest, current: Path | None) -> Path:
    """The folder of the build under way; shards of another corpus or encoder are thrown away."""
    building = target / BUILDING
    # Which passages are left to encode, and so what a shard holds, depends on the generation that serves.
    serving = current.name if current else ""
    key = {"fingerprint": manifest.fingerprint, "serving": serving, "shard_passages": SHARD_PASSAGES}
    key_file = building / "key.json"
    if not key_file.is_file() or json.loads(key_file.read_text(encoding="utf-8")) != key:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        write_json(key_file, key)
    return building


class _KnownVectors:
    """The vectors that the generation which serves holds, if the same encoder made them; only exact ones.

    `some_cut`: among its passages are some that were longer than the encoder takes.
    """

    def __init__(self, generation: Path | None, fingerprint: EncoderFingerprint):
        self._rows: dict[str, int] = {}
        self._window_rows: dict[int, dict[tuple[str, str], list[int]]] = {}
        self._index: FaissIndex | None = None
        self.some_cut = False
        if generation is None:
            return
        with contextlib.suppress(IndexMismatchError, DataError):
            manifest = read_manifest(generation)
            if manifest.encoder == fingerprint and manifest.factory in EXACT_FACTORIES:
                self.some_cut = manifest.passages_cut > 0
                self._index = FaissIndex.load(generation / "vectors.faiss")
                corpus = _open(generation, manifest).corpus
                windows = read_windows(generation, manifest)
                if len(self._index) == len(corpus) + len(windows):
                    self._rows = {passage.content: row for row, passage in enumerate(corpus)}
                    theirs = self._window_rows.setdefault(manifest.window_sentences, {})
                    for row, owner in enumerate(windows.tolist(), len(corpus)):
                        theirs.setdefault((corpus[owner].title, corpus[owner].text), []).append(row)

    def of_passages(self, contents: Sequence[str]) -> dict[int, np.ndarray]:
        """Position among `contents` -> the vector of a passage that reads so."""
        return self._read({n: self._rows[text] for n, text in enumerate(contents) if text in self._rows})

    def of_windows(self, corpus: Corpus, owners: Sequence[int], n_sentences: int) -> dict[int, np.ndarray]:
        """Position of a window -> its vector, where the passage at `owners` in `corpus` is known with windows."""
        theirs = self._window_rows.get(n_sentences, {})
        rows: dict[int, int] = {}
        for owner, positions in itertools.groupby(range(len(owners)), key=owners.__getitem__):
            passage = corpus[owner]  # windows are cut from the text alone: one that is all text has others
            rows |= zip(positions, theirs.get((passage.title, passage.text), ()), strict=False)
        return self._read(rows)

    def _read(self, rows: Mapping[int, int]) -> dict[int, np.ndarray]:
        return dict(zip(rows, self._index.vectors(list(rows.values())), strict=True)) if rows else {}


def read_windows(generation: Path, manifest: Manifest) -> np.ndarray:
    """(m,) int: the passage's row of each window of an index; none where it was made without."""
    if not manifest.window_sentences:
        return np.zeros(0, np.int64)
    try:
        return np.load(generation / WINDOWS)
    except (OSError, ValueError, EOFError) as error:
        raise IndexMismatchError(
            f"{generation / WINDOWS} is missing or damaged; "
            f"{_rebuild(manifest.corpus_path, generation.parent, passages_sound=True)}"
        ) from error


def _encode_in_shards(
    what: str, texts: Sequence[str], known: Mapping[int, np.ndarray], encoder: Encoder, building: Path
) -> tuple[np.ndarray, int]:
    """(n, d) float32 vectors and how many texts were cut; each finished shard is on disk before the next begins.

    A shard gathers texts of similar length from all of them, so that hardly anything is spent on padding.
    """
    vectors = np.empty((len(texts), encoder.fingerprint.dimension), np.float32)
    for position, vector in known.items():
        vectors[position] = vector
    left = [position for position in range(len(texts)) if position not in known]
    by_length = np.array(sorted(left, key=lambda position: -len(texts[position])), np.int64)
    shards = [by_length[i : i + SHARD_PASSAGES] for i in range(0, len(by_length), SHARD_PASSAGES)]
    files = [building / f"shard-{what}-{number:05d}.npz" for number in range(len(shards))]
    done = sum(len(rows) for rows, file in zip(shards, files, strict=True) if file.exists())
    cut = 0
    if not left:
        return vectors, 0
    with progress("Encoding", len(left), what, already_done=done) as bar:
        for rows, file in zip(shards, files, strict=True):
            if not file.exists():
                encoded, n_cut = encoder.encode_passages([texts[row] for row in rows.tolist()], advance=bar.advance)
                temporary = file.with_suffix(".tmp")
                with temporary.open("wb") as stream:
                    np.savez(stream, vectors=encoded, cut=n_cut)
                os.replace(temporary, file)
            with np.load(file) as shard:
                vectors[rows] = shard["vectors"]
                cut += int(shard["cut"])
    return vectors, cut


def _with_windows(
    corpus: Corpus, wholes: np.ndarray, n_sentences: int, known: _KnownVectors, encoder: Encoder, building: Path
) -> np.ndarray:
    """The passages' vectors (n, d) and behind them those of their windows (n + m, d); writes which is whose."""
    windows = [(row, text) for row, passage in enumerate(corpus) for text in window_contents(passage, n_sentences)]
    owners = np.array([row for row, _ in windows], np.int64)
    mixed = known.of_windows(corpus, owners.tolist(), n_sentences)
    vectors, _ = _encode_in_shards("windows", [text for _, text in windows], mixed, encoder, building)
    fresh = np.setdiff1d(np.arange(len(windows)), list(mixed))
    vectors[fresh] = mix_windows(vectors[fresh], wholes[owners[fresh]])
    with (building / WINDOWS).open("wb") as stream:
        np.save(stream, owners)
    return np.concatenate([wholes, vectors])


def _write_generation(building: Path, corpus: Corpus, vectors: np.ndarray, manifest: Manifest) -> None:
    index = FaissIndex(vectors.shape[1], manifest.factory)
    index.train(vectors)
    index.add(vectors)
    index.save(building / "vectors.faiss")
    BM25Retriever(corpus).save(building / "bm25")
    with (building / "passages.jsonl").open("w", encoding="utf-8") as stream:
        for passage in corpus:
            row = {"id": passage.id, "title": passage.title, "text": passage.text, "source": passage.source}
            if place := passage.place:  # not asdict, which takes longer than all the rest
                row["place"] = {"start": place.start, "end": place.end, "page": place.page}
            stream.write(json.dumps(row) + "\n")


def _twins(target: Path, fingerprint: str) -> tuple[Path, Path]:
    """The two folders that a generation may stand in: while it serves from one, it can be built again in the other."""
    return target / f"generation-{fingerprint}", target / f"generation-{fingerprint}{TWIN}"


def _state(generation: Path) -> str:
    """What a generation holds, whichever of the two folders it stands in."""
    return generation.name.removesuffix(TWIN)


def _switch(target: Path, building: Path, manifest: Manifest, *, previous: Path | None) -> None:
    """Make the finished build the generation that serves, and keep the one before."""
    generation = next(folder for folder in _twins(target, manifest.fingerprint) if folder != previous)
    shutil.rmtree(generation, ignore_errors=True)
    for path in (*building.rglob("*"), building):
        wait_for_disk(path)
    os.rename(building, generation)
    _serve(target, generation, previous=previous)
    for leftover in (*generation.glob("shard-*"), generation / "key.json"):
        leftover.unlink(missing_ok=True)


def _serve(target: Path, generation: Path, *, previous: Path | None) -> None:
    """Switch to a whole generation at once; all but it and the one before are dropped.

    What serves in the place of its twin has the same generation before it, if that is not the twin itself.
    """
    if previous is not None and _state(previous) != _state(generation):
        write_durably(target / PREVIOUS, previous.name + "\n")
    write_durably(target / CURRENT, generation.name + "\n")
    before = _read_pointer(target, PREVIOUS)
    if before is not None and _state(before) == _state(generation):
        (target / PREVIOUS).unlink()
        before = None
    kept = {generation, before}
    for other in target.glob("generation-*"):
        if other not in kept:
            shutil.rmtree(other, ignore_errors=True)
