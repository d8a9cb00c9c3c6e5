"""A question encoder: it was trained to embed questions beside another encoder, which embeds the passages.

A file in its folder says which one, so that it is used beside no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.errors import ModelError
from rag.files import read_json

NOTE = "query_encoder.json"
SHAPING = ("weights_sha256", "passage_prompt", "pooling")
"""What decides the vector of a passage; its length and its language do not change what a question encoder learnt."""


def note_of(passages: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says: the fingerprint of the encoder of the passages."""
    return {"passages": dict(passages)}


def passages_of(folder: Path) -> dict[str, Any] | None:
    """The fingerprint of the encoder beside which a model embeds questions; None for a model that is none of these.

    Raises ModelError where the file is damaged.
    """
    note = read_json(folder / NOTE, ModelError, fix="train it again", default={})
    if not note:
        return None
    passages = note.get("passages")
    if not isinstance(passages, dict) or not all(isinstance(passages.get(name), str) for name in SHAPING):
        raise ModelError(f"{folder / NOTE} is damaged (it names no encoder); train it again")
    return passages


def differing(folder: Path, passages: Mapping[str, Any]) -> list[str]:
    """What the encoder of this fingerprint has otherwise than the one that a question encoder was trained beside."""
    known = passages_of(folder)
    return list(SHAPING) if known is None else [name for name in SHAPING if known[name] != passages[name]]
