"""Running an encoder over many texts as fast as this machine can, with the same results as the plain model.

Texts are tokenised once, sorted by length and packed into batches of a token budget, so that little is spent on
padding. On a GPU the torch model runs in bf16. On a CPU OpenVINO compiles the model; its mixed precision keeps
everything but the matrix products in float32. The compiled graph is kept in the cache, so that a later start needs no
torch model at all. `auto` chooses the precision by the CPU's flags:

    bf16   where the CPU has matrix units for bf16 (AMX, or AVX-512 BF16 on CPUs that are not Intel's)
    fp32   everywhere else
    int8   never by itself: 8-bit weights and activations are faster still, and the scores only close
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import is_out_of_memory
from rag.errors import ModelError
from rag.progress import check_waiting, progress

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
SHORTEST_SHARE = {"cpu": 0.85, "cuda": 0.0}
"""How much shorter than the longest text of its batch another may be. A CPU computes padding as if it were text; ten
texts for one question, in one batch, are up to a third padding. A GPU would rather have one batch."""
FEW_TOKENS = 16
"""Padding of so few tokens costs less than another batch."""

TextOrPair = str | tuple[str, str]
Forward = Callable[..., np.ndarray]
"""Maps (input_ids, attention_mask[, token_type_ids]), each (b, t) int64, to (b, d) float32."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Token ids of n texts, cut at the model's length. `was_cut` is (n,) bool; `type_ids` is None if unused."""

    ids: list[list[int]]
    type_ids: list[list[int]] | None
    was_cut: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64: the tokens of each text."""
        return np.fromiter((len(ids) for ids in self.ids), np.int64, len(self.ids))


class BatchRunner:
    """Maps tokenised texts to one row each: an embedding, or a logit.

    `build_module` returns a torch module whose forward takes (input_ids, attention_mask[, token_type_ids]) int64 (b, t)
    and returns (b, d). It is not called where `cache_folder` already holds a compiled graph. A `lazy` runner loads the
    model with the first texts to run; counting tokens needs none.
    """

    def __init__(
        self,
        tokenizer: Any,
        build_module: Callable[[], Any],
        *,
        max_length_tokens: int,
        device: str,
        precision: str,
        cache_folder: Path | None,
        lazy: bool = False,
    ):
        self.tokenizer = tokenizer
        self.max_length_tokens = max_length_tokens
        self.device = device
        self.precision = precision
        self.uses_type_ids = "token_type_ids" in tokenizer.model_input_names
        n_inputs = 3 if self.uses_type_ids else 2
        self._load: Callable[[], Forward]
        if device == "cpu":
            self._load = functools.partial(_openvino_forward, build_module, n_inputs, precision, cache_folder)
        else:
            self._load = functools.partial(_torch_forward, build_module, device, precision)
        self._loaded: Forward | None = None
        self._loading = threading.Lock()
        if not lazy:
            self.load()

    def load(self) -> Forward:
        """The model, loaded now if it has not been; threads that ask at once load it once."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def tokenize(self, texts: Sequence[TextOrPair]) -> Tokenized:
        """Token ids with special tokens, in input order; all texts or all pairs. Of a pair only the second is cut."""
        if not texts:
            return Tokenized([], [] if self.uses_type_ids else None, np.zeros(0, bool))
        is_pair = not isinstance(texts[0], str)
        # One column for texts, two for pairs, as tokenizers take them.
        rows = [(text,) if isinstance(text, str) else text for text in texts]
        columns = [[valid_unicode(text) for text in column] for column in zip(*rows, strict=True)]
        truncation = "only_second" if is_pair else True
        try:
            encoded = self.tokenizer(*columns, truncation=truncation, max_length=self.max_length_tokens)
        except Exception:
            if not is_pair:
                raise
            # A query longer than the model's whole window cannot stay whole: cut whichever side is longer.
            encoded = self.tokenizer(*columns, truncation="longest_first", max_length=self.max_length_tokens)
        was_cut = np.fromiter((bool(e.overflowing) for e in encoded.encodings), bool, len(texts))
        return Tokenized(encoded["input_ids"], encoded["token_type_ids"] if self.uses_type_ids else None, was_cut)

    def count_tokens(self, texts: Sequence[str], *, special: bool = False) -> list[int]:
        """The number of tokens of each text, uncut; `special` counts those that the tokenizer adds as well."""
        if not texts:
            return []
        encoded = self.tokenizer(
            [valid_unicode(text) for text in texts], add_special_tokens=special, truncation=False, verbose=False
        )
        return [len(ids) for ids in encoded["input_ids"]]

    def run(
        self,
        tokenized: Tokenized,
        *,
        label: str = "",
        unit: str = "texts",
        advance: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """(n, d) float32 in input order.

        `label` shows a progress bar; without one, `advance` is called with the number of texts in each batch. Raises
        ModelError where memory does not hold even one text.
        """
        lengths = tokenized.lengths
        out: np.ndarray | None = None  # d is known after the first batch
        with progress(label, len(lengths), unit) if label else contextlib.nullcontext() as bar:
            for rows in pack_by_length(lengths, TOKENS_PER_BATCH[self.device], SHORTEST_SHARE[self.device]):
                check_waiting()
                values = self._forward_in_memory(tokenized, rows)
                if out is None:
                    out = np.zeros((len(lengths), values.shape[1]), np.float32)
                out[rows] = values
                if bar is not None:
                    bar.advance(len(rows))
                elif advance is not None:
                    advance(len(rows))
        return out if out is not None else np.zeros((0, 0), np.float32)

    def _forward_in_memory(self, tokenized: Tokenized, rows: np.ndarray) -> np.ndarray:
        """The values of these rows, all at once; in halves where memory does not hold them."""
        try:
            forward = self.load()
            return forward(*self._pad(tokenized, rows, int(tokenized.lengths[rows].max())))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise ModelError(
                    f"out of memory on {self.device} at one text of {tokenized.lengths[rows[0]]} tokens; close other "
                    "programs that use memory, or lower max_length_tokens of the encoder or reranker"
                ) from error
        # Outside the except block: there the error's traceback would still hold the tensors that did not fit.
        half = len(rows) // 2
        return np.concatenate([self._forward_in_memory(tokenized, part) for part in (rows[:half], rows[half:])])

    def _pad(self, tokenized: Tokenized, rows: np.ndarray, width: int) -> list[np.ndarray]:
        """The inputs of one batch, each (len(rows), width) int64."""
        ids = np.full((len(rows), width), self.tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        types = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            n = len(tokenized.ids[row])
            ids[i, :n] = tokenized.ids[row]
            mask[i, :n] = 1
            if tokenized.type_ids is not None:
                types[i, :n] = tokenized.type_ids[row]
        return [ids, mask, types] if self.uses_type_ids else [ids, mask]


def pack_by_length(lengths: np.ndarray, tokens_per_batch: int, shortest_share: float = 0.0) -> Iterator[np.ndarray]:
    """Row numbers in batches of similar length, each of at most `tokens_per_batch` tokens with its padding.

    No text of a batch is shorter than `shortest_share` of its longest, unless by few tokens.

    The longest come first, so that a text that does not fit into memory fails at once, and the time left is never
    underestimated. A text longer than the budget is a batch by itself.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        width = max(int(lengths[order[start]]), 1)
        size = max(1, tokens_per_batch // width)
        batch = order[start : start + size]
        batch = batch[lengths[batch] >= min(shortest_share * width, width - FEW_TOKENS)]
        yield batch
        start += len(batch)


def valid_unicode(text: str) -> str:
    """The text with lone surrogates, which JSON can carry and no tokenizer accepts, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _torch_forward(build_module: Callable[[], Any], device: str, precision: str) -> Forward:
    """The torch model on a GPU; bf16 by autocast, which leaves norms and sums in float32."""
    import torch

    try:
        module = build_module().eval().to(device)
        module = module.float() if device == "cpu" else module
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(f"out of memory on {device}: the model does not fit; close other programs on it") from error

    def forward(*arrays: np.ndarray) -> np.ndarray:
        tensors = [torch.from_numpy(array).to(device, non_blocking=True) for array in arrays]
        half = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), half:
            return module(*tensors).float().cpu().numpy()

    return forward


def _openvino_forward(
    build_module: Callable[[], Any], n_inputs: int, precision: str, cache_folder: Path | None
) -> Forward:
    """The model compiled for this CPU; as torch runs it, in fp32, where it cannot be compiled."""
    from rag.compute.openvino_graph import NotConverted, openvino_forward

    try:
        return openvino_forward(build_module, n_inputs, precision, cache_folder)
    except NotConverted:
        return _torch_forward(build_module, "cpu", "fp32")
