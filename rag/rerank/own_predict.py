"""A cross-encoder run by sentence-transformers itself: language models that say yes or no, and chat templates."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.compute.one_at_a_time import TORCH
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.compute.runner import valid_unicode
from rag.errors import ModelError
from rag.models.modules import MODULES
from rag.progress import progress
from rag.rerank.yes_no import takes_pairs, yes_no_ranker

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

UNCUT_TOKENS = 1_000_000
PAIRS_PER_BATCH = {"cpu": 4, "cuda": 32}


class OwnPredict:
    """Scores pairs as the checkpoint's own `predict` does, before the activation function."""

    def __init__(self, folder: Path, *, max_length_tokens: int, device: str, precision: str):
        self._device = device
        with TORCH, reading_weights(folder):
            import torch

            quiet_transformers()
            dtype = torch.bfloat16 if device != "cpu" and precision == "bf16" else torch.float32
            self._model: Any = load_own(folder, device=device, model_kwargs={"dtype": dtype})
        own = self._model.max_seq_length or max_length_tokens
        self._limit = min(max_length_tokens, own)
        self._model.max_seq_length = self._limit
        self._frame = check_room(self._model, self._limit, folder)

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
        """How many pairs are longer than the model takes, by their texts and what stands around them."""
        texts = [f"{query}\n{passage}" for query, passage in pairs]
        encoded = self._model.tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)
        return sum(len(ids) + self._frame > self._limit for ids in encoded["input_ids"])


def check_room(model: CrossEncoder, limit: int, folder: Path) -> int:
    """The tokens that a chat template, or the tokenizer, writes around a pair, for a model cut at `limit`.

    Raises ModelError where they leave no room for the pair.
    """
    model.max_seq_length, longest = UNCUT_TOKENS, model.max_seq_length
    pair = len(model.tokenizer("a", add_special_tokens=False)["input_ids"]) * 2
    frame = len(model.preprocess([("a", "a")])["input_ids"][0]) - pair
    model.max_seq_length = longest
    if frame >= limit:
        raise ModelError(
            f"{folder} puts {frame} tokens around a question and a passage, and a pair is cut at {limit}; raise "
            "max_length_tokens"
        )
    return frame


def load_own(folder: Path, *, device: str, model_kwargs: Mapping[str, Any] | None = None) -> CrossEncoder:
    """The cross-encoder in a folder, as sentence-transformers runs it.

    A language model without modules, whose chat template takes no pair, is asked for yes or no (`yes_no_ranker`).
    """
    from sentence_transformers import CrossEncoder

    if not (folder / MODULES).is_file() and not takes_pairs(folder):
        return yes_no_ranker(folder, device=device, model_kwargs=model_kwargs)
    return CrossEncoder(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs=dict(model_kwargs or {}),
    )
