"""CTranslate2: 8-bit weights on a CPU. It loads in half a second, with neither torch nor transformers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import is_out_of_memory, n_threads
from rag.errors import ConfigError, GenerationError, ModelError
from rag.files import json_if_sound
from rag.generate.engines.chat_tokenizer import ChatTokenizer
from rag.generate.engines.conversion import FIX, converted, forget
from rag.generate.engines.deltas import deltas
from rag.generate.engines.transformers import as_generation_error
from rag.progress import check_waiting, holding, who_waits
from rag.types import Messages

BATCH_SIZE = 16
# CTranslate2 reads a batch's prompts at once only up to the shortest; the rest of each goes token by token.
MOST_TOKENS_LONGER = 16
SAMPLED_FROM = 50  # the likeliest tokens, as transformers does
QUANTIZATIONS = {"auto": "int8_float32", "int8": "int8_float32", "fp32": "float32"}


class CTranslate2Generator:
    """Greedy or sampled decoding of a chat model on a CPU, one call at a time.

    The checkpoint is converted once into `cache_root`; one that is damaged there is made again. `precision` is int8
    (weights and activations of the matrix products), fp32, or auto, which is int8. Raises ModelError where CTranslate2
    is not installed or cannot read `folder`, ConfigError for another precision.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        cache_root: str | Path,
        max_new_tokens: int = 128,
        context_window_tokens: int = 4096,
        precision: str = "auto",
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ):
        folder = Path(folder)
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.batch_size = batch_size
        config = json_if_sound(folder / "config.json")
        if config is None:
            raise ModelError(f"{folder} cannot be loaded as a causal language model: it has no readable config.json")
        self._window = min(context_window_tokens, config.get("max_position_embeddings") or context_window_tokens)
        self._end = _end_tokens(folder, config)
        self._lock = threading.Lock()  # one call at a time: two would compete for the same cores
        try:
            import ctranslate2
        except ImportError as error:
            raise ModelError(f"CTranslate2 is not installed: pip install ctranslate2, or {FIX}") from error
        ctranslate2.set_random_seed(seed)
        self._model, self._tokenizer = _load(folder, Path(cache_root), quantization_of(precision))

    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self._window

    def count_tokens(self, conversation: Messages) -> int:
        """Tokens of the conversation once the chat template is applied."""
        return len(self._tokenizer.encode(self._tokenizer.render(conversation)))

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order; made in batches of like length. Raises GenerationError."""
        prompts = [self._prompt(conversation) for conversation in conversations]
        answers = [""] * len(prompts)
        for rows in batches_of_like_length([len(prompt) for prompt in prompts], self.batch_size):
            for row, result in zip(rows, self._run([prompts[row] for row in rows]), strict=True):
                answers[row] = self._tokenizer.decode(result.sequences_ids[0])
        return answers

    def stream(self, conversation: Messages) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator stops the model. Raises GenerationError."""

        def write(put: Callable[[str], None]) -> None:
            ids: list[int] = []
            sent = ""

            def on_token(step: Any) -> None:
                nonlocal sent
                if step.token_id in (self._end or ()):
                    return
                ids.append(step.token_id)
                text = self._tokenizer.decode(ids)
                # A character of several tokens is whole with the last of them.
                if not text.endswith("\ufffd") and len(text) > len(sent):
                    put(text[len(sent) :])
                    sent = text

            self._run([self._prompt(conversation)], on_token=on_token)
            if rest := self._tokenizer.decode(ids)[len(sent) :]:
                put(rest)

        yield from deltas(write)

    def beginning_logprobs(self, conversations: Sequence[Messages], beginning: str) -> list[float]:
        """Natural log probability that each answer begins with this text: of its tokens, given the prompt.

        The tokens are those of the text by itself. The prompt is read once; logits are made for those tokens alone.
        """
        ids = self._tokenizer.encode(beginning)
        if not ids:
            return [0.0] * len(conversations)
        tokens = self._tokenizer.tokens(ids)
        found = []
        for conversation in conversations:
            prompt = self._prompt(conversation)
            (result,) = self._run(
                [[prompt[-1], *tokens[:-1]]],
                static_prompt=prompt[:-1],
                cache_static_prompt=False,
                include_prompt_in_result=True,  # the decoder is held to the beginning, a step for each of its tokens
                max_length=len(tokens),
                return_logits_vocab=True,
            )
            steps = [np.asarray(logits, dtype=np.float64).reshape(-1) for logits in result.logits[0][: len(ids)]]
            found.append(float(sum(_log_softmax_at(step, token) for step, token in zip(steps, ids, strict=True))))
        return found

    def close(self) -> None:
        """Give the model's memory back."""
        with self._lock:
            self._model.unload_model()

    def _prompt(self, conversation: Messages) -> list[str]:
        return self._tokenizer.tokens(self._tokenizer.encode(self._tokenizer.render(conversation)))

    def _run(
        self, prompts: list[list[str]], *, on_token: Callable[[Any], None] | None = None, **options: Any
    ) -> list[Any]:
        """CTranslate2's results for prompts in one batch; `on_token` is given each of its steps.

        Raises GenerationError, and Left at the next token after whoever this thread works for has left.
        """
        waiting = who_waits()

        def callback(step: Any) -> bool:
            if on_token is not None:
                on_token(step)
            return waiting is not None and waiting.has_left

        if on_token is not None or waiting is not None:  # a call for each token takes time
            options["callback"] = callback
        sampling: dict[str, Any] = {"sampling_topk": 1}
        if self.temperature > 0:
            sampling = {"sampling_topk": SAMPLED_FROM, "sampling_temperature": self.temperature}
        defaults = {"max_length": self.max_new_tokens, "include_prompt_in_result": False, "end_token": self._end}
        try:
            with holding(self._lock):
                results = self._model.generate_batch(prompts, **{**defaults, **sampling, **options})
        except (RuntimeError, ValueError, MemoryError) as error:
            raise as_generation_error(error) from error
        check_waiting()
        return results


