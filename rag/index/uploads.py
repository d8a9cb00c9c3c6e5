"""Files that are added from the page or the API: copied into a folder beside the index, which the index follows.

INDEX.uploads/FOLDER/NAME                without a collection of their own
INDEX.uploads/=COLLECTION/FOLDER/NAME    in a collection of this name
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.documents.collection import Ingested
from rag.documents.scan import readable, resolved
from rag.errors import DataError
from rag.index.ingest import Making, Reading, ingest

COLLECTION_MARK = "="
"""Begins the name of a collection's folder among the uploads, so that no folder that was sent is one."""
COLLECTION_NAME = re.compile(r"[^\W_][\w .-]*")
MAX_NAME_CHARACTERS = 64


def add_uploads(
    files: Sequence[str | Path],
    index_folder: str | Path,
    uploads: str | Path,
    reading: Reading,
    making: Making,
    *,
    collection: str = "",
    within: Mapping[str, str] | None = None,
) -> Ingested:
    """Copy files into the folder `uploads`, and ingest it beside what the index holds.

    With `collection` they are in the collection of this name (`check_collection`). `within` gives the folder, below
    that of all copies, for some of the files. A name that is taken by other content gets a number; only the last part
    of a name counts. New copies that cannot be read are deleted again, and all of them where the work fails or is
    stopped.
    """
    top = Path(uploads)
    if collection:
        top /= COLLECTION_MARK + check_collection(collection)
    copies, new = _copied(files, top, within or {})
    try:
        names = {str(top): collection} if collection else None
        result = ingest([uploads], index_folder, reading, making, names=names)
    except Exception:
        _delete(new, Path(uploads))
        raise
    _delete([path for path in new if readable(str(resolved(path))) in result.left_out], Path(uploads))
    return dataclasses.replace(result, copies=copies)


def check_collection(name: str) -> str:
    """The name, which a collection can have. Raises DataError for another one."""
    if not COLLECTION_NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS or name[-1] in " .":
        raise DataError(
            f"{readable(name)[:MAX_NAME_CHARACTERS]!r} is no name for a collection; use letters, digits, blanks and "
            f"_ . - , at most {MAX_NAME_CHARACTERS}, and begin with a letter or digit"
        )
    return name


def _copied(files: Sequence[str | Path], folder: Path, within: Mapping[str, str]) -> tuple[dict[str, str], list[Path]]:
    """Copy files into a folder; returns (each copy, as messages call it, by its file; the copies that are new)."""
    copies: dict[str, str] = {}
    new: list[Path] = []
    for file in map(Path, files):
        name = Path(re.sub(r"[\x00-\x1f/\\\\]", "_", file.name).lstrip(".") or "upload")
        own = folder / within.get(str(file), "")
        own.mkdir(parents=True, exist_ok=True)
        target = own / name
        n = 0
        while target.exists() and target.read_bytes() != file.read_bytes():
            n += 1
            target = own / f"{name.stem} ({n}){name.suffix}"
        if not target.exists():
            new.append(target)
            shutil.copyfile(file, target)
        copies[str(file)] = readable(str(resolved(target)))
    return copies, new


def _delete(files: Sequence[Path], top: Path) -> None:
    """Delete files, and the folders below `top` that are empty then."""
    for path in files:
        path.unlink(missing_ok=True)
        drop_empty_folders(path.parent, top)


def drop_empty_folders(folder: Path, top: Path) -> None:
    """Delete a folder and those around it, as far as they are empty and below `top`."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
