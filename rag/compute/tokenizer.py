"""An encoder's tokenizer without transformers, whose import takes longer than compiling the encoder's graph.

What `AutoTokenizer` makes of a checkpoint is written down once, beside the compiled graphs, and read by `tokenizers`
alone from then on: the same tokens. Another version of transformers, or another file in the checkpoint, makes it anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.compute.one_at_a_time import TORCH
from rag.compute.reading import reading_weights
from rag.errors import ModelError
from rag.files import file_sha256, read_json, write_json

TOKENIZER = "tokenizer.json"
FACTS = "facts.json"
SMALL_FILES = (".json", ".txt", ".model", ".jinja")


def load_tokenizer(folder: Path, cache_folder: Path | None) -> Any:
    """The tokenizer of a checkpoint, as a `BatchRunner` takes it; `cache_folder` keeps what was written down of it."""
    place = cache_folder / f"tokenizer-{_key(folder)}" if cache_folder is not None else None
    if place is not None:
        with contextlib.suppress(ModelError):
            return WrittenTokenizer(place)
    with TORCH:
        from transformers import AutoTokenizer

        with reading_weights(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # Where its files are missing, transformers makes one of special tokens alone, which reads every word as unknown.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(f"{folder} holds no tokenizer (tokenizer.json is missing); get the model again")
    if place is not None and getattr(tokenizer, "backend_tokenizer", None) is not None:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _write(tokenizer, place)
    return tokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts or pairs as tokens: `encodings` are those of the package tokenizers."""

    encodings: Sequence[Any]

    def __getitem__(self, name: str) -> list[list[int]]:
        """`input_ids` or `token_type_ids`, a list for each text."""
        attribute = {"input_ids": "ids", "token_type_ids": "type_ids"}[name]
        return [getattr(encoding, attribute) for encoding in self.encodings]


class WrittenTokenizer:
    """A tokenizer that was written down; called as transformers' own. Raises ModelError where it is not there whole."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        facts = read_json(folder / FACTS, ModelError)
        try:
            self.model_input_names: list[str] = facts["model_input_names"]
            self.model_max_length: int = facts["model_max_length"]
            self.pad_token_id: int | None = facts["pad_token_id"]
            self._direction: str = facts["truncation_side"]
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelError(f"{folder} is damaged ({error})") from error
        self._tokenizer.no_padding()
        self._lock = threading.Lock()  # how long a text may be is a state of the tokenizer

    def __call__(
        self,
        *columns: Sequence[str],
        truncation: bool | str = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        verbose: bool = True,
    ) -> Encoded:
        """Token ids of texts, or of pairs given as two columns; `truncation` True cuts the longer side first."""
        rows = list(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))
        with self._lock:
            if truncation and max_length is not None:
                strategy = "longest_first" if truncation is True else truncation
                self._tokenizer.enable_truncation(max_length, strategy=strategy, direction=self._direction)
            else:
                self._tokenizer.no_truncation()
            return Encoded(self._tokenizer.encode_batch(rows, add_special_tokens=add_special_tokens))


def _write(tokenizer: Any, place: Path) -> None:
    """Written beside its place and renamed: a kill leaves no half of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=place.parent, prefix=".building-"))
    (building / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    facts = {
        "model_input_names": list(tokenizer.model_input_names),
        "model_max_length": int(tokenizer.model_max_length),
        "pad_token_id": tokenizer.pad_token_id,
        "truncation_side": tokenizer.truncation_side,
    }
    write_json(building / FACTS, facts)
    shutil.rmtree(place, ignore_errors=True)  # one that could not be read
    try:
        building.rename(place)
    except OSError:  # another process finished first
        shutil.rmtree(building)


def _key(folder: Path) -> str:
    """A hash of the checkpoint's small files, and of the packages that make a tokenizer of them."""
    small = sorted(path for path in folder.iterdir() if path.suffix in SMALL_FILES and path.is_file())
    made_by = [f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "tokenizers")]
    digest = hashlib.sha256("\n".join([*made_by, *(f"{p.name} {file_sha256(p)}" for p in small)]).encode())
    return digest.hexdigest()[:16]
