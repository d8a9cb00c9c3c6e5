"""The span reader: an encoder with a start and an end logit for each token, and "no answer here" at [CLS].

This is extractive question answering as in BERT's model for SQuAD 2 (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805): a span scores its start logit and its end logit, "no answer" the two logits of the
first token. The best span is found inside the compiled graph, so that four numbers leave it for each pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import choose_precision, default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.compute.runner import BatchRunner, Tokenized, valid_unicode
from rag.compute.tokenizer import load_tokenizer
from rag.errors import ModelError
from rag.read.best_span import make_best_span_module
from rag.types import Passage, ReadSpan, Span

MAX_SPAN_TOKENS = 48
LOWEST_MARGIN = -50.0
"""The margin of a passage without a word to read, in logits: lower than any that a reader gives."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A question and a piece of a passage, as tokens. `offsets` are characters of the passage's content."""

    pair: int
    ids: list[int]
    type_ids: list[int]
    offsets: list[Span]


class SpanReader:
    """Reads each passage for the question: the best span of its text, and the logit of "no answer here".

    A passage longer than `max_length_tokens`, with its question, is read in overlapping windows; the window of the
    largest margin counts. `cache_root` keeps the graphs that are compiled for a CPU, by `weights_sha256`.

    Raises ModelError where `folder` is no question answering checkpoint.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_length_tokens: int = 256,
        precision: str = "auto",
        device: str | None = None,
        weights_sha256: str = "",
        cache_root: str | Path | None = None,
    ):
        self.folder = Path(folder)
        _check_is_reader(self.folder)
        self.device = device or default_device()
        self.precision = choose_precision(precision, self.device)
        self.weights_sha256 = weights_sha256
        self.pairs_read = 0
        # A compiled graph is found again by the hash of its weights; without a hash it is not kept.
        name = f"{weights_sha256[:16]}-span{MAX_SPAN_TOKENS}"
        cache = Path(cache_root) / name if cache_root and weights_sha256 else None
        self._tokenizer = load_tokenizer(self.folder, cache)
        self._max_length_tokens = min(max_length_tokens, self._tokenizer.model_max_length)
        if "token_type_ids" not in self._tokenizer.model_input_names:
            raise ModelError(f"{self.folder} does not tell question from passage by token types; choose a BERT model")
        self._runner = BatchRunner(
            self._tokenizer,
            self._build_module,
            max_length_tokens=self._max_length_tokens,
            device=self.device,
            precision=self.precision,
            cache_folder=cache,
        )

    def read(
        self, queries: Sequence[str], contexts: Sequence[Sequence[Passage]], *, label: str = ""
    ) -> list[list[ReadSpan]]:
        """The best span of every passage of each query, in their order."""
        pairs = [(query, passage) for query, passages in zip(queries, contexts, strict=True) for passage in passages]
        spans = iter(self._read_pairs(pairs, label))
        return [[next(spans) for _ in passages] for passages in contexts]

    def _read_pairs(self, pairs: Sequence[tuple[str, Passage]], label: str) -> list[ReadSpan]:
        best = [ReadSpan(0, 0, LOWEST_MARGIN, 0.0) for _ in pairs]
        if not pairs:
            return best
        self.pairs_read += len(pairs)
        windows = self._windows(pairs)
        tokenized = Tokenized(
            [window.ids for window in windows], [window.type_ids for window in windows], np.zeros(len(windows), bool)
        )
        rows = self._runner.run(tokenized, label=label, unit="windows")
        for window, (null, score, first, last) in zip(windows, rows.tolist(), strict=True):
            if score - null <= best[window.pair].margin:
                continue
            characters = (window.offsets[int(first)][0], window.offsets[int(last)][1])
            start, end = _in_text(characters, pairs[window.pair][1])
            best[window.pair] = ReadSpan(start, end, score, null)
        return best

    def _windows(self, pairs: Sequence[tuple[str, Passage]]) -> list[_Window]:
        """Every pair in windows of at most the model's length, each with the whole question."""
        questions = [self._short_enough(query) for query, _ in pairs]
        contents = [valid_unicode(passage.content) for _, passage in pairs]
        encoded = self._tokenizer(questions, contents, truncation=False, verbose=False)
        return [
            _Window(pair, *window)
            for pair, encoding in enumerate(encoded.encodings)
            for window in _cut(encoding, self._max_length_tokens)
        ]

    def _short_enough(self, query: str) -> str:
        """The question, cut where it would leave the passage less than half of the model's length."""
        query = valid_unicode(query)
        (found,) = self._tokenizer([query], add_special_tokens=False, truncation=False, verbose=False).encodings
        limit = self._max_length_tokens // 2
        return query if len(found) <= limit else query[: found.offsets[limit - 1][1]]

    def _build_module(self) -> Any:
        """A torch module: (input_ids, attention_mask, token_type_ids) int64 (b, t) -> (b, 4)."""
        from transformers import AutoModelForQuestionAnswering

        quiet_transformers()
        with reading_weights(self.folder):
            model = AutoModelForQuestionAnswering.from_pretrained(self.folder, local_files_only=True)
        (pair,) = self._tokenizer(["a"], ["b"], truncation=False).encodings
        module = make_best_span_module(model, pair.ids[-1], MAX_SPAN_TOKENS)
        module.is_compared = False  # of two spans that are as good, rounding may prefer either
        return module


def _cut(encoding: Any, max_length_tokens: int) -> Iterator[tuple[list[int], list[int], list[Span]]]:
    """(ids, types, offsets) of a pair in windows of at most that many tokens; two share a quarter of it."""
    is_passage = [side == 1 for side in encoding.sequence_ids]
    first = is_passage.index(True) if any(is_passage) else len(is_passage) - 1
    last = first + sum(is_passage)
    room = max_length_tokens - first - (len(is_passage) - last)
    for start in range(first, max(last - max_length_tokens // 4, first + 1), room - max_length_tokens // 4):
        rows = [*range(first), *range(start, min(start + room, last)), *range(last, len(is_passage))]
        yield (
            [encoding.ids[row] for row in rows],
            [encoding.type_ids[row] for row in rows],
            [encoding.offsets[row] for row in rows],
        )


def _check_is_reader(folder: Path) -> None:
    """Raises ModelError for another kind of model: transformers would give it heads of random weights."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} is not a span reader's checkpoint: config.json is missing")
    try:
        architectures = json.loads(config.read_text("utf-8")).get("architectures") or ["none"]
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{config} is damaged; fetch the model again") from error
    if not str(architectures[0]).endswith("ForQuestionAnswering"):
        raise ModelError(
            f"{folder} holds {architectures[0]}, which is no span reader; set reader.model to a checkpoint of a "
            "question answering model"
        )


def _in_text(span: Span, passage: Passage) -> Span:
    """Characters of a passage's content as characters of its text; of a span in the title alone, none."""
    before = len(passage.content) - len(passage.text)
    start, end = max(span[0] - before, 0), max(span[1] - before, 0)
    return (start, end) if start < end else (0, 0)
