"""The bi-encoder: a sentence-transformers checkpoint that maps texts to unit vectors and knows its own prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.compute.remembered import remembered_weights_sha256
from rag.compute.runner import BatchRunner, valid_unicode
from rag.compute.tokenizer import load_tokenizer
from rag.errors import ModelError
from rag.files import weights_sha256
from rag.retrieve.checkpoint import Checkpoint, read_checkpoint
from rag.retrieve.own_forward import UNLIMITED_TOKENS, OwnForward
from rag.scripts import composed


@dataclass(frozen=True, slots=True)
class EncoderFingerprint:
    """Everything that decides a vector: weights, prompts, pooling, length. Encoders that agree here share an index."""

    weights_sha256: str
    query_prompt: str
    passage_prompt: str
    pooling: str
    max_length_tokens: int
    dimension: int


class Encoder:
    """Embeds queries and passages with the checkpoint's own prompts, pooling and length.

    `prompts` ({"query": …, "passage": …}) are for a checkpoint that names none; where it names its own, those win.
    Without either, the family of `name`, or of the folder, decides (`rag.models.prompts`); an unknown one has none.
    `max_length_tokens` can shorten the checkpoint's length, and `truncate_dim` its vectors; neither extends them.
    `cache_root` keeps the graphs that are compiled for a CPU. A `lazy` encoder loads its weights with the first texts
    to embed. `notes` are sentences on what a user should know of the checkpoint. `questions` is another encoder that
    embeds the queries; the fingerprint is of what embeds the passages.

    Raises ModelError where `folder` is not a checkpoint that can be read.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "",
        prompts: Mapping[str, str] | None = None,
        max_length_tokens: int | None = None,
        truncate_dim: int | None = None,
        precision: str = "auto",
        device: str | None = None,
        cache_root: str | Path | None = None,
        lazy: bool = False,
        questions: Encoder | None = None,
    ):
        self.folder = Path(folder)
        self.questions = questions
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        checkpoint = read_checkpoint(self.folder)
        self.prompts = checkpoint.prompts(prompts, name)
        self.notes = _notes(checkpoint, prompts, name)
        self._is_lower_case = checkpoint.is_lower_case
        weights = _weights_sha256(self.folder, cache_root)
        model_length = checkpoint.max_length() or UNLIMITED_TOKENS
        length = min(max_length_tokens or model_length, model_length)
        self._limit_tokens = min(length, checkpoint.positions() or length)
        cache = Path(cache_root) / f"{weights[:16]}-{checkpoint.graph_name}" if cache_root else None
        self._runner = self._make_runner(checkpoint, cache, lazy=lazy)
        width = checkpoint.width()
        if width is None and isinstance(self._runner, OwnForward):
            width = self._runner.dimension()
        if width is None:
            raise ModelError(f"the files of {self.folder} do not say how long its vectors are; fetch the model again")
        self.fingerprint = EncoderFingerprint(
            weights_sha256=weights,
            query_prompt=self.prompts["query"],
            passage_prompt=self.prompts["passage"],
            pooling=checkpoint.pooling,
            max_length_tokens=length,
            dimension=min(width, truncate_dim or width),
        )

    def _make_runner(self, checkpoint: Checkpoint, cache: Path | None, *, lazy: bool) -> BatchRunner | OwnForward:
        if not checkpoint.is_compiled:
            return OwnForward(self.folder, max_length_tokens=self._limit_tokens, device=self.device, lazy=lazy)
        return BatchRunner(
            load_tokenizer(checkpoint.transformer, cache),
            self._build_module,
            max_length_tokens=self._limit_tokens,
            device=self.device,
            precision=self.precision,
            cache_folder=cache,
            lazy=lazy,
        )

    def encode_queries(self, queries: Sequence[str], *, label: str = "") -> np.ndarray:
        """Embed queries with the query prompt. Returns (n, d) float32, unit length, in input order."""
        if self.questions is not None:
            return self.questions.encode_queries(queries, label=label)
        return self._encode("query", [composed(text) for text in queries], label)[0]

    def encode_passages(
        self, passages: Sequence[str], *, label: str = "", advance: Callable[[int], object] | None = None
    ) -> tuple[np.ndarray, int]:
        """Embed passages with the passage prompt.

        Returns ((n, d) float32 of unit length in input order, how many passages were cut at the encoder's length).
        `label` shows a progress bar; without one, `advance` is called with the number of passages in each batch.
        """
        return self._encode("passage", [composed(text) for text in passages], label, advance)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text by itself, without prompt or special tokens."""
        return self._runner.count_tokens([self._written(text) for text in texts])

    def count_cut(self, passages: Sequence[str]) -> int:
        """How many passages are longer than the encoder's length, and would be cut."""
        prompted = [self._written(self.prompts["passage"] + text) for text in passages]
        return sum(length > self._limit_tokens for length in self._runner.count_tokens(prompted, special=True))

    @property
    def room_tokens(self) -> int:
        """Tokens that a passage may take beside the prompt and the special tokens."""
        taken = self._runner.count_tokens([self._written(self.prompts["passage"])], special=True)[0]
        return self._limit_tokens - taken

    def _written(self, text: str) -> str:
        """The text in small letters, where the checkpoint says so."""
        return text.lower() if self._is_lower_case else text

    def _encode(
        self,
        role: Literal["query", "passage"],
        texts: list[str],
        label: str,
        advance: Callable[[int], object] | None = None,
    ) -> tuple[np.ndarray, int]:
        if not texts:
            return np.zeros((0, self.fingerprint.dimension), np.float32), 0
        prompt = self.prompts[role]
        if isinstance(self._runner, OwnForward):
            texts = [valid_unicode(text) for text in texts]
            vectors, n_cut = self._runner.embed(texts, prompt, role, label=label, advance=advance)
        else:
            tokenized = self._runner.tokenize([self._written(prompt + text) for text in texts])
            vectors = self._runner.run(tokenized, label=label, unit="passages", advance=advance)
            n_cut = int(tokenized.was_cut.sum())
        vectors = vectors[:, : self.fingerprint.dimension]
        # Not every checkpoint ends with a Normalize module, and bf16 does not give exact unit length.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors, n_cut

    def _build_module(self) -> Any:
        """A torch module: (input_ids, attention_mask[, token_type_ids]) int64 (b, t) -> sentence embeddings (b, d)."""
        import torch
        from sentence_transformers import SentenceTransformer

        quiet_transformers()
        with reading_weights(self.folder):
            model = SentenceTransformer(str(self.folder), device="cpu", local_files_only=True, trust_remote_code=False)
        names = ("input_ids", "attention_mask", "token_type_ids")

        class SentenceEmbedding(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *inputs):
                return self.model(dict(zip(names, inputs, strict=False)))["sentence_embedding"]

        return SentenceEmbedding()


def _weights_sha256(folder: Path, cache_root: str | Path | None) -> str:
    return weights_sha256(folder) if cache_root is None else remembered_weights_sha256(folder, Path(cache_root))


def _notes(checkpoint: Checkpoint, prompts: Mapping[str, str] | None, name: str) -> tuple[str, ...]:
    notes: list[str] = []
    if not checkpoint.names_prompts(prompts, name):
        notes.append(
            f"{name or checkpoint.folder} names no prompts: questions and passages are embedded as they are "
            "(others: --set encoder.query_prompt='…')"
        )
    if checkpoint.similarity != "cosine":
        notes.append(
            f"{name or checkpoint.folder} was trained to be compared by {checkpoint.similarity}; here its vectors have "
            "unit length and are compared by cosine, which may rank otherwise"
        )
    return tuple(notes)
