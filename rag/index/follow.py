"""What an index of documents follows, what it holds of it, and which files it is to hold now."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag import fixes
from rag.data.passages import Corpus
from rag.data.pieces import by_document
from rag.documents.address import canonical, covers, is_address
from rag.documents.collection import KnownDocument
from rag.documents.records import HASH_CHARACTERS
from rag.documents.scan import IN_A_CIRCLE, FoundFile, Look, Scan, fault_of, look_now, readable, resolved, scan
from rag.errors import DataError, IndexMismatchError
from rag.index.folder import is_index, known_generation, read_current, serves
from rag.index.manifest import read_if_sound, read_manifest
from rag.index.read import open_generation, read_documents, read_sources
from rag.index.stored_corpus import StoreCorpus, unread
from rag.progress import say
from rag.types import Passage

MAX_REASONS = 3
MAX_LEFT_OUT = 1000


@dataclass(frozen=True, slots=True)
class Followed:
    """What an index follows.

    `roots` are files, folders and addresses, `forgotten` what is left out below them; `depths` says for addresses how
    many links away pages are taken. `names` gives collections: what lies below a path, or was found from an address,
    belongs to the one of the longest path. `left_out` are the files that could not be read last time, `unusable` what
    was named, and can never be followed (path -> reason).
    """

    roots: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    depths: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The roots that are files and folders."""
        return [root for root in self.roots if not is_address(root)]

    @property
    def sites(self) -> dict[str, int]:
        """The roots that are addresses, each with its depth."""
        return {root: self.depths.get(root, 0) for root in self.roots if is_address(root)}

    def as_json(self) -> dict:
        """As a generation keeps it (`read_sources`)."""
        more = {"depths": self.depths, "names": self.names, "left_out": self.left_out}
        return {"roots": self.roots, "forgotten": self.forgotten} | {key: value for key, value in more.items() if value}

    def leaving_out(self, reasons: Mapping[str, str]) -> Followed:
        """The same, with why files could not be read (path -> reason); of very many the first."""
        first = sorted(reasons)[:MAX_LEFT_OUT]
        return dataclasses.replace(self, left_out={name: reasons[name] for name in first})

    def named(self, files: Iterable[FoundFile], found_from: Callable[[str], Iterable[str]]) -> list[FoundFile]:
        """Files with their collections; `found_from` gives the roots that led to an address."""
        files, paths = list(files), [Path(path) for path in self.names if not is_address(path)]
        if not self.names:
            return files
        paths.sort(key=lambda path: len(path.parts), reverse=True)
        return [self._named(file, paths, found_from) for file in files]

    def _named(self, file: FoundFile, paths: Sequence[Path], found_from: Callable[[str], Iterable[str]]) -> FoundFile:
        if file.address:
            names = [self.names[root] for root in found_from(file.address) if root in self.names]
            return dataclasses.replace(file, collection=names[0]) if names else file
        full = file.full_path
        at = next((path for path in paths if full.is_relative_to(path)), None)
        if at is None:
            return file
        below = "" if at == full else full.relative_to(at).as_posix()
        return dataclasses.replace(file, root=str(at), path=below, collection=self.names[str(at)])


def check_named(paths: Sequence[str | Path], index_folder: str | Path) -> None:
    """Raises DataError for a path that does not exist or lies in the index, and for none where there is no index."""
    for path in paths:
        if is_address(path):
            canonical(path)
        elif fault_of(Path(path)) == "does not exist":
            if "://" in str(path):
                raise DataError(f"{path} is no address of a web page; name one that begins with https:// or http://")
            raise DataError(f"{path} does not exist; name files or folders to ingest")
        elif serves(index_folder) and resolved(path).is_relative_to(resolved(index_folder)):
            raise DataError(f"{path} lies in the index {index_folder}; name other files or folders to ingest")
    if not paths and known_generation(index_folder) is None:
        raise DataError(f"{index_folder} holds no index yet; name files or folders to ingest")


