"""What a collection says of its generations, in one property that is written last.

A row carries `since`, the generation that it came with, and `until`, the one that it is no longer in. So a generation
is a filter, and an update writes what has changed alone. Readers see the old state or the new. Each full build has a
collection of its own, which the alias of the index names once it is whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.errors import IndexMismatchError
from rag.store.client import Client

STATE = "rag.state"
FORMAT = 1
OPEN = 2**62
"""`until` of a row that no generation has dropped."""


@dataclass(frozen=True, slots=True)
class State:
    """The generation that `serving` names, the one before it in the same collection, and the number used `last`.

    `manifests` holds the manifest of each; `beside` what else is kept of it. `before` is the collection that served
    before this one, while it is kept.
    """

    serving: int = 0
    previous: int | None = None
    last: int = 0
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    before: str | None = None
    format: int = FORMAT

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest of the generation that serves."""
        return self.manifests[str(self.serving)]

    def followed_by(self, manifest: Mapping[str, Any], beside: Mapping[str, Any], number: int) -> State:
        """The state in which the next generation serves, and this one is the one before."""
        kept = str(self.serving)
        return State(
            serving=number,
            previous=self.serving or None,
            last=number,
            manifests={key: value for key, value in self.manifests.items() if key == kept} | {str(number): manifest},
            beside={key: value for key, value in self.beside.items() if key == kept} | {str(number): beside},
            before=self.before if not self.serving else None,
        )


def read_state(client: Client, collection: str) -> State | None:
    """The state of a collection; None where none was written. Raises IndexMismatchError for one of another format."""
    stored = client("describe_collection", collection).get("properties", {}).get(STATE)
    if not stored:
        return None
    try:
        found = json.loads(stored)
        if found.get("format") != FORMAT:
            raise IndexMismatchError(
                f"the collection {collection} has store format {found.get('format')}, this version reads {FORMAT}"
            )
        return State(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise IndexMismatchError(f"the state of the collection {collection} is damaged ({error})") from error


def write_state(client: Client, collection: str, state: State) -> None:
    """Let a collection be of this state, at once."""
    client("alter_collection_properties", collection, properties={STATE: json.dumps(dataclasses.asdict(state))})


def visible(generation: int) -> str:
    """The filter of the rows that a generation holds."""
    return f"since <= {generation} and until > {generation}"
