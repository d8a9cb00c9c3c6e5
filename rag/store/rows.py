"""Passages and documents as rows of a table, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rag.retrieve.analyzer import Analyzer
from rag.store.state import OPEN
from rag.store.words import words_field
from rag.types import Passage, Place

NO_VECTOR = [1.0, 0.0]
"""Every row of Milvus has a vector; those of documents are never searched."""


def passage_row(
    passage: Passage, vector: Sequence[float] | np.ndarray, generation: int, analyzer: Analyzer, names: Iterable[str]
) -> dict[str, Any]:
    """A passage as a row that comes with a generation; `names` are the collections of its document."""
    return {
        "key": _key(generation, passage.id),
        "id": passage.id,
        "since": generation,
        "until": OPEN,
        "document": passage.document,
        "collections": sorted(set(names)),
        "content": sha256_of(passage.content),
        "digest": digest_of(passage, names),
        "words": words_field(analyzer, passage.content),
        "body": _body(passage),
        "vector": np.asarray(vector, np.float32).tolist(),
    }


def _key(generation: int, name: str) -> str:
    """A key without signs: iterators of pymilvus put it into filters as it is."""
    return f"{generation}:{sha256_of(name)}"


def passage_of(row: Mapping[str, Any]) -> Passage:
    """The passage that a row keeps."""
    stored = json.loads(row["body"])
    place = stored.pop("place", None)
    return Passage(**stored, place=None if place is None else Place(**place))


def document_row(record: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """A document as a row that comes with a generation."""
    body = json.dumps(record)
    return {
        "key": _key(generation, record["sha256"]),
        "id": record["sha256"],
        "since": generation,
        "until": OPEN,
        "digest": sha256_of(body),
        "body": body,
        "vector": NO_VECTOR,
    }


def digest_of(passage: Passage, names: Iterable[str] = ()) -> str:
    """A hash of everything that a passage's row says, but for its vector."""
    return sha256_of("\x1f".join((_body(passage), *sorted(set(names)))))


def sha256_of(text: str) -> str:
    """The SHA-256 of a text, in hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _body(passage: Passage) -> str:
    stored: dict[str, Any] = {
        "id": passage.id,
        "text": passage.text,
        "title": passage.title,
        "source": passage.source,
    }
    if place := passage.place:
        stored["place"] = {"start": place.start, "end": place.end, "page": place.page}
    text = json.dumps(stored, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(stored)
    return text