def documents_before(index_folder: str | Path) -> tuple[dict[str, KnownDocument], Followed]:
    """Every document that the index holds, by its hash; and what it follows.

    Where the index is damaged, no document is known: all are split again. Raises IndexMismatchError for an index of a
    corpus file, and where nobody can say any more which files to follow.
    """
    generation = known_generation(index_folder)
    if generation is None:
        return {}, Followed()
    try:
        manifest = read_manifest(generation)
    except IndexMismatchError as error:
        say(f"{error.what}; ingesting everything again")
        return {}, Followed(**read_sources(generation))
    if manifest.corpus_path:
        raise IndexMismatchError(
            f"{index_folder} was made from {manifest.corpus_path}; ingest documents into an index of their own"
        )
    followed = Followed(**read_sources(generation))
    try:
        corpus = open_generation(generation, manifest).corpus
        rows = read_documents(generation)
        passages = passages_of_documents(corpus, rows)
    except IndexMismatchError as error:
        say(f"{error.what}; ingesting everything again")
        return {}, followed
    found = {row["sha256"]: KnownDocument(row, passages[row["sha256"][:HASH_CHARACTERS]]) for row in rows}
    # One whose passages are not all there is split again.
    return {sha256: one for sha256, one in found.items() if _is_whole(one)}, followed


def passages_of_documents(corpus: Corpus, rows: Sequence[Mapping]) -> Mapping[str, Sequence[Passage]]:
    """The passages of documents, by their names; those in a store are read if need be, where all of them are there."""
    if isinstance(corpus, StoreCorpus) and sum(row["n_passages"] for row in rows) == len(corpus):
        return unread(corpus, rows)
    return by_document(corpus, [row["sha256"][:HASH_CHARACTERS] for row in rows])


def _is_whole(document: KnownDocument) -> bool:
    return len(document.passages) == document.record.get("n_passages", len(document.passages))


def known_addresses(index_folder: str | Path) -> list[str]:
    """The addresses that an index follows; [] where there is none."""
    generation = read_current(Path(index_folder))
    return list(Followed(**read_sources(generation)).sites) if generation is not None else []


def holds_nothing(index_folder: str | Path) -> bool:
    """Whether an index serves that holds no documents."""
    manifest = read_if_sound(read_current(Path(index_folder)))
    return manifest is not None and manifest.n_passages == 0


def followed_now(
    before: Followed,
    paths: Sequence[str | Path],
    forget: Sequence[str | Path],
    index_folder: str | Path,
    depth: int | None = None,
    names: Mapping[str, str] | None = None,
) -> Followed:
    """What to follow from now on; naming something again includes it again, also below what was forgotten.

    `depth` is of the addresses among `paths`; None keeps what one had. `names` gives collections to what lies below
    paths and addresses. Raises DataError where nothing is left to
    follow, unasked, for something to forget that is not followed, and for a depth without an address.
    """
    if depth is not None and not any(map(is_address, paths)):
        raise DataError("--depth says how far links from addresses are followed; name the addresses with it")
    named = list(dict.fromkeys(map(_named, paths)))
    faults = {path: fault for path in named if not is_address(path) and (fault := fault_of(Path(path)))}
    dropped = [_named(path) for path in forget]
    for given, path in zip(forget, dropped, strict=True):
        if not any(_is_below(root, path) or _is_below(path, root) for root in [*before.roots, *named]):
            raise DataError(f"{given} is not followed by {index_folder}; it follows {_some(before.roots)}")
    forgotten = [path for path in dict.fromkeys([*before.forgotten, *dropped]) if path not in named]
    old = [root for root in before.roots if not any(_is_below(root, path) for path in dropped)]
    roots = list(dict.fromkeys([*old, *(path for path in named if path not in faults)]))
    if not roots and not dropped and not faults:
        raise DataError(f"{index_folder} follows nothing; name files or folders to ingest")
    depths = {root: before.depths.get(root, 0) if depth is None else depth for root in named if is_address(root)}
    called = before.names | {_named(path): name for path, name in (names or {}).items()}
    return Followed(
        roots,
        [path for path in forgotten if any(_is_below(path, root) for root in roots)],
        {root: n for root, n in {**before.depths, **depths}.items() if n and root in roots},
        {path: name for path, name in called.items() if any(_is_below(path, root) for root in roots)},
        unusable={readable(path): fault for path, fault in faults.items()},
    )


def _named(path: str | Path) -> str:
    return canonical(path) if is_address(path) else str(resolved(path))


