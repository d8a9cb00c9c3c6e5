"""Which collections a command searches: those that are named, and that a person may read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rag.serve.readers import Readers

CollectionOption = Annotated[
    list[str] | None, typer.Option("--collection", help="Search this collection alone; may be repeated.")
]
AsOption = Annotated[
    str | None, typer.Option("--as", help="Search only what this person of --auth may read.", metavar="NAME")
]
AuthOption = Annotated[Path | None, typer.Option("--auth", help="The users file of --as.")]


def collections_of(
    index: Path, collections: list[str] | None, person: str | None, users: Path | None
) -> tuple[str, ...] | None:
    """The collections of an index to search; None for all.

    Raises BadParameter where --as or --auth lacks the other, DataError for a collection that is not there, and
    ConfigError for a person who is not.
    """
    if not collections and not person and not users:
        return None
    readers = readers_of(index, person, users)
    names = readers.chosen(person or "", collections or None)
    if names == ():
        from rag.errors import DataError

        raise DataError(f"{index} holds nothing that {person} may read; grant them a collection with rag user grant")
    return names


def readers_of(index: Path, person: str | None, users: Path | None) -> Readers:
    """Who may read what of an index. Raises as `collections_of`."""
    if bool(person) != bool(users):
        raise typer.BadParameter("--as NAME and --auth USERS_FILE go together")
    from rag.errors import ConfigError
    from rag.serve.readers import Readers
    from rag.serve.users import Users

    known = Users(users) if users else None
    if known is not None and person not in known.names():
        raise ConfigError(f"{known.path} knows no {person!r}; it knows {', '.join(known.names()) or 'nobody'}")
    found = collections_in(index)
    return Readers(known, lambda: found)


def collections_in(index: Path) -> dict:
    """The documents of an index by their collection; {} for one that was made from a corpus file."""
    from rag.documents.collection import collections_of as by_collection
    from rag.index.folder import serving_manifest
    from rag.index.read import read_documents

    return by_collection(read_documents(serving_manifest(index)[0]))