def quantization_of(precision: str) -> str:
    """CTranslate2's word for a setting of the precision. Raises ConfigError where it has none on a CPU."""
    if precision not in QUANTIZATIONS:
        raise ConfigError(f"generator.precision {precision!r} is not for CTranslate2; choose int8 or fp32, or {FIX}")
    return QUANTIZATIONS[precision]


def batches_of_like_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Row numbers in batches of at most `most` rows, which differ by at most MOST_TOKENS_LONGER; shortest first."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        last = batches[-1] if batches else []
        if last and len(last) < most and lengths[row] - lengths[last[0]] <= MOST_TOKENS_LONGER:
            last.append(row)
        else:
            batches.append([row])
    return batches


def _load(folder: Path, cache_root: Path, quantization: str) -> tuple[Any, ChatTokenizer]:
    """The converted model and its tokenizer; a conversion that cannot be read is made again, once."""
    import ctranslate2

    for is_last in (False, True):
        target = converted(folder, cache_root, quantization)
        try:
            model = ctranslate2.Generator(
                str(target), device="cpu", compute_type=quantization, intra_threads=n_threads()
            )
            return model, ChatTokenizer(target)
        except (RuntimeError, ValueError, MemoryError, KeyError, ModelError) as error:
            if is_out_of_memory(error):
                raise GenerationError(f"{folder.name} does not fit into memory; choose a smaller model") from error
            if is_last:
                raise ModelError(f"CTranslate2 cannot load {folder}: {error}; {FIX}") from error
            forget(folder, cache_root, quantization)
    raise AssertionError("unreachable")


def _end_tokens(folder: Path, config: dict) -> list[int] | None:
    """The ids that end an answer, where transformers looks for them; None where the checkpoint names none there."""
    stored = json_if_sound(folder / "generation_config.json") or {}
    end = stored.get("eos_token_id", config.get("eos_token_id"))
    return [end] if isinstance(end, int) else (end or None)


def _log_softmax_at(logits: np.ndarray, token: int) -> float:
    """Natural log of the softmax of (v,) logits at one token."""
    top = logits.max()
    return float(logits[token] - top - np.log(np.exp(logits - top).sum()))
