"""A cross-encoder run by sentence-transformers itself: language models that say yes or no, and chat templates."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.one_at_a_time import TORCH
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.compute.runner import valid_unicode
from rag.progress import progress

PAIRS_PER_BATCH = {"cpu": 4, "cuda": 32}


class OwnPredict:
    """Scores pairs as the checkpoint's own `predict` does, before the activation function."""

    def __init__(self, folder: Path, *, max_length_tokens: int, device: str, precision: str):
        self._device = device
        with TORCH, reading_weights(folder):
            import torch
            from sentence_transformers import CrossEncoder

            quiet_transformers()
            dtype = torch.bfloat16 if device != "cpu" and precision == "bf16" else torch.float32
            self._model: Any = CrossEncoder(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": dtype},
            )
        own = self._model.max_seq_length or max_length_tokens
        self._limit = min(max_length_tokens, own)
        self._model.max_seq_length = self._limit

    def score(self, pairs: Sequence[tuple[str, str]], *, label: str = "") -> tuple[np.ndarray, int]:
        """((n,) float32 scores in input order, how many pairs are longer than the model takes)."""
        from torch.nn import Identity

        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row][0]) - len(pairs[row][1]))
        written = [(valid_unicode(query), valid_unicode(passage)) for query, passage in pairs]
        out = np.zeros(len(pairs), np.float32)
        size = PAIRS_PER_BATCH[self._device]
        with progress(label, len(pairs), "pairs") if label else contextlib.nullcontext() as bar:
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                found = self._model.predict(
                    [written[row] for row in rows],
                    batch_size=size,
                    activation_fn=Identity(),
                    show_progress_bar=False,
                )
                out[rows] = np.asarray(found).reshape(len(rows), -1)[:, 0]
                if bar is not None:
                    bar.advance(len(rows))
        return out, self._n_cut(written)

    def _n_cut(self, pairs: Sequence[tuple[str, str]]) -> int:
        """How many pairs are longer than the model takes, by their texts alone."""
        texts = [f"{query}\n{passage}" for query, passage in pairs]
        encoded = self._model.tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)
        return sum(len(ids) > self._limit for ids in encoded["input_ids"])
