"""The note in an index folder that says in which Milvus its passages are kept. It holds no secret."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from rag import fixes
from rag.errors import DataError, IndexMismatchError
from rag.files import read_json, write_json

NOTE = "store.json"
EMBEDDED_FILE = "milvus.db"
KIND = "milvus"


@dataclass(frozen=True, slots=True)
class StoreNote:
    """How the store of an index is reached.

    `uri` is a server's address, or the path of an embedded store; "" is `milvus.db` in the index folder. `name` is the
    alias of the index there. `token_variable` is the environment variable that holds the token.
    """

    name: str
    uri: str = ""
    token_variable: str = "RAG_MILVUS_TOKEN"
    index: str = "auto"
    replicas: int = 1
    consistency: str = "Strong"
    timeout_seconds: float = 30.0

    @property
    def is_embedded(self) -> bool:
        """Whether the store lives in this process, in files of its own."""
        return "://" not in self.uri

    def is_missing(self, folder: Path) -> bool:
        """Whether an embedded store is not there; a server is not asked."""
        return self.is_embedded and not Path(self.address(folder)).exists()

    def address(self, folder: Path) -> str:
        """What Milvus's client connects to."""
        return str(Path(self.uri or folder / EMBEDDED_FILE).absolute()) if self.is_embedded else self.uri


def name_in_store(folder: Path) -> str:
    """The alias of an index folder in the store: its own name, in the letters that Milvus allows."""
    name = folder.resolve().name
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[:64]
    beside = "" if plain == name else "_" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"rag_{plain}{beside}"


def has_note(folder: str | Path) -> bool:
    """Whether the passages of an index folder are kept in Milvus."""
    return (Path(folder) / NOTE).is_file()


def read_note(folder: str | Path) -> StoreNote:
    """The note of an index folder. Raises IndexMismatchError where it is damaged."""
    path = Path(folder) / NOTE
    try:
        stored = read_json(path, DataError)
        if stored.pop("kind", None) != KIND:
            raise DataError(f"{path} names a kind of store that is not known")
        note = StoreNote(**stored)
        types: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}
        if any(not isinstance(getattr(note, f.name), types[str(f.type)]) for f in dataclasses.fields(note)):
            raise DataError(f"{path} is damaged")
    except (DataError, TypeError) as error:
        fix = fixes.note_store(folder, is_beside=(Path(folder) / EMBEDDED_FILE).exists())
        raise IndexMismatchError(str(error), fix, to="write it again") from error
    return note


def write_note(folder: Path, note: StoreNote) -> None:
    """Write the note of an index folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NOTE, {"kind": KIND, **dataclasses.asdict(note)})
