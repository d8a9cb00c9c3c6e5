"""A model's name becomes a local folder.

The order of `auto`: a local folder; what an earlier run already brought into a cache, so that weights never change
under an index; the model hub, if it answers within three seconds; the package index, for the models of the catalogue.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.errors import ConfigError, ModelError
from rag.files import read_json
from rag.models.catalog import FALLBACK_GENERATOR, PACKAGED
from rag.models.packages import RECORD, cached_model, fetch_packaged

SOURCES = ("auto", "hub", "packages", "local")
HUB_TIMEOUT_SECONDS = 3.0
HUB_FILES = ("README.md", "*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*/config.json")
HUB_IGNORED = ("onnx/*", "openvino/*", "tf_*", "flax_*", "*.onnx")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model on disk: where, from which source, and what the catalogue knows that its files may not say."""

    name: str
    folder: Path
    source: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""


def rag_home() -> Path:
    """The cache of converted models and compiled graphs: `RAG_HOME`, or `~/.cache/rag`."""
    return Path(os.environ.get("RAG_HOME") or "~/.cache/rag").expanduser()


def resolve(name: str, *, source: str = "auto", home: Path | None = None, needs: Sequence[str] = ()) -> ResolvedModel:
    """Find or fetch a model. Raises ModelError naming every way to get it.

    A folder is itself, whatever `source` says, which is where a name is looked for: what was tuned here is always one.
    `needs` are files that a hub's snapshot must hold beside the weights: other programs keep only those they read.
    """
    if source not in SOURCES:
        raise ConfigError(f"models.source is {source!r}; choose one of {', '.join(SOURCES)}")
    home = home or rag_home()
    packaged = PACKAGED.get(name)
    prompts = packaged.prompts if packaged else {}
    local = Path(name).expanduser()
    if local.is_dir():
        if not any(local.glob("*.json")):
            raise ModelError(f"{local} is a folder, but it holds no model (no *.json files)")
        return ResolvedModel(name, local, "folder")
    if source == "local":
        raise ModelError(f"models.source is 'local', but {name!r} is not a folder here")
    tried = []
    if source in ("auto", "hub"):
        with contextlib.suppress(ModelError):
            return ResolvedModel(name, _hub_snapshot(name, needs, local_only=True), "hub cache", prompts)
        if source == "auto" and (folder := cached_model(home, name)):
            return ResolvedModel(name, folder, "package index", prompts)
        if hub_answers():
            try:
                return ResolvedModel(name, _hub_snapshot(name, needs, local_only=False), "hub", prompts)
            except ModelError as error:
                tried.append(f"the model hub has no readable {name!r} ({error})")
        else:
            tried.append("the model hub does not answer")
    if source in ("auto", "packages"):
        if packaged:
            try:
                return ResolvedModel(name, fetch_packaged(packaged, home), "package index", prompts)
            except ModelError as error:
                tried.append(str(error))
        else:
            tried.append(f"no package holds it (packaged are: {', '.join(PACKAGED)})")
    raise ModelError(
        f"the model {name!r} cannot be had: {'; '.join(tried)}. Connect to the hub, or download the model elsewhere "
        "and name its folder, for instance --set encoder.model=FOLDER"
    )


def resolve_generator(name: str, *, source: str = "auto", home: Path | None = None) -> ResolvedModel:
    """As `resolve`; where the hub cannot be reached and no package holds the model, the packaged Qwen stands in."""
    try:
        return resolve(name, source=source, home=home)
    except ModelError as error:
        if source != "auto" or name in PACKAGED or Path(name).expanduser().is_dir() or hub_answers():
            raise
        fallback = resolve(FALLBACK_GENERATOR, source=source, home=home)
        notice = f"{name} cannot be reached ({_first_reason(error)}); using the packaged {FALLBACK_GENERATOR} instead"
        return ResolvedModel(fallback.name, fallback.folder, fallback.source, fallback.prompts, notice)


def _first_reason(error: ModelError) -> str:
    return str(error).split(": ", 1)[-1].split(";")[0]


def hub_answers() -> bool:
    """Whether the model hub answers within three seconds; asked once per process and endpoint."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    return _endpoint_answers(constants.ENDPOINT)


@functools.cache
def _endpoint_answers(endpoint: str) -> bool:
    import httpx

    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError, OSError):
            url = f"{endpoint}/api/models?limit=1"
            reply = httpx.get(url, timeout=HUB_TIMEOUT_SECONDS, follow_redirects=True)
            # A firewall or a sign-in page answers too, but it is not the hub; 429 is the hub, busy.
            if reply.status_code < 400 or reply.status_code == 429:
                answered.set()

    # A name server that never answers cannot be timed out from inside the call: wait beside it.
    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(HUB_TIMEOUT_SECONDS)


def _hub_snapshot(name: str, needs: Sequence[str], *, local_only: bool) -> Path:
    """The folder of a whole snapshot; raises ModelError with the reason why there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name, local_files_only=local_only, allow_patterns=HUB_FILES, ignore_patterns=list(HUB_IGNORED)
            )
        )
    # HTTPError is that of the hub's own HTTP client: a connection cut in mid-download is one, and is no OSError.
    except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(reason[:200] or type(error).__name__) from error
    # A download that was cut off leaves a snapshot without its weights; that is not a model.
    missing = [file for file in ("config.json", *needs) if not (folder / file).exists()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelError(f"its snapshot lacks {', '.join(missing)}")
    return folder


def cached_models(home: Path | None = None) -> list[dict]:
    """The records of every converted model in the cache, for `rag models`."""
    folder = (home or rag_home()) / "models"
    records = []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        record = read_json(path, ModelError, fix=f"delete {path.parent} and fetch the model again: rag models --fetch")
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        records.append({**record, "folder": str(path.parent), "size_mb": round(size / 2**20)})
    return records


def describe(model: ResolvedModel) -> dict:
    """A record, as `cached_models` gives, of a model that was not converted here: from the hub, or a folder."""
    record = {"model": model.name, "role": "", "source": model.source, "folder": str(model.folder)}
    weights = sorted(model.folder.glob("*.safetensors"))
    record["sha256"] = [_file_sha256(file) for file in weights]
    record["size_mb"] = round(sum(file.stat().st_size for file in weights) / 2**20)
    if model.source.startswith("hub"):
        record["revision"] = model.folder.name
    card = model.folder / "README.md"
    if card.is_file() and (license_id := _card_license(card)):
        record["license"] = license_id
    return record


def _file_sha256(file: Path) -> str:
    """The hub's cache names a large file by its sha256; anything else is read."""
    name = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return name
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _card_license(card: Path) -> str | None:
    from huggingface_hub import ModelCard

    try:
        return ModelCard.load(card).data.license
    except (ValueError, OSError):
        return None


def cached_on_hub(name: str) -> ResolvedModel | None:
    """The model as the hub's own cache holds it, without asking the hub."""
    try:
        return ResolvedModel(name, _hub_snapshot(name, (), local_only=True), "hub cache")
    except ModelError:
        return None
