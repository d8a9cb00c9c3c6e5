"""A causal language model by transformers: starts in seconds, streams; the chat's default on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.errors import GenerationError, ModelError
from rag.types import Conversation

BATCH_SIZE = 8
PROMPT_LOOKUP_TOKENS = 10


class TransformersGenerator:
    """Greedy or sampled decoding of a chat model in this process; one answer at a time is under way.

    `precision` is auto (what the hardware multiplies fastest), fp32 or bf16.
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
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from rag.compute.hardware import choose_precision, default_device
        from rag.compute.quiet import quiet_transformers

        quiet_transformers()
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.batch_size = batch_size
        self.device = device or default_device()
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[choose_precision(precision, self.device)]
        self._lock = threading.Lock()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} cannot be loaded as a causal language model: {error}") from error
        self._model.to(self.device).eval()
        self._window = min(context_window_tokens, getattr(self._model.config, "max_position_embeddings", 1 << 30))

    @property
    def context_window_tokens(self) -> int:
        return self._window

    def count_tokens(self, conversation: Conversation) -> int:
        return len(self._tokenizer(self._render(conversation), add_special_tokens=False)["input_ids"])

    def generate(self, conversations: Sequence[Conversation]) -> list[str]:
        """One raw answer per conversation, in order, in batches of similar length."""
        prompts = [self._render(conversation) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for row, text in zip(rows, self._generate_batch([prompts[row] for row in rows]), strict=True):
                answers[row] = text
        return answers

    def stream(self, conversation: Conversation) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator stops the model."""
        from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

        stopped = threading.Event()

        class StopWhenClosed(StoppingCriteria):
            def __call__(self, input_ids, scores, **kwargs):
                import torch

                return torch.full((input_ids.shape[0],), stopped.is_set(), device=input_ids.device)

        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        failure: list[Exception] = []

        def work() -> None:
            try:
                with self._lock:
                    if not stopped.is_set():
                        self._run(
                            [self._render(conversation)],
                            streamer=streamer,
                            stopping_criteria=StoppingCriteriaList([StopWhenClosed()]),
                        )
            except Exception as error:
                failure.append(error)
            finally:
                streamer.end()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            for delta in streamer:
                if delta:
                    yield delta
        finally:
            stopped.set()
        thread.join()
        if failure:
            raise _as_generation_error(failure[0]) from failure[0]

    def _generate_batch(self, prompts: list[str]) -> list[str]:
        try:
            with self._lock:
                tokens, width = self._run(prompts)
        except (RuntimeError, MemoryError) as error:
            raise _as_generation_error(error) from error
        return self._tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True)

    def _run(self, prompts: list[str], **kwargs):
        import torch

        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        sampling = (
            {"do_sample": True, "temperature": self.temperature} if self.temperature > 0 else {"do_sample": False}
        )
        if len(prompts) == 1 and self.temperature == 0:
            # An answer copies from the passages: guess its next tokens there, and let the model check several at once.
            sampling["prompt_lookup_num_tokens"] = PROMPT_LOOKUP_TOKENS
        torch.manual_seed(self.seed)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                **sampling,
                **kwargs,
            )
        return tokens, inputs["input_ids"].shape[1]

    def _render(self, conversation: Conversation) -> str:
        return render_chat(self._tokenizer, conversation)


def render_chat(tokenizer, conversation: Conversation) -> str:
    """The prompt text by the tokenizer's own chat template, thinking switched off."""
    return tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def _as_generation_error(error: Exception) -> GenerationError:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return GenerationError(
            "the generator ran out of memory; use fewer contexts (--set prompt.contexts=2) or a smaller model"
        )
    return GenerationError(f"the generator failed: {error}")
