"""The bi-encoder: a sentence-transformers checkpoint that maps texts to unit vectors and knows its own prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.remembered import remembered_weights_sha256
from rag.compute.runner import BatchRunner, reading_weights
from rag.compute.tokenizer import load_tokenizer
from rag.errors import ModelError
from rag.files import read_json, weights_sha256
from rag.scripts import composed

# The names under which checkpoints store the prompt of a query and of a passage.
PROMPT_ALIASES = {"query": ("query",), "passage": ("passage", "document", "corpus")}


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

    `prompts` ({"query": …, "passage": …}) are for a checkpoint that names none, as the original E5 folders do; where it
    names its own, those win. `max_length_tokens` can shorten the checkpoint's length, not extend it. `cache_root` keeps
    the graphs that are compiled for a CPU. A `lazy` encoder loads its weights with the first texts to embed.

    Raises ModelError where `folder` is not a checkpoint, or no prompt is known for queries or passages.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        prompts: Mapping[str, str] | None = None,
        max_length_tokens: int | None = None,
        precision: str = "auto",
        device: str | None = None,
        cache_root: str | Path | None = None,
        lazy: bool = False,
    ):
        self.folder = Path(folder)
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        _modules(self.folder)  # anything but a checkpoint is refused before its settings are read
        self.prompts = _prompts(self.folder, prompts)
        weights = _weights_sha256(self.folder, cache_root)
        model_length = _max_length(self.folder)
        length = min(max_length_tokens or model_length, model_length)
        self.fingerprint = EncoderFingerprint(
            weights_sha256=weights,
            query_prompt=self.prompts["query"],
            passage_prompt=self.prompts["passage"],
            pooling=_pooling(self.folder),
            max_length_tokens=length,
            dimension=_dimension(self.folder),
        )
        cache = Path(cache_root) / f"{weights[:16]}-{self.fingerprint.pooling}" if cache_root else None
        self._runner = BatchRunner(
            load_tokenizer(_transformer_folder(self.folder), cache),
            self._build_module,
            max_length_tokens=length,
            device=self.device,
            precision=self.precision,
            cache_folder=cache,
            lazy=lazy,
        )

    def encode_queries(self, queries: Sequence[str], *, label: str = "") -> np.ndarray:
        """Embed queries with the query prompt. Returns (n, d) float32, unit length, in input order."""
        return self._encode([self.prompts["query"] + composed(text) for text in queries], label)[0]

    def encode_passages(
        self, passages: Sequence[str], *, label: str = "", advance: Callable[[int], object] | None = None
    ) -> tuple[np.ndarray, int]:
        """Embed passages with the passage prompt.

        Returns ((n, d) float32 of unit length in input order, how many passages were cut at the encoder's length).
        `label` shows a progress bar; without one, `advance` is called with the number of passages in each batch.
        """
        return self._encode([self.prompts["passage"] + composed(text) for text in passages], label, advance)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text by itself, without prompt or special tokens."""
        return self._runner.count_tokens(texts)

    def count_cut(self, passages: Sequence[str]) -> int:
        """How many passages are longer than the encoder's length, and would be cut."""
        lengths = self._runner.count_tokens([self.prompts["passage"] + text for text in passages], special=True)
        return sum(length > self.fingerprint.max_length_tokens for length in lengths)

    @property
    def room_tokens(self) -> int:
        """Tokens that a passage may take beside the prompt and the special tokens."""
        taken = self._runner.count_tokens([self.prompts["passage"]], special=True)[0]
        return self.fingerprint.max_length_tokens - taken

    def _encode(
        self, texts: list[str], label: str, advance: Callable[[int], object] | None = None
    ) -> tuple[np.ndarray, int]:
        if not texts:
            return np.zeros((0, self.fingerprint.dimension), np.float32), 0
        tokenized = self._runner.tokenize(texts)
        vectors = self._runner.run(tokenized, label=label, unit="passages", advance=advance)
        # Not every checkpoint ends with a Normalize module, and bf16 does not give exact unit length.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors, int(tokenized.was_cut.sum())

    def _build_module(self) -> Any:
        """A torch module: (input_ids, attention_mask[, token_type_ids]) int64 (b, t) -> sentence embeddings (b, d)."""
        import torch
        from sentence_transformers import SentenceTransformer

        quiet_transformers()
        with reading_weights(self.folder):
            model = SentenceTransformer(str(self.folder), device="cpu", local_files_only=True)
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


def _modules(folder: Path) -> list[dict[str, Any]]:
    """What modules.json holds: the checkpoint's modules in order, each with `path` and `type`."""
    path = folder / "modules.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} is not a sentence-transformers checkpoint (modules.json is missing); save it with "
            "SentenceTransformer(...).save_pretrained, so that pooling and prompts are stored with the weights"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _transformer_folder(folder: Path) -> Path:
    return folder / _modules(folder)[0]["path"]


def _module_folder(folder: Path, type_suffix: str) -> Path | None:
    return next((folder / m["path"] for m in _modules(folder) if m["type"].endswith(type_suffix)), None)


def _prompts(folder: Path, given: Mapping[str, str] | None) -> dict[str, str]:
    """{"query": …, "passage": …}: the checkpoint's own prompt, else the given one, else a stored empty one."""
    stored = read_json(folder / "config_sentence_transformers.json", ModelError, default={}).get("prompts") or {}
    found = {}
    for role, names in PROMPT_ALIASES.items():
        # sentence-transformers writes empty prompts for roles that a checkpoint does not name, so an empty one counts
        # only where nothing else is known.
        prompt = next((stored[name] for name in names if stored.get(name)), None)
        if prompt is None:
            prompt = (given or {}).get(role)
        if prompt is None and any(name in stored for name in names):
            prompt = ""
        if prompt is None:
            raise ModelError(
                f"{folder} does not say which prompt a {role} takes; set it: --set encoder.{role}_prompt='{role}: ' "
                "(or '' for none)"
            )
        found[role] = prompt
    return found


def _max_length(folder: Path) -> int:
    """The longest text, in tokens, that the checkpoint takes; 512 where it does not say."""
    transformer = _transformer_folder(folder)
    length = read_json(transformer / "sentence_bert_config.json", ModelError, default={}).get("max_seq_length")
    if length:
        return int(length)
    # Newer sentence-transformers keep the length with the tokenizer, which says 10^30 where it knows none.
    limits = (
        read_json(transformer / "config.json", ModelError, default={}).get("max_position_embeddings"),
        read_json(transformer / "tokenizer_config.json", ModelError, default={}).get("model_max_length"),
    )
    return int(min((limit for limit in limits if limit), default=512))


def _dimension(folder: Path) -> int:
    """The length of a vector."""
    pooling = _module_folder(folder, "Pooling")
    stored = read_json(pooling / "config.json", ModelError, default={}) if pooling else {}
    dimension = stored.get("word_embedding_dimension") or stored.get("embedding_dimension")
    if not dimension:
        dimension = read_json(_transformer_folder(folder) / "config.json", ModelError, default={})["hidden_size"]
    return int(dimension)


def _pooling(folder: Path) -> str:
    """The name of the pooling: `mean`, `lasttoken`, … or `none`; several that are concatenated are joined by `+`."""
    pooling = _module_folder(folder, "Pooling")
    if pooling is None:
        return "none"
    stored = read_json(pooling / "config.json", ModelError, default={})
    if "pooling_mode" in stored:
        return str(stored["pooling_mode"])
    # Older checkpoints have one switch per mode: `pooling_mode_mean_tokens: true`.
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, on in sorted(stored.items()) if key.startswith(prefix) and on is True]
    return "+".join(modes)
