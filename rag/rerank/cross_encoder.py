"""The cross-encoder: it reads query and passage together and gives one logit for the pair."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.compute.runner import BatchRunner
from rag.compute.tokenizer import load_tokenizer
from rag.errors import ModelError
from rag.rerank.checkpoint import RerankerCheckpoint, read_reranker
from rag.rerank.own_predict import OwnPredict
from rag.types import Hit, ranked

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_HEADS = ("classif", "score", "head", "out_proj")
"""What the layers of classification heads are called."""
_T5 = ("t5", "mt5", "umt5")


class CrossEncoderReranker:
    """Scores every (query, passage content) pair, by a classification head or a chain of modules that ends in scores.

    Scores are logits, not probabilities: near 1 a sigmoid in bf16 has steps of 1/256, which would tie the top scores.
    Where a head has two labels that say which is which, the score is the difference of their logits. `pairs_scored`
    counts the pairs so far, `passages_cut` those whose passage was cut at the model's length. `cache_root` keeps the
    graphs that are compiled for a CPU, by `weights_sha256`.

    Raises ModelError where `folder` holds no reranker (`rag.rerank.checkpoint`).
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
        self._checkpoint = read_reranker(self.folder)
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        self.weights_sha256 = weights_sha256
        self.pairs_scored = 0
        self.passages_cut = 0
        self._runner = self._make_runner(self._checkpoint, max_length_tokens, cache_root)

    def _make_runner(
        self, checkpoint: RerankerCheckpoint, max_length_tokens: int, cache_root: str | Path | None
    ) -> BatchRunner | OwnPredict:
        if checkpoint.kind == "own":
            longest = checkpoint.most_tokens(max_length_tokens)
            return OwnPredict(self.folder, max_length_tokens=longest, device=self.device, precision=self.precision)
        # A compiled graph is found again by the hash of its weights; without a hash it is not kept.
        name = f"{self.weights_sha256[:16]}-{checkpoint.graph_name}"
        cache = Path(cache_root) / name if cache_root and self.weights_sha256 else None
        tokenizer = load_tokenizer(checkpoint.body, cache)
        self._pad_token_id = tokenizer.pad_token_id
        return BatchRunner(
            tokenizer,
            self._build_module,
            max_length_tokens=min(max_length_tokens, checkpoint.most_tokens(tokenizer.model_max_length)),
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
        self.pairs_scored += len(pairs)
        if isinstance(self._runner, OwnPredict):
            scores, n_cut = self._runner.score(pairs, label=label)
            self.passages_cut += n_cut
            return scores.tolist()
        prompt = self._checkpoint.prompt
        tokenized = self._runner.tokenize([(prompt + query, passage) for query, passage in pairs])
        self.passages_cut += int(tokenized.was_cut.sum())
        return self._runner.run(tokenized, label=label, unit="pairs")[:, 0].tolist()

    def _build_module(self) -> Any:
        """A torch module: (input_ids, attention_mask[, token_type_ids]) int64 (b, t) -> logits (b, 1)."""
        quiet_transformers()
        if self._checkpoint.kind == "chain":
            return self._build_chain()
        return self._build_head()

    def _build_head(self) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        with reading_weights(self.folder):
            model, found = AutoModelForSequenceClassification.from_pretrained(
                self._checkpoint.body, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
        missing = sorted(key for key in found["missing_keys"] if any(word in key for word in _HEADS))
        if missing:
            raise ModelError(
                f"{self.folder} has no classification head ({missing[0]} is missing), so it gives no score for "
                "question and passage; name a cross-encoder"
            )
        labels = self._checkpoint.labels
        n_labels = model.config.num_labels
        if n_labels != (2 if labels else 1):
            raise ModelError(f"{self.folder} has {n_labels} labels; a reranker has one")
        if getattr(model.config, "pad_token_id", None) is None:
            # A decoder finds a pair's last token by it.
            model.config.pad_token_id = self._pad_token_id
        taken = set(inspect.signature(model.forward).parameters)
        # T5's head refuses a batch in which a text writes out the mark of its end.
        end = model.config.eos_token_id if model.config.model_type in _T5 else None

        class Logit(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *inputs):
                given = {name: value for name, value in zip(INPUTS, inputs, strict=False) if name in taken}
                if end is not None and len(torch.unique((inputs[0] == end).sum(1))) > 1:
                    rows = [{name: value[n : n + 1] for name, value in given.items()} for n in range(len(inputs[0]))]
                    logits = torch.cat([self.model(**row).logits for row in rows])
                else:
                    logits = self.model(**given).logits
                return logits if labels is None else (logits[:, labels[0]] - logits[:, labels[1]]).unsqueeze(1)

        return Logit()

    def _build_chain(self) -> Any:
        import torch
        from sentence_transformers import CrossEncoder

        with reading_weights(self.folder):
            model = CrossEncoder(str(self.folder), device="cpu", local_files_only=True, trust_remote_code=False)

        class Scores(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *inputs):
                return self.model(dict(zip(INPUTS, inputs, strict=False)))["scores"]

        return Scores()
