"""What each person may read of the documents: their collections, and the passages in them.

Everything that shows, searches, counts or opens documents for somebody asks here. Where nobody has to log in, everybody
reads everything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rag.errors import DataError
from rag.retrieve.placed import Collections, by_hash, collections_within, placed
from rag.serve.grants import Grants
from rag.serve.users import Users
from rag.types import Passage

__all__ = ["Collections", "Readers"]

KEPT_VIEWS = 16


@dataclass(frozen=True, slots=True)
class _View:
    """What is to be seen of all collections: those of some names, and by the beginning of its hash each document."""

    everything: Collections
    collections: Collections
    documents: Mapping[str, Mapping]


class Readers:
    """Who may read what. `collections` gives the documents by their collection, {} for an index of a corpus file.

    With `only` nobody reads other collections than these.
    """

    def __init__(
        self,
        users: Users | None = None,
        collections: Callable[[], Collections] = dict,
        only: Sequence[str] | None = None,
    ):
        self._users, self._collections, self._only = users, collections, only
        self._views: OrderedDict[tuple[str, ...], _View] = OrderedDict()
        self._lock = threading.Lock()

    def names(self, person: str) -> tuple[str, ...] | None:
        """The collections that a person may read; None where these are all that there are."""
        return self._names(person, self._collections())

    def collections(self, person: str) -> Collections:
        """The documents that a person may read, by their collection; of each only the places that they may know of."""
        everything = self._collections()
        names = self._names(person, everything)
        return everything if names is None else self._view(everything, names).collections

    def passage(self, person: str, passage: Passage) -> Passage | None:
        """The passage as the person may see it: with a place that they may know of; None where they may not read it."""
        everything = self._collections()
        if not everything or passage.place is None:  # of a corpus file: there are no collections
            return passage if self._names(person, everything) is None else None
        names = self._names(person, everything)
        view = self._view(everything, tuple(everything) if names is None else names)
        row = view.documents.get(passage.document)
        if row is None:
            return None
        return passage if names is None else placed(passage, row)

    def may_add_to(self, person: str, collection: str) -> bool:
        """Whether a person may add documents to a collection, which need not be there yet."""
        return self._users is None or (self._users.knows(person) and self._users.grants().may_read(person, collection))

    def unknown(self) -> list[str]:
        """The names that the users file closes, and that no collection has: they may be mistyped."""
        if self._users is None:
            return []
        there = [*self._collections()]
        closed = self._users.grants().closed
        return sorted(name for name in closed if not any(Grants(frozenset([name])).is_closed(each) for each in there))

    def chosen(self, person: str, collections: Sequence[str] | None) -> tuple[str, ...] | None:
        """Those of the collections that were named, or None for all, as `names`.

        Raises DataError for one that the person may not read, as for one that is not there.
        """
        if collections is None:
            return self.names(person)
        there = self.collections(person)
        for name in collections:
            if name not in there:
                raise DataError(f"there is no collection {name!r}; choose among {', '.join(there) or 'none'}")
        return tuple(collections)

    def _names(self, person: str, everything: Collections) -> tuple[str, ...] | None:
        names = self._granted(person, everything)
        if self._only is None:
            return names
        return tuple(name for name in (everything if names is None else names) if name in self._only)

    def _granted(self, person: str, everything: Collections) -> tuple[str, ...] | None:
        if self._users is None:
            return None
        grants = self._users.grants()  # before it is asked who is known: a file that goes away opens nothing
        return grants.readable(person, list(everything)) if self._users.knows(person) else ()

    def _view(self, everything: Collections, names: tuple[str, ...]) -> _View:
        with self._lock:
            view = self._views.get(names)
            if view is None or view.everything is not everything:
                view = self._views[names] = _view_of(everything, names)
            self._views.move_to_end(names)
            if len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
            return view


def _view_of(everything: Collections, names: Sequence[str]) -> _View:
    collections = collections_within(everything, names)
    return _View(everything, collections, by_hash(collections))
