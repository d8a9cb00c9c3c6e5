"""A connection to Milvus whose failures are sentences with the way out."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag import fixes
from rag.errors import ConfigError, IndexBusyError, IndexMismatchError
from rag.store.note import StoreNote

PATIENCE_SECONDS = 3600.0
"""For what grows with the store: to flush, to load, to make an index."""
NO_COLLECTION = 100
EMBEDDED_OPTIONS = {"grpc.keepalive_time_ms": 600_000, "grpc.keepalive_permit_without_calls": False}
"""The embedded store takes the usual keepalive of the client for an attack."""
_DOWN = ("connecting to server", "unavailable", "deadline", "timeout", "refused", "wait_for_ready")
_TOKEN = ("auth check", "authenticat", "permission", "password", "invalid token", "api key")


class MilvusError(IndexMismatchError):
    """What Milvus refused; `code` is its own number of the fault."""

    def __init__(self, what: str, fix: str = "", *, to: str = "rebuild it", code: int = 0):
        super().__init__(what, fix, to=to)
        self.code = code


class Client:
    """The calls of pymilvus that a store makes, each within the time that the note allows.

    An embedded store that is not there is made where it `creates`, and refused otherwise (IndexMismatchError).
    """

    def __init__(self, note: StoreNote, folder: Path, *, creates: bool = False):
        if not creates and note.is_missing(folder):
            raise IndexMismatchError(
                f"there is no embedded store at {note.address(folder)}", fixes.make_index(folder), to="make the index"
            )
        # Read once, when it is imported. Programs are started beside its threads; none of them speaks to a store.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        self.note, self.folder = note, folder
        self.address = note.address(folder)
        with self._saying():
            token = os.environ.get(note.token_variable, "")
            self._client, self.loaded = _connected(self.address, token, note.timeout_seconds)

    def __call__(self, method: str, *args: Any, patient: bool = False, **named: Any) -> Any:
        """What a method of MilvusClient returns. Raises MilvusError, in a sentence with the way out."""
        timeout = max(self.note.timeout_seconds, PATIENCE_SECONDS if patient else 0.0)
        with self._saying():
            return getattr(self._client, method)(*args, timeout=timeout, **named)

    def has(self, collection: str) -> bool:
        """Whether there is a collection, or an alias, of this name."""
        return self.fields_of(collection) is not None

    def named_by(self, alias: str) -> str | None:
        """The collection that an alias names; None where there is no such alias."""
        try:
            return str(self("describe_alias", alias)["collection_name"])
        except MilvusError as error:
            if error.code == NO_COLLECTION or "not exist" in error.what or "not found" in error.what:
                return None
            raise

    @functools.cached_property
    def version(self) -> tuple[int, ...]:
        """The server's version; the embedded store counts as the one whose functions it has."""
        text = str(self("get_server_version"))
        if text.startswith("milvus_lite"):
            return (2, 6)
        found = re.search(r"(\d{1,9})\.(\d{1,9})", text)
        return tuple(map(int, found.groups())) if found else (0, 0)

    @property
    def has_bm25(self) -> bool:
        """Whether the server counts words: Milvus does from 2.5 on."""
        return self.version >= (2, 5)

    @property
    def without_words(self) -> str:
        """What is said of a server that counts none."""
        return f"Milvus {'.'.join(map(str, self.version))} at {self.address} counts no words"

    def fields_of(self, collection: str) -> list[str] | None:
        """The fields of a collection; None where it is not there."""
        try:
            return [field["name"] for field in self("describe_collection", collection)["fields"]]
        except MilvusError as error:
            if error.code == NO_COLLECTION:
                return None
            raise

    @contextlib.contextmanager
    def _saying(self) -> Iterator[None]:
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise self._sentence(error) from error

    def _sentence(self, error: Any) -> MilvusError | IndexBusyError:
        said = " ".join(str(error.message or error).split())[:200]
        lowered = " ".join((said, *_below(error))).lower()
        variable = self.note.token_variable
        if self.note.is_embedded and "local milvus" in lowered:
            return IndexBusyError(
                f"{self.address} is open in another process, or damaged; an embedded store is for one "
                "process: end the other, or use a server (store.uri)"
            )
        if any(word in lowered for word in _TOKEN):
            does = "refuses" if os.environ.get(variable) else "asks for"
            return MilvusError(
                f"Milvus at {self.address} {does} the token in {variable}",
                fixes.store_token(variable),
                to="set it",
                code=error.code,
            )
        if any(word in lowered for word in _DOWN):
            return MilvusError(
                f"Milvus at {self.address} does not answer ({said})",
                fixes.start_store(),
                to="start it",
                code=error.code,
            )
        if error.code == NO_COLLECTION:
            return MilvusError(
                f"the index was replaced at {self.address} since it was opened ({said}); run the same command again",
                code=error.code,
            )
        return MilvusError(f"Milvus at {self.address} refuses: {said}", code=error.code)


def _below(error: BaseException) -> list[str]:
    """What gRPC said: where a server refuses a token at once, the client itself says only that it cannot connect."""
    found: list[str] = []
    cause, seen = error.__cause__, {id(error)}
    while cause is not None and id(cause) not in seen:  # pymilvus raises errors from themselves
        seen.add(id(cause))
        found += [str(told()) for name in ("code", "details") if callable(told := getattr(cause, name, None))]
        cause = cause.__cause__
    return found


@functools.lru_cache(16)
def _connected(address: str, token: str, timeout: float) -> tuple[Any, set[str]]:
    """(a client, the collections that are loaded in it), shared by all stores at the address."""
    from pymilvus import MilvusClient

    quiet()
    more = {}
    if "://" not in address:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        more = {"grpc_options": EMBEDDED_OPTIONS}
    return MilvusClient(address, token=token, timeout=timeout, **more), set()


def quiet() -> None:
    """Silence the logs of pymilvus: what fails is raised, and said once."""
    for name in ("pymilvus", "pymilvus.decorators", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def check_installed(*, embedded: bool) -> None:
    """Raises ConfigError, with the command that installs it, where a package is missing that the store needs."""
    for package in ("pymilvus", *(["milvus_lite"] if embedded else [])):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"store.kind milvus needs the package {package}; install it: {fixes.install('scale')}")