def _is_below(path: str, other: str) -> bool:
    """Whether a path or address is `other`, or lies below it."""
    if is_address(path) or is_address(other):
        return is_address(path) and is_address(other) and covers(other, path)
    return Path(path).is_relative_to(other)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(readable, names[:MAX_REASONS])) or "nothing"
    return shown + (f" and {len(names) - MAX_REASONS:,} more" if len(names) > MAX_REASONS else "")


def find_files(
    followed: Followed,
    before: Iterable[KnownDocument],
    index_folder: str | Path,
    max_bytes: int,
    *,
    look: Look = look_now,
    is_really_empty: Callable[[str], bool] = lambda root: False,
) -> Scan:
    """All files that are to be read, each once, and what is left out.

    Raises DataError for a root that is gone, and for a folder of which `before` holds documents and that cannot be
    listed or has none any more: so looks a drive that is not mounted, and its documents are not dropped unasked.
    `is_really_empty` says of such a folder that it is no drive.
    """
    held = {place["root"] for document in before for place in document.record["paths"] if not place.get("address")}
    for root in followed.files:
        if fault := _missing(root, was_held=root in held):
            drop = fixes.ingest(index_folder, forget=[root])
            raise DataError(
                f"{readable(root)} was ingested before and {fault}; bring it back, or drop its documents: {drop}"
            )
    own = resolved(index_folder)  # an index that was only begun is not known by its content
    found = scan(followed.files, max_bytes=max_bytes, is_index=lambda at: at == own or is_index(at), look=look)
    held -= {file.root for file in found.files}
    for root in followed.files:
        if root in held and Path(root).is_dir() and not is_really_empty(root):
            drop = fixes.ingest(index_folder, forget=[root])
            raise DataError(
                f"there is nothing to read in {readable(root)}, which held documents before; bring them back, or drop "
                f"them: {drop}"
            )
    found.left_out |= followed.unusable
    found.files = once(found.files, followed.forgotten)
    return found


def _missing(root: str, *, was_held: bool) -> str:
    """What keeps a root that was followed before from being read; "" for nothing."""
    fault = fault_of(Path(root))
    if not fault and was_held and Path(root).is_dir():
        try:
            os.scandir(root).close()
        except OSError as error:
            fault = f"cannot be listed: {error.strerror or error}"
    if fault == "does not exist":
        return "is gone"
    return f"is now {fault}" if fault in (IN_A_CIRCLE, "not a regular file") else fault


def once(files: Sequence[FoundFile], forgotten: Sequence[str]) -> list[FoundFile]:
    """Files that are not to be left out, each once, however many of the roots it lies below.

    What is forgotten counts below its own root only: a root named later within it is taken again.
    """
    paths = [Path(path) for path in forgotten if not is_address(path)]
    found: dict[str, FoundFile] = {}
    for file in files:
        is_left = paths and any(
            file.full_path.is_relative_to(other) and not Path(file.root).is_relative_to(other) for other in paths
        )
        if not is_left:
            found.setdefault(os.path.join(file.root, file.path).rstrip("/"), file)
    return list(found.values())


def nothing_to_read(followed: Followed, found: Scan, index_folder: str | Path) -> DataError:
    """The error for roots below which there is nothing to read."""
    message = f"there is nothing to read in {_some(followed.roots or list(followed.unusable))}"
    if found.left_out:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(found.left_out.items())[:MAX_REASONS])
        message += f" ({reasons})"
    return DataError(message + _emptying(followed, index_folder))


def nothing_readable(
    followed: Followed, files: Sequence[FoundFile], failed: Mapping[str, str], index_folder: str | Path
) -> DataError:
    """The error for files of which none can be read."""
    path, reason = next(iter(failed.items()), (files[0].name, "holds headings only"))
    what = f"none of {len(files):,} files can be read, such as {path}: {reason}"
    return DataError(what + _emptying(followed, index_folder))


def _emptying(followed: Followed, index_folder: str | Path) -> str:
    """What to do about an index that would be left without documents."""
    if not serves(index_folder):
        return ""
    forget = fixes.ingest(index_folder, forget=followed.roots)
    return f"; the index stays as it was. Take its last documents out: {forget}"
