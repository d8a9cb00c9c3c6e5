"""The cross-encoder: question and passage read together, scored on logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.runner import BatchRunner, reading_weights
from rag.errors import ModelError
from rag.types import Hit, ranked


class CrossEncoderReranker:
    """Scores every (query, passage content) pair with a one-label sequence classifier.

    Scores are logits: a sigmoid in bf16 would tie the top scores. `passages_cut` counts the distinct pairs whose
    passage was cut at the model's length.
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
        from transformers import AutoTokenizer

        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise ModelError(f"{self.folder} is no cross-encoder checkpoint: config.json is missing")
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        self.weights_sha256 = weights_sha256
        self.pairs_scored = 0
        self.passages_cut = 0
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self._runner = BatchRunner(
            tokenizer,
            self._build_module,
            max_length_tokens=min(max_length_tokens, tokenizer.model_max_length),
            device=self.device,
            precision=self.precision,
            cache_folder=Path(cache_root) / f"{weights_sha256[:16]}-logit" if cache_root and weights_sha256 else None,
        )

    def rerank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[Hit]], *, label: str = ""
    ) -> list[list[Hit]]:
        """Every candidate with its logit as the score, best first, ties by id."""
        pairs = [(q, hit.passage.content) for q, hits in zip(queries, candidates, strict=True) for hit in hits]
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

    def _build_module(self):
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
