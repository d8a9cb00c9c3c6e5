"""One document taken out of an index, wherever it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rag import fixes
from rag.documents.address import covers
from rag.documents.collection import Ingested
from rag.documents.records import path_of
from rag.documents.scan import readable, resolved
from rag.errors import DataError
from rag.index.folder import serving_manifest
from rag.index.ingest import Making, Reading, Watching, ingest
from rag.index.read import read_documents
from rag.index.uploads import drop_empty_folders

ASIDE = ".removed"  # ends the name of a copy that is being deleted; the name is hidden, so that no ingest takes it


def remove_document(
    sha256: str,
    index_folder: str | Path,
    uploads: str | Path,
    reading: Reading,
    making: Making,
    *,
    within: Callable[[Mapping], bool] = lambda place: True,
) -> Ingested:
    """Take a document out of an index. Its copies in the folder `uploads` are deleted.

    Its files in followed folders, and its addresses, stay where they are, and are left out from now on, as by
    `rag ingest --forget`. Raises DataError where the index holds no such document, and for a web page below which the
    index holds others, which would be left out too. Nothing is deleted before the new generation serves. Of its places
    only those are concerned that `within` says.
    """
    rows = read_documents(serving_manifest(index_folder)[0])
    places = [place for row in rows if row["sha256"] == sha256 for place in row["paths"] if within(place)]
    if not places:
        raise DataError(f"{index_folder} holds no document with the hash {sha256}")
    kept = resolved(uploads)
    copies = [path_of(place) for place in places if is_upload(place, kept)]
    forgotten = [place.get("address") or str(path_of(place)) for place in places if not is_upload(place, kept)]
    _check_covers_itself_alone(forgotten, sha256, rows, index_folder)
    watching = Watching(is_really_empty=lambda root: root == str(kept), may_end_empty=True, visits=False)
    with _aside(copies):
        result = ingest([], index_folder, reading, making, forget=forgotten, watching=watching)
    for copy in copies:
        drop_empty_folders(copy.parent, kept)
    return result


def is_upload(place: Mapping, uploads: Path) -> bool:
    """Whether one of a document's `paths` is a copy in the folder of what was added from the page or the API."""
    return not place.get("address") and path_of(place).is_relative_to(uploads)


def _check_covers_itself_alone(
    forgotten: Sequence[str], sha256: str, rows: Sequence[Mapping], index_folder: str | Path
) -> None:
    others = [place.get("address") for row in rows if row["sha256"] != sha256 for place in row["paths"]]
    for address in forgotten:
        if below := next((other for other in others if other and covers(address, other)), None):
            raise DataError(
                f"the index holds other pages below {address}, such as {readable(below)}, which would be left out too; "
                f"leave out all of them: {fixes.ingest(index_folder, forget=[address])}"
            )


@contextlib.contextmanager
def _aside(files: Sequence[Path]) -> Iterator[None]:
    """Inside this, files have a hidden name; behind it they are deleted, or where it failed have their own again."""
    hidden = [(path, path.with_name(f".{path.name[:200]}{ASIDE}")) for path in files]
    moved: list[tuple[Path, Path]] = []
    try:
        for path, aside in hidden:
            if path.exists():
                path.rename(aside)
                moved.append((path, aside))
        yield
    except BaseException:
        for path, aside in moved:
            aside.rename(path)
        raise
    for _, aside in moved:
        aside.unlink(missing_ok=True)
