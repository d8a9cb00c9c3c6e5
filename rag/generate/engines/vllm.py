"""vLLM in this process, for batches: one large call, with prefix caching."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rag.compute.hardware import choose_precision, default_device, n_threads
from rag.errors import GenerationError, ModelError
from rag.generate.engines.transformers import render_chat
from rag.generate.engines.watchdog import Watchdog
from rag.progress import holding, who_waits
from rag.types import Messages


class VllmGenerator:
    """vLLM's `LLM`. It starts worker processes, so a script that uses it needs the `__main__` guard.

    `precision` is auto, fp32 or bf16. `cpu_cache_gib` is the size of the key-value cache on a CPU, `gpu_share` the
    share of the GPU's memory that vLLM may take. Raises ModelError where vLLM is not installed, GenerationError where
    it does not start.
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
        max_sequences: int = 64,
        cpu_cache_gib: float = 4.0,
        gpu_share: float = 0.85,
    ):
        device = default_device()
        _set_environment(device, cpu_cache_gib)
        try:
            from vllm import LLM
        except ImportError as error:
            extra = "gpu" if device == "cuda" else "cpu"
            raise ModelError(f"vLLM is not installed; install the extra: uv pip install -e '.[{extra}]'") from error
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        window = min(context_window_tokens, getattr(config, "max_position_embeddings", context_window_tokens))
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self._window = window
        self._watchdog = Watchdog()
        self._lock = threading.Lock()  # the engine hands a finished answer to whichever thread looks first
        self._tokenizer: Any
        options: dict[str, Any] = {"gpu_memory_utilization": gpu_share} if device == "cuda" else {"enforce_eager": True}
        try:
            self._llm = LLM(
                str(folder),
                dtype=_dtype(precision, device),
                max_model_len=window,
                max_num_seqs=max_sequences,
                enable_prefix_caching=True,
                seed=seed,
                **options,
            )
            self._tokenizer = self._llm.get_tokenizer()
        except BaseException as error:  # an interrupt too must not leave the watchdog behind
            self._watchdog.close()
            if not isinstance(error, RuntimeError | ValueError | MemoryError):
                raise
            raise GenerationError(
                f"vLLM could not start: {error}. Give it less memory (--set generator.vllm_memory_gib=2, "
                "generator.vllm_gpu_share=0.6) or use --set generator.kind=transformers"
            ) from error

    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self._window

    def count_tokens(self, conversation: Messages) -> int:
        """Tokens of the conversation once the chat template is applied."""
        return len(self._tokenizer.encode(self._render(conversation), add_special_tokens=False))

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order, from one call. Raises GenerationError."""
        from vllm import SamplingParams

        if not conversations:
            return []
        sampling = SamplingParams(temperature=self.temperature, max_tokens=self.max_new_tokens, seed=self.seed)
        try:
            with holding(self._lock):
                outputs = self._outputs([self._render(c) for c in conversations], sampling)
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"vLLM failed: {error}") from error
        return [output.outputs[0].text for output in outputs]

    def stream(self, conversation: Messages) -> Iterator[str]:
        """The whole answer as one delta: vLLM's `LLM` is for batches and does not stream."""
        yield self.generate([conversation])[0]

    def _outputs(self, prompts: list[str], sampling: Any) -> list[Any]:
        """vLLM's output for each prompt, in order. Raises Left once whoever this thread works for has left."""
        waiting = who_waits()
        if waiting is None:
            return self._llm.generate(prompts, sampling, use_tqdm=False)
        # What `LLM.generate` does, with a look between two steps of the engine.
        engine = self._llm.llm_engine
        under_way = self._llm.enqueue(prompts, sampling, use_tqdm=False)
        finished: list[Any] = []
        try:
            while engine.has_unfinished_requests():
                waiting.check()
                finished += [output for output in engine.step() if output.finished]
        except BaseException:
            engine.abort_request(under_way, internal=True)
            raise
        return sorted(finished, key=lambda output: int(output.request_id))

    def close(self) -> None:
        """Stop the engine's processes and give their memory back."""
        # vLLM has no public way to stop; a later version may name these parts otherwise.
        with contextlib.suppress(Exception):
            self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        self._watchdog.close()

    def _render(self, conversation: Messages) -> str:
        return render_chat(self._tokenizer, conversation)


def _dtype(precision: str, device: str) -> Literal["auto", "float32", "bfloat16"]:
    """vLLM's own word. On a GPU `auto` is left to vLLM, which knows whether this one multiplies bf16."""
    if precision == "auto" and device == "cuda":
        return "auto"
    words: dict[str, Literal["float32", "bfloat16"]] = {"fp32": "float32", "bf16": "bfloat16"}
    return words[choose_precision(precision, device)]


def _set_environment(device: str, cpu_cache_gib: float) -> None:
    """Set the environment variables that vLLM reads; a variable that the user has set stays."""
    defaults = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    if device == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(n_threads())
        defaults |= {
            "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(cpu_cache_gib))),
            # By default vLLM reserves one core for its scheduler, a thread that mostly waits: half of a small machine.
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
