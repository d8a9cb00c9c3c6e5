"""A causal language model run by transformers: it starts in seconds and streams; the chat's default on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rag.compute.one_at_a_time import TORCH
from rag.errors import GenerationError, ModelError
from rag.generate.engines.deltas import deltas
from rag.progress import check_waiting, holding, who_waits
from rag.types import Messages

BATCH_SIZE = 8
PROMPT_LOOKUP_TOKENS = 10


class TransformersGenerator:
    """Greedy or sampled decoding of a chat model in this process, one call at a time.

    `precision` is auto (the one that the hardware multiplies fastest), fp32 or bf16. Raises ModelError where `folder`
    is not a causal language model.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_new_tokens: int = 128,
        context_window_tokens: int = 4096,
        precision: str = "auto",
        temperature: float = 0.0,
        seed: int = 0,
        device: str | None = None,
        batch_size: int = BATCH_SIZE,
    ):
        from rag.compute.hardware import choose_precision, default_device

        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.batch_size = batch_size
        self.device = device or default_device()
        dtype = {"fp32": "float32", "bf16": "bfloat16"}[choose_precision(precision, self.device)]
        self._lock = threading.Lock()  # one call at a time: two would compete for the same cores and memory
        self._model: Any  # the classes that transformers' Auto classes return are known only at run time
        self._tokenizer: Any
        with TORCH:
            self._tokenizer, self._model = _load(folder, dtype)
        self._model.to(self.device).eval()
        self._window = min(context_window_tokens, getattr(self._model.config, "max_position_embeddings", 1 << 30))

    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self._window

    def count_tokens(self, conversation: Messages) -> int:
        """Tokens of the conversation once the chat template is applied."""
        return len(self._tokenizer(self._render(conversation), add_special_tokens=False)["input_ids"])

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order; made in batches of similar length. Raises GenerationError."""
        prompts = [self._render(conversation) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for row, text in zip(rows, self._generate_batch([prompts[row] for row in rows]), strict=True):
                answers[row] = text
        return answers

    def beginning_logprobs(self, conversations: Sequence[Messages], beginning: str) -> list[float]:
        """Natural log probability that each answer begins with this text: of its tokens, given the prompt.

        The tokens are those of the text by itself. One forward pass for each batch. Raises GenerationError.
        """
        ids = self._tokenizer(beginning, add_special_tokens=False)["input_ids"]
        prompts = [self._render(conversation) for conversation in conversations]
        found: list[float] = []
        for start in range(0, len(prompts), self.batch_size):
            try:
                with holding(self._lock):
                    found += self._score(prompts[start : start + self.batch_size], ids)
            except (RuntimeError, MemoryError) as error:
                raise as_generation_error(error) from error
        return found

    def stream(self, conversation: Messages) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator stops the model. Raises GenerationError."""
        from transformers import TextStreamer

        def write(put: Callable[[str], None]) -> None:
            class Streamer(TextStreamer):
                def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                    if text:
                        put(text)

            self._run([self._render(conversation)], streamer=Streamer(self._tokenizer, True, skip_special_tokens=True))

        yield from deltas(write)

    def _generate_batch(self, prompts: list[str]) -> list[str]:
        tokens, width = self._run(prompts)
        return self._tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True)

    def _run(self, prompts: list[str], **kwargs: Any) -> tuple[Any, int]:
        """(tokens of prompts and answers (b, t), width of the prompts with their padding).

        Raises GenerationError, and Left at the next token after whoever this thread works for has left.
        """
        try:
            with holding(self._lock):
                tokens, width = self._run_alone(prompts, **kwargs)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise as_generation_error(error) from error
        check_waiting()
        return tokens, width

    def _run_alone(self, prompts: list[str], **kwargs: Any) -> tuple[Any, int]:
        """The same, while nobody else uses the model."""
        import torch

        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.temperature}
        if len(prompts) == 1 and self.temperature == 0:
            # An answer copies from the passages: its next tokens are guessed there; the model checks several at once
            # (prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding).
            sampling["prompt_lookup_num_tokens"] = PROMPT_LOOKUP_TOKENS
        torch.manual_seed(self.seed)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                stopping_criteria=_stopped_by_leaving(),
                **sampling,
                **kwargs,
            )
        return tokens, inputs["input_ids"].shape[1]

    def _score(self, prompts: list[str], ids: list[int]) -> list[float]:
        """The log probability of the tokens `ids` after each prompt."""
        import torch

        if not ids:
            return [0.0] * len(prompts)
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        continued = torch.tensor([ids] * len(prompts), device=self.device)
        tokens = torch.cat([inputs["input_ids"], continued], 1)
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(continued)], 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)  # the padding on the left has none
        with torch.inference_mode():
            logits = self._model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=len(ids) + 1
            ).logits
        logprobs = logits[:, :-1].float().log_softmax(-1)  # (b, len(ids), v): each position says the next token
        return logprobs.gather(2, continued[:, :, None]).sum((1, 2)).tolist()

    def _render(self, conversation: Messages) -> str:
        return render_chat(self._tokenizer, conversation)


def _stopped_by_leaving() -> Any:
    """What ends a generation once whoever this thread works for has left; None where it works on in any case."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    somebody = who_waits()
    if somebody is None:
        return None
    waiting = somebody

    class StopWhenLeft(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            import torch

            return torch.full((input_ids.shape[0],), waiting.has_left, device=input_ids.device)

    return StoppingCriteriaList([StopWhenLeft()])


def _load(folder: str | Path, dtype: str) -> tuple[Any, Any]:
    """The tokenizer and the model of a checkpoint; the model's numbers are of torch's type `dtype`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rag.compute.quiet import quiet_transformers

    quiet_transformers()
    try:
        # Padding on the left: the answer continues the last token of every prompt in a batch.
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
        return tokenizer, AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be loaded as a causal language model: {error}") from error


def render_chat(tokenizer: Any, conversation: Messages) -> str:
    """The text of a prompt by the tokenizer's own chat template, with thinking switched off."""
    return tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def as_generation_error(error: Exception) -> GenerationError:
    """What an engine raised, as a sentence."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return GenerationError(
            "the generator ran out of memory; use fewer contexts (--set prompt.contexts=2) or a smaller model"
        )
    return GenerationError(f"the generator failed: {error}")
