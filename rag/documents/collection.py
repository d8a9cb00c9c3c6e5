"""A collection: which files are taken in, what they hold, and how they become passages.

INDEX/documents/HASH.json   a file's text and structure, by the SHA-256 of its bytes; what a killed run has parsed is
                            not parsed again, and source cards open on it
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rag.documents.chunk import ChunkSettings, CountTokens, chunk_document, title_of
from rag.documents.document import Block, Document
from rag.documents.parse import SUFFIXES
from rag.errors import DataError, UnreadableFile
from rag.files import file_sha256, write_whole
from rag.types import Passage, Place

FOLDER = "documents"
PARSER_VERSION = 3
HASH_CHARACTERS = 24
PERMUTATIONS, SHINGLE_WORDS, SCHEME = 64, 5, "affine32"
SHINGLES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to take in: the folder or file that was named, the path below it, and what it holds."""

    root: str
    path: str
    sha256: str
    size: int
    modified: float

    @property
    def full_path(self) -> Path:
        return Path(self.root) / self.path if self.path else Path(self.root)

    @property
    def shown_path(self) -> str:
        """The path as people know it: with the last part of the folder that was named."""
        return readable((Path(self.root).name / Path(self.path)).as_posix())


@dataclass(slots=True)
class Scan:
    """What a walk over files and folders found, and what it left out: path -> reason."""

    files: list[FoundFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    other_kinds: Counter = field(default_factory=Counter)


def scan(
    roots: Sequence[str | Path], *, max_bytes: int, is_index: Callable[[Path], bool] = lambda folder: False
) -> Scan:
    """Every readable file below the roots, in order of their names.

    Hidden files and folders are passed over, and folders that are an index; a link is followed to a file inside the
    same folder only. A file of a kind that is not read (a picture, say) is counted, and listed only where it was named
    itself. Raises DataError for a root that does not exist.
    """
    result = Scan()
    for root in roots:
        root = Path(root).resolve()
        if root.is_file():
            _take(result, root, root, "", max_bytes)
        elif root.is_dir():
            for folder, folders, names in os.walk(root, onerror=lambda e: _unlisted(result, e)):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in list(folders):
                    if is_index(Path(folder) / name):
                        folders.remove(name)
                    elif (link := Path(folder) / name).is_symlink():
                        folders.remove(name)
                        result.left_out[str(link)] = "a link to a folder"
                for name in sorted(names):
                    if not name.startswith("."):
                        path = Path(folder) / name
                        _take(result, root, path, path.relative_to(root).as_posix(), max_bytes)
        else:
            raise DataError(f"{root} does not exist; name files or folders to take in")
    return result


def _unlisted(result: Scan, error: OSError) -> None:
    result.left_out[str(error.filename)] = f"cannot be listed: {error.strerror}"


def _take(result: Scan, root: Path, path: Path, relative: str, max_bytes: int) -> None:
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            result.left_out[str(path)] = "a link out of the folder"
            return
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            result.left_out[str(path)] = "not a regular file"
        elif relative and path.suffix.lower() not in SUFFIXES:
            result.other_kinds[path.suffix.lower()] += 1
        elif status.st_size > max_bytes:
            size = f"{status.st_size / 2**20:,.0f} MiB"
            result.left_out[str(path)] = f"{size}, larger than the limit of {max_bytes / 2**20:,.0f} MiB"
        else:
            result.files.append(FoundFile(str(root), relative, file_sha256(path), status.st_size, status.st_mtime))
    except OSError as error:
        result.left_out[str(path)] = f"cannot be read: {error.strerror or error}"


class ParsedDocuments:
    """The store of parsed documents below an index, by the hash of the file."""

    def __init__(self, index_folder: str | Path):
        self.folder = Path(index_folder) / FOLDER

    def read(self, sha256: str, ocr: str = "") -> Document | None:
        """The document, or None where it was not parsed yet, or by another version, or where pages of it were not
        recognised in the languages `ocr`, which now can be."""
        try:
            raw = json.loads(self._path(sha256).read_text(encoding="utf-8"))
            if raw["parser_version"] != PARSER_VERSION:
                return None
            blocks = tuple(Block(**block) for block in raw["blocks"])
            if ocr and raw["ocr"] not in (None, ocr):
                return None
            return Document(raw["kind"], raw["title"], raw["text"], blocks, tuple(raw["notes"]), raw["ocr"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, sha256: str, document: Document) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(sha256), json.dumps({"parser_version": PARSER_VERSION, **asdict(document)}))

    def keep_only(self, hashes: Iterable[str]) -> None:
        """Drop what no generation needs any more."""
        wanted = set(hashes)
        if self.folder.is_dir():
            for path in self.folder.glob("*.json"):
                if path.stem not in wanted:
                    path.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


def parse_all(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    parse: Callable[[Path, str], Document],
    advance: Callable[[int], None] = lambda n: None,
    ocr: str = "",
) -> dict[str, str]:
    """Parse what the store lacks; returns path -> reason for those that cannot be read.

    `ocr` names the languages in which scanned pages can be read now.

    The same bytes are parsed once; a failure is not kept, so that the next run tries again.
    """
    failed: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for found in files:
        if found.sha256 not in reasons and store.read(found.sha256, ocr) is None:
            try:
                store.write(found.sha256, parse(found.full_path, found.sha256))
            except UnreadableFile as error:
                reasons[found.sha256] = str(error)
        if found.sha256 in reasons:
            failed[str(found.full_path)] = reasons[found.sha256]
        advance(1)
    return failed


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of a collection: what it holds, and every path under which it was found.

    `chunking` says how it was split; `minhash` is the signature of its words; `ocr` as in `Document`.
    """

    sha256: str
    kind: str
    title: str
    paths: tuple[Mapping, ...]
    n_passages: int
    n_characters: int
    chunking: Mapping
    minhash: tuple[int, ...]
    notes: tuple[str, ...] = ()
    ocr: str | None = None


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a run took in: the index's fingerprint, its documents, and what was left out with the reason."""

    fingerprint: str
    n_passages: int
    documents: Sequence[DocumentRecord]
    left_out: Mapping[str, str]
    other_kinds: Mapping[str, int]
    added: int
    removed: int
    kept: int
    near_duplicates: Sequence[tuple[str, str, float]] = ()


def make_passages(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    count_tokens: CountTokens,
    chunking: Mapping,
    before: Mapping[str, tuple[Mapping, Sequence[Passage]]],
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[list[Passage], list[DocumentRecord]]:
    """The passages of all files that were parsed, and the documents that they are of.

    The same bytes under several paths are one document. A passage's id is the first digits of its document's
    hash and its number; its title is the document's with the headings above it; its source the document's first path.
    `chunking` is everything that decides the chunks: ChunkSettings' values, and what counts the tokens. `before` holds
    the record and the passages of each document by its hash; what was split in the same way is not split again.
    """
    paths: dict[str, list[FoundFile]] = {}
    for found in files:
        paths.setdefault(found.sha256, []).append(found)
    chunking = {**chunking, "parser_version": PARSER_VERSION}
    settings = ChunkSettings(chunking["max_tokens"], chunking["overlap_tokens"])
    passages: list[Passage] = []
    records: list[DocumentRecord] = []
    for sha256, places in paths.items():
        advance(len(places))
        shown, found_at = places[0].shown_path, tuple(asdict(place) for place in places)
        record, kept = before.get(sha256, ({}, ()))
        document = store.read(sha256) if record.get("ocr") is not None or record.get("chunking") != chunking else None
        if record.get("chunking") == chunking and (document is None or document.ocr == record["ocr"]):
            passages += [dataclasses.replace(passage, source=shown) for passage in kept]
            records.append(DocumentRecord(**{**record, "paths": found_at}))
            continue
        if document is None:
            continue
        chunks = chunk_document(document, count_tokens, settings)
        passages += [
            Passage(
                f"{sha256[:HASH_CHARACTERS]}@{n}",
                chunk.text,
                title_of(document.title, chunk.heading),
                shown,
                Place(chunk.start, chunk.end, chunk.page),
            )
            for n, chunk in enumerate(chunks)
        ]
        records.append(
            DocumentRecord(
                sha256,
                document.kind,
                document.title,
                found_at,
                len(chunks),
                len(document.text),
                chunking,
                _signature(document.text),
                document.notes,
                document.ocr,
            )
        )
    return passages, records


def collections_of(documents: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """Documents by the folder that was named, or in which a named file lies; each with its `path` below that folder.

    A folder is called by as much of the end of its path as tells it from the others.
    """
    by_folder: dict[Path, list[Mapping]] = {}
    for document in documents:
        found: dict[Path, str] = {}
        for place in document["paths"]:
            root = Path(place["root"])
            folder, path = (root, place["path"]) if place["path"] else (root.parent, root.name)
            found.setdefault(folder, readable(path))
        for folder, path in found.items():
            by_folder.setdefault(folder, []).append({**document, "path": path})
    return {_told_apart(folder, by_folder): by_folder[folder] for folder in sorted(by_folder)}


def _told_apart(folder: Path, folders: Iterable[Path]) -> str:
    others = [other.parts for other in folders if other != folder]
    for n in range(1, len(folder.parts)):
        if all(other[-n:] != folder.parts[-n:] for other in others):
            return readable(Path(*folder.parts[-n:]).as_posix())
    return readable(folder.as_posix())


def readable(path: str) -> str:
    """A path as text: its name may hold bytes that are none."""
    return path.encode("utf-8", "replace").decode("utf-8")


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _signature(text: str) -> tuple[int, ...]:
    """MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) of a text's word 5-grams, by datasketch."""
    from datasketch import MinHash

    tokens = text.lower().split()
    shingles = {" ".join(tokens[n : n + SHINGLE_WORDS]) for n in range(max(len(tokens) - SHINGLE_WORDS + 1, 1))}
    made = MinHash(num_perm=PERMUTATIONS, scheme=SCHEME, hashfunc=zlib.crc32)
    for batch in _batches(sorted(shingles), SHINGLES_AT_ONCE):
        made.update_batch([shingle.encode("utf-8", "replace") for shingle in batch])
    return tuple(map(int, made.hashvalues))


def near_duplicates(
    documents: Sequence[DocumentRecord], new: Container[str], *, threshold: float = 0.8
) -> list[tuple[str, str, float]]:
    """Pairs of documents, one of them `new`, whose words nearly agree: (hash, hash, estimated Jaccard index)."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    hashes: dict[str, MinHash] = {}
    pairs = []
    for document in documents:
        made = hashes[document.sha256] = MinHash(
            num_perm=PERMUTATIONS, hashvalues=list(document.minhash), scheme=SCHEME
        )
        for other in sorted(lsh.query(made)):
            similarity = made.jaccard(hashes[other])
            if similarity >= threshold and (other in new or document.sha256 in new):
                pairs.append((other, document.sha256, round(float(similarity), 3)))
        lsh.insert(document.sha256, made)
    return pairs
