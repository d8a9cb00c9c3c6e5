"""Adapters: what was tuned of a model, in few megabytes, to be merged with the base that everybody can fetch.

An adapter is a folder:

    adapter.safetensors   what changed, weight by weight (names are those of the merged checkpoint):
                          NAME.b (out, r) and NAME.a (r, in): NAME is the base's plus b @ a; both are fp16
                          NAME.diff: NAME is the base's plus this; fp16
                          NAME.whole: NAME is this; the base has none, or one of another shape
    files/                small files to lay over those of the base
    card.json             what it was made of, how to merge it, and what a person says about it

Those in `packaged_adapters/`, which are part of this package, are models of the name `rag-qa/FOLDER`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.errors import DamagedFileError, ModelError
from rag.files import file_sha256, read_json
from rag.models.catalog import PACKAGED

PACKAGED_ADAPTERS = Path(__file__).parent / "packaged_adapters"
NAMESPACE = "rag-qa/"
WEIGHTS = "adapter.safetensors"
CARD = "card.json"
FILES = "files"
FILE_KINDS = (".json", ".txt", ".jinja")
ROLES = ("retriever", "reranker", "reader", "generator")


@dataclass(frozen=True, slots=True)
class Plan:
    """How base and adapter become a checkpoint.

    A tensor of the base loses the prefix `remove` and gets the prefix `add`; those in `dropped` are left out. `config`
    is laid over the base's config.json, without the entries `config_dropped`. `base_files` are taken from the base,
    beside its tokenizer.
    """

    remove: str = ""
    add: str = ""
    dropped: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    config_dropped: tuple[str, ...] = ()
    base_files: tuple[str, ...] = ()

    def merged_name(self, base_name: str) -> str:
        """The name that a tensor of the base has in the merged checkpoint."""
        if self.remove and base_name.startswith(self.remove):
            return base_name.removeprefix(self.remove)
        return self.add + base_name


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk. The hashes are of tensors (`rag.models.merge.tensors_sha256`).

    `base_sizes` are the entries of the base's config.json that another base has to share. `digest` is a hash over all
    that decides what the merged model is; the rest of the card may change without it.
    """

    name: str
    role: str
    folder: Path
    base: str
    base_sha256: str
    base_sizes: Mapping[str, Any]
    merged_sha256: str
    plan: Plan
    digest: str
    card: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def size_mb(self) -> float:
        """What the adapter takes on disk, in MB of a million bytes."""
        return round(sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file()) / 1e6, 1)

    def files(self) -> dict[str, Path]:
        """The files to lay over the base's, by their place in the merged folder."""
        return _files_to_lay(self.folder)

    def record(self) -> dict[str, Any]:
        """What `rag models` shows of it."""
        return {
            "model": self.name,
            "role": self.role,
            "source": "adapter",
            "base": self.base,
            "license": self.card.get("license", ""),
            "size_mb": self.size_mb,
        }


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no checkpoint of its own."""
    return (folder / CARD).is_file() and not (folder / "config.json").is_file()


def packaged_adapter(name: str) -> Adapter | None:
    """The adapter of that name in this package, None where there is none; raises as `read_adapter`."""
    if not name.startswith(NAMESPACE):
        return None
    folder = PACKAGED_ADAPTERS / name.removeprefix(NAMESPACE)
    if folder.parent != PACKAGED_ADAPTERS or not is_adapter(folder):
        return None
    adapter = read_adapter(folder)
    if adapter.name != name:
        raise ModelError(f"{folder / CARD} is the card of {adapter.name!r}, not of {name!r}; install rag-qa again")
    return adapter


def untuned(name: str) -> str | None:
    """The model that an adapter of this package was tuned of, where both have the same role; None for other models.

    It is None for a span reader that was made of a reranker.
    """
    adapter = packaged_adapter(name)
    if adapter is None:
        return None
    base = PACKAGED.get(adapter.base)
    return adapter.base if base is not None and base.role == adapter.role else None


def packaged_names() -> list[str]:
    """The names of the adapters in this package."""
    return [NAMESPACE + path.parent.name for path in sorted(PACKAGED_ADAPTERS.glob(f"*/{CARD}"))]


def packaged_adapters() -> list[Adapter]:
    """Every adapter in this package, in order of name; raises as `read_adapter`."""
    return [adapter for adapter in map(packaged_adapter, packaged_names()) if adapter is not None]


@functools.lru_cache(maxsize=32)
def _sha256_of(weights: Path, state: tuple[int, ...]) -> str:
    """The hash of a file in this state: adapters are asked about with every question, and hashing them takes longer."""
    return file_sha256(weights)


def read_adapter(folder: Path) -> Adapter:
    """An adapter by its folder.

    Raises ModelError where its card is missing, damaged or not one, DamagedFileError where its weights are not those
    that the card was written for.
    """
    card = read_json(folder / CARD, ModelError, fix="get the adapter again")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} holds a card, but no {WEIGHTS}; get the adapter again")
    try:
        base, merge = card["base"], card["merge"]
        plan = Plan(
            remove=merge["remove"],
            add=merge["add"],
            dropped=tuple(merge["dropped"]),
            config=dict(merge["config"]),
            config_dropped=tuple(merge["config_dropped"]),
            base_files=tuple(merge["base_files"]),
        )
        stat = (folder / WEIGHTS).stat()
        weights_sha256 = _sha256_of(folder / WEIGHTS, (stat.st_size, stat.st_ino, stat.st_mtime_ns))
        adapter = Adapter(
            name=str(card["name"]),
            role=str(card["role"]),
            folder=folder,
            base=str(base["model"]),
            base_sha256=str(base["sha256"]),
            base_sizes=dict(base["sizes"]),
            merged_sha256=str(card["merged_sha256"]),
            plan=plan,
            digest=_digest(folder, weights_sha256, base, merge),
            card=card,
        )
        is_whole = card["adapter_sha256"] == weights_sha256
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{folder / CARD} is not the card of an adapter ({reason}); get the adapter again") from error
    if not is_whole:
        raise DamagedFileError(
            f"{folder / WEIGHTS} has sha256 {weights_sha256}, not that of its card: the file is damaged or was "
            "exchanged; get the adapter again"
        )
    if adapter.role not in ROLES or adapter.base == adapter.name:
        raise ModelError(f"{folder / CARD} names no role of {', '.join(ROLES)}, or the adapter itself as its base")
    if any(Path(place).is_absolute() or ".." in Path(place).parts for place in plan.base_files):
        raise ModelError(f"{folder / CARD} names a file outside the base's folder")
    return adapter


def _digest(folder: Path, weights_sha256: str, base: Mapping[str, Any], merge: Mapping[str, Any]) -> str:
    laid = {place: file_sha256(path) for place, path in _files_to_lay(folder).items()}
    made_of = json.dumps([weights_sha256, base, merge, laid], sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()


def _files_to_lay(folder: Path) -> dict[str, Path]:
    """Data files alone: an adapter may come from a stranger."""
    root = folder / FILES
    found = sorted(path for path in root.rglob("*") if path.suffix in FILE_KINDS and path.is_file())
    return {path.relative_to(root).as_posix(): path for path in found}
