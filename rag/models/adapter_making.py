"""An adapter is made of a tuned model and its base, with its card."""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rag import fixes
from rag.errors import ConfigError, ModelError
from rag.files import SEAL, file_sha256, json_if_sound, read_json, write_json
from rag.models.adapters import CARD, FILE_KINDS, FILES, NAMESPACE, WEIGHTS, Adapter, read_adapter
from rag.models.beside import CALIBRATION
from rag.models.cache import RECORD
from rag.models.differences import Changes, differences
from rag.models.merge import ALWAYS_FROM_BASE, checkpoint_sha256, merged_tensors, tensors_sha256
from rag.models.peft_folder import CONFIG, is_peft_folder, peft_changes

MAX_FILE_BYTES = 1 << 18
# Entries of config.json that say who saved it, and in what type; they change nothing of what is computed.
NOT_OVERRIDDEN = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")
SIZES = ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
FROM_BASE_UNLESS_CHANGED = ("chat_template*", "generation_config.json")
NOT_LAID = (
    *("config.json", RECORD, CONFIG, "*.index.json", "requirements.txt"),
    *(pattern for pattern in ALWAYS_FROM_BASE if pattern not in FROM_BASE_UNLESS_CHANGED),
)


@dataclass(frozen=True, slots=True)
class Words:
    """What a person says of an adapter in its card."""

    license: str = ""
    data: tuple[str, ...] = ()
    recipe: str = ""
    command: str = ""
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """The base of an adapter: its folder here, and the name under which others find it."""

    folder: Path
    name: str

    @classmethod
    def of(cls, folder: Path, name: str) -> Start:
        """A base by its name, or by its folder in the cache, which keeps the name."""
        record = json_if_sound(folder / RECORD) or {}
        return cls(folder, str(record.get("model", name)))


@dataclass(frozen=True, slots=True)
class MadeAdapter:
    """The adapter that was made, and what it holds."""

    adapter: Adapter
    changes: Changes = field(repr=False)


