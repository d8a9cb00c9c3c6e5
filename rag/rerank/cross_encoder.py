"""The cross-encoder: it reads query and passage together and gives one logit for the pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.runner import BatchRunner, reading_weights
from rag.compute.tokenizer import load_tokenizer
from rag.errors import ModelError
from rag.types import Hit, ranked


class CrossEncoderReranker:
    """Scores every (query, passage content) pair with a one-label sequence classifier.

    Scores are logits, not probabilities: near 1 a sigmoid in bf16 has steps of 1/256, which would tie the top scores.
    `pairs_scored` counts the pairs so far, `passages_cut` those whose passage was cut at the model's length.
    `cache_root` keeps the graphs that are compiled for a CPU, by `weights_sha256`.

    Raises ModelError where `folder` is not a checkpoint with one label.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_length_tokens: int = 512,
        precision: str = "auto",
        device: str | None = None,
        weights_sha256: str = "",
        cache_root: str | Path | None = None,
    ):
        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise ModelError(f"{self.folder} is not a cross-encoder checkpoint: config.json is missing")
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        self.weights_sha256 = weights_sha256
        self.pairs_scored = 0
        self.passages_cut = 0
        # A compiled graph is found again by the hash of its weights; without a hash it is not kept.
        cache = Path(cache_root) / f"{weights_sha256[:16]}-logit" if cache_root and weights_sha256 else None
        tokenizer = load_tokenizer(self.folder, cache)
        self._runner = BatchRunner(
            tokenizer,
            self._build_module,
            max_length_tokens=min(max_length_tokens, tokenizer.model_max_length),
            device=self.device,
            precision=self.precision,
            cache_folder=cache,
        )

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]], *, label: str = ""
    ) -> list[list[Hit]]:
        """Every candidate with its logit as the score, best first, ties by id."""
        # The pairs of all queries go into one call, so that batches are filled with pairs of similar length.
        pairs = [(query, hit.passage.content) for query, hits in zip(queries, candidates, strict=True) for hit in hits]
        scores = iter(self.score(pairs, label=label))
        return [ranked([Hit(hit.passage, next(scores)) for hit in hits]) for hits in candidates]

    def score(self, pairs: Sequence[tuple[str, str]], *, label: str = "") -> list[float]:
        """One logit per (query, passage) pair, in order."""
        if not pairs:
            return []
        tokenized = self._runner.tokenize(pairs)
        self.pairs_scored += len(pairs)
        self.passages_cut += int(tokenized.was_cut.sum())
        return self._runner.run(tokenized, label=label, unit="pairs")[:, 0].tolist()

    def _build_module(self) -> Any:
        """A torch module: (input_ids, attention_mask[, token_type_ids]) int64 (b, t) -> logits (b, 1)."""
        import torch
        from transformers import AutoModelForSequenceClassification

        quiet_transformers()
        with reading_weights(self.folder):
            model = AutoModelForSequenceClassification.from_pretrained(self.folder, local_files_only=True)
        if model.config.num_labels != 1:
            raise ModelError(f"{self.folder} has {model.config.num_labels} labels; a reranker has one")
        names = ("input_ids", "attention_mask", "token_type_ids")

        class Logit(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *inputs):
                return self.model(**dict(zip(names, inputs, strict=False))).logits

        return Logit()
