"""Who may read which collections.

A collection is open to everybody until it is granted to somebody. From then on it is closed: only the people to whom it
was granted read it. It stays closed when their grants are taken back, or they are removed, until it is granted to
everybody (`*`) again.

A name closes every collection that it may mean: written in other letters (hr, HR), and behind another folder
(`2024/hr`), as names of folders grow when others of the same name come. A grant is for the name exactly as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

EVERYBODY = "*"
"""Whom a collection is granted to that is to be open again; no person has this name."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The names of closed collections, and what was granted to each person, both as `plain` gives them."""

    closed: frozenset[str] = frozenset()
    of: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def may_read(self, person: str, collection: str) -> bool:
        """Whether a person may read a collection."""
        return not self.is_closed(collection) or plain(collection) in self.of.get(person, ())

    def is_closed(self, collection: str) -> bool:
        """Whether only the people to whom it was granted may read a collection."""
        return any(_mean_the_same(name, collection) for name in self.closed)

    def readable(self, person: str, collections: Collection[str]) -> tuple[str, ...] | None:
        """Those of the collections that a person may read; None where that is all of them."""
        if not self.closed:
            return None
        names = tuple(name for name in collections if self.may_read(person, name))
        return None if len(names) == len(collections) else names


def plain(name: str) -> str:
    """A collection's name in the usual form of its characters, without blanks and slashes around it."""
    return unicodedata.normalize("NFC", name).strip(" \t\n/")


def without(closed: Iterable[str], names: Iterable[str]) -> set[str]:
    """What is still closed when these names are open again."""
    opened = [*names]
    return {each for each in closed if not any(_mean_the_same(each, name) for name in opened)}


def _mean_the_same(closed: str, name: str) -> bool:
    """Whether one name is the other, or the end of it behind another folder."""
    one, other = f"/{plain(closed).casefold()}", f"/{plain(name).casefold()}"
    return one.endswith(other) or other.endswith(one)