def make_adapter(
    base: Start,
    tuned: Path,
    target: Path,
    *,
    role: str,
    words: Words,
    name: str = "",
    rank: int = 32,
    calibration: Path | None = None,
) -> MadeAdapter:
    """Write what was tuned of `base` as an adapter into `target`, whole or not at all.

    `tuned` is a checkpoint, the folder of a training run that holds it as `model`, or a LoRA folder of peft, whose rank
    stays. The adapter's `name` is by default that of its folder. `calibration` is the file that `rag calibrate` wrote
    for an index, with this reader; the adapter keeps it for indexes without one.

    Raises ConfigError where `target` exists or the calibration holds no evidence of a reader, ModelError where the
    folders do not belong together.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name another folder with -o, or delete it first: {fixes.remove(target)}")
    tuned = tuned / "model" if (tuned / "model").is_dir() else tuned
    if not (tuned / "config.json").is_file() and not is_peft_folder(tuned):
        raise ModelError(f"{tuned} holds neither a checkpoint (config.json) nor a LoRA of peft ({CONFIG})")
    if within := sorted(tuned.glob("*/*.safetensors")):
        raise ModelError(
            f"{tuned} keeps weights in more than one folder ({within[0].parent.name}), which an adapter cannot hold; "
            "share the model itself"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        work = Path(scratch) / target.name
        work.mkdir()
        is_peft = is_peft_folder(tuned)
        changes = peft_changes(base.folder, tuned) if is_peft else differences(base.folder, tuned, rank)
        _check_tokenizer(base.folder, tuned)
        changes.save(work / WEIGHTS)
        base_files = _lay_files(base.folder, tuned, work / FILES, keep_all=is_peft)
        if calibration is not None:
            (work / FILES).mkdir(exist_ok=True)
            write_json(work / FILES / CALIBRATION, _for_any_index(calibration))
        card = {
            "name": name or NAMESPACE + target.resolve().name,
            "role": role,
            "license": words.license,
            "data": list(words.data),
            "recipe": words.recipe,
            "command": words.command,
            "date": datetime.date.today().isoformat(),
            "figures": list(words.figures),
            "rank": changes.rank,
            "kept": round(changes.kept, 4),
            "base": {"model": base.name, "sha256": checkpoint_sha256(base.folder), "sizes": _sizes(base.folder)},
            "adapter_sha256": file_sha256(work / WEIGHTS),
            "merged_sha256": "",
            "merge": {
                "remove": changes.remove,
                "add": changes.add,
                "dropped": list(changes.dropped),
                **(_same_config() if is_peft else _config(base.folder, tuned)),
                "base_files": base_files,
            },
        }
        write_json(work / CARD, card)
        card["merged_sha256"] = tensors_sha256(merged_tensors(read_adapter(work), base.folder))
        write_json(work / CARD, card)
        work.rename(target)
    return MadeAdapter(read_adapter(target), changes)


def _for_any_index(path: Path) -> dict[str, Any]:
    """A calibration without what is of one index and one machine."""
    calibration = read_json(path, ConfigError, fix="name the calibration.json of an index")
    if "elsewhere" not in calibration:
        raise ConfigError(f"{path} was not made with a reader; calibrate with reader.enabled = true")
    kept = {key: value for key, value in calibration.items() if key not in ("index", "serving", "elsewhere", SEAL)}
    evidence = {**calibration["elsewhere"], "reader": {"depth": calibration["elsewhere"]["reader"]["depth"]}}
    return {**kept, "queries": Path(calibration["queries"]).name, "evidence": evidence}


def _sizes(base: Path) -> dict[str, Any]:
    """What another base has to share."""
    config = read_json(base / "config.json", ModelError)
    return {key: config[key] for key in SIZES if key in config}


def _same_config() -> dict[str, Any]:
    return {"config": {}, "config_dropped": []}


def _config(base: Path, tuned: Path) -> dict[str, Any]:
    """The entries of config.json that tuning set, and those that it dropped."""
    before = read_json(base / "config.json", ModelError)
    after = read_json(tuned / "config.json", ModelError)
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    return {
        "config": {key: value for key, value in changed.items() if key not in NOT_OVERRIDDEN},
        "config_dropped": [key for key in before if key not in after and key not in NOT_OVERRIDDEN],
    }


def _check_tokenizer(base: Path, tuned: Path) -> None:
    """Raises ModelError where the tuned model splits text in another way: an adapter keeps the base's tokenizer."""
    paths = [folder / "tokenizer.json" for folder in (base, tuned)]
    if not all(path.is_file() for path in paths):
        return
    before, after = (read_json(path, ModelError) for path in paths)
    if any(before.get(part) != after.get(part) for part in ("model", "added_tokens")):
        raise ModelError(f"{tuned} has another vocabulary than {base}; an adapter cannot change the tokenizer")


def _lay_files(base: Path, tuned: Path, target: Path, *, keep_all: bool) -> list[str]:
    """Copy the small files that tuning added or changed; returns the places of those that stay the base's.

    With `keep_all` every file of the base stays, since the folder of a LoRA holds none of them.
    """
    kept = set(_data_files(base)) if keep_all else set()
    for place, path in _data_files(tuned).items():
        if _content(path) == _content(base / place):
            kept.add(place)
        else:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / place)
    return sorted(kept)


def _data_files(folder: Path) -> dict[str, Path]:
    """The small data files of a checkpoint by their places, without tokenizer and config.json."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in FILE_KINDS}
    return {
        place: path
        for place, path in sorted(found.items())
        if path.is_file()
        and path.stat().st_size <= MAX_FILE_BYTES
        and not any(fnmatch(place, pattern) for pattern in NOT_LAID)
    }


def _content(path: Path) -> object:
    """What a file says: of JSON the values, without the versions of the libraries that wrote it."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return path.read_bytes()
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if key not in ("transformers_version", "__version__")}
    return values
