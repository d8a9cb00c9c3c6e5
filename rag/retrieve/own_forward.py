"""A checkpoint run by sentence-transformers itself, for modules that no graph is made of: static embeddings, chat
templates, pooling without the prompt, routes for questions and passages."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.compute.one_at_a_time import TORCH
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.progress import progress

UNLIMITED_TOKENS = 1_000_000
"""The length that an encoder has which reads any number of tokens."""
TEXTS_PER_BATCH = 32


class OwnForward:
    """Embeds texts, and counts their tokens, as the checkpoint's own `encode` does.

    A `lazy` one loads its model with the first text to embed or to count.
    """

    def __init__(self, folder: Path, *, max_length_tokens: int, device: str, lazy: bool = False):
        self._folder = folder
        self._limit = max_length_tokens
        self._device = device
        self._model: Any = None
        self._counter: Any = None
        self._loading = threading.Lock()
        if not lazy:
            self.load()

    def load(self) -> Any:
        """The SentenceTransformer, loaded now if it has not been."""
        with self._loading:
            if self._model is None:
                self._model = self._loaded()
            return self._model

    def _loaded(self) -> Any:
        with TORCH, reading_weights(self._folder):
            from sentence_transformers import SentenceTransformer
            from tokenizers import Tokenizer

            quiet_transformers()
            model = SentenceTransformer(
                str(self._folder), device=self._device, local_files_only=True, trust_remote_code=False
            ).eval()
            model = model.float() if self._device == "cpu" else model
            self._counter = model.tokenizer
            if isinstance(model.tokenizer, Tokenizer):  # its limit is its own state, so what counts is a copy
                self._counter = Tokenizer.from_str(model.tokenizer.to_str())
                self._counter.no_truncation()
                if self._limit < UNLIMITED_TOKENS:
                    model.tokenizer.enable_truncation(self._limit)
            elif (model.max_seq_length or UNLIMITED_TOKENS) > self._limit:
                model.max_seq_length = self._limit
            return model

    def dimension(self) -> int:
        """The length of a vector."""
        model = self.load()
        known = model.get_embedding_dimension()
        return int(known) if known else len(model.encode(["a"])[0])

    def embed(
        self,
        texts: Sequence[str],
        prompt: str,
        role: Literal["query", "passage"],
        *,
        label: str = "",
        advance: Callable[[int], object] | None = None,
    ) -> tuple[np.ndarray, int]:
        """((n, d) float32 in input order, how many texts were cut); progress as in `BatchRunner.run`."""
        model = self.load()
        encode = model.encode_query if role == "query" else model.encode_document
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        out: np.ndarray | None = None
        with progress(label, len(texts), "passages") if label else contextlib.nullcontext() as bar:
            for start in range(0, len(order), TEXTS_PER_BATCH):
                rows = order[start : start + TEXTS_PER_BATCH]
                found = encode([texts[row] for row in rows], prompt=prompt, show_progress_bar=False)
                if out is None:
                    out = np.zeros((len(texts), found.shape[1]), np.float32)
                out[rows] = found
                if bar is not None:
                    bar.advance(len(rows))
                elif advance is not None:
                    advance(len(rows))
        cut = sum(n > self._limit for n in self.count_tokens([prompt + text for text in texts], special=True))
        return out if out is not None else np.zeros((0, 0), np.float32), cut

    def count_tokens(self, texts: Sequence[str], *, special: bool = False) -> list[int]:
        """The number of tokens of each text, uncut; `special` counts those that the tokenizer adds as well."""
        self.load()
        if not texts:
            return []
        counter = self._counter
        if hasattr(counter, "encode_batch"):  # static embeddings take no special tokens
            return [len(encoding.ids) for encoding in counter.encode_batch(list(texts), add_special_tokens=False)]
        if callable(counter):
            encoded = counter(list(texts), add_special_tokens=special, truncation=False, verbose=False)
            return [len(ids) for ids in encoded["input_ids"]]
        return [len(counter.tokenize(text)) for text in texts]
