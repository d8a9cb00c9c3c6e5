"""Real `rag` commands in processes of their own that start at once, since everything heavy is loaded before the fork.

A process can be killed at a moment, or just before it changes the n-th file: so every place between two changes is met.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST_SECONDS = 240.0
HEAVY = (
    "faiss",
    "openvino",
    "sentence_transformers",
    "rag.build.indexes",
    "rag.build.pipelines",
    "rag.cli.main",
    "rag.index.ingest",
    "rag.runs.batch",
    "rag.runs.calibrate",
    "rag.serve.export",
    "rag.train.tune",
)
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status (negative: the signal), changes to files, seconds, and what it printed."""

    status: int
    changes: int
    seconds: float
    printed: str


@dataclass(frozen=True, slots=True)
class Kill:
    """When a process is killed: before its change number `change`, or after so many seconds, and by which signal."""

    change: int = 0
    seconds: float = 0.0
    signal: int = signal.SIGKILL


class Running:
    """A function in a process of its own. `folder` is where changes to files are counted."""

    def __init__(self, work: Callable[[], object], folder: Path, output: Path, kill: Kill | None = None):
        self._output, self._kill = output, kill
        self._started = time.monotonic()
        self._counted = mmap.mmap(-1, 8)
        self.pid = os.fork()
        if self.pid == 0:
            self._be(work, folder)

    def wait(self) -> Ended:
        """Wait for its end, killing it where it was to be; whatever it started ends with it."""
        kill = self._kill
        deadline = self._started + (kill.seconds if kill and kill.seconds else LONGEST_SECONDS)
        sent = False
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= deadline and not sent:
                sent = True
                os.kill(self.pid, kill.signal if kill and kill.seconds else signal.SIGKILL)
            if sent and time.monotonic() >= deadline + LONGEST_SECONDS:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        seconds = time.monotonic() - self._started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        (changes,) = struct.unpack("q", self._counted[:])
        printed = self._output.read_text("utf-8", errors="replace") if self._output.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), changes, seconds, printed)

    def has_ended(self) -> bool:
        """Whether the process is at its end; `wait` still says how it ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> Ended:
        """Kill the process where it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def _be(self, work: Callable[[], object], folder: Path) -> None:
        """The process itself; it does not return."""
        status = 1
        try:
            os.setsid()
            out = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.addaudithook(self._hook(str(folder)))
            work()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _hook(self, folder: str) -> Callable[[str, tuple], None]:
        at = self._kill.change if self._kill else 0
        output, counted = str(self._output), self._counted
        changes = 0

        def hook(event: str, args: tuple) -> None:
            nonlocal changes
            if event == "open":
                path, mode, flags = args
                writes = bool(flags & _FLAGS) if isinstance(flags, int) else any(ch in (mode or "") for ch in "wax+")
            elif event in _CHANGES:
                path, writes = args[0], True
            else:
                return
            if not writes or not isinstance(path, str | bytes | os.PathLike):
                return
            name = os.fsdecode(path)
            if not name.startswith(folder) or name == output:
                return
            changes += 1
            counted[:] = struct.pack("q", changes)
            if changes == at:
                os.kill(os.getpid(), signal.SIGKILL)

        return hook


def command(*arguments: str | Path) -> Callable[[], object]:
    """A `rag` command, to be run by `Running`."""

    def work() -> None:
        from rag.cli.main import main

        sys.argv = ["rag", *map(str, arguments)]
        main()

    return work


def load_everything() -> None:
    """Import what commands import, so that a fork has it; nothing that starts threads."""
    for name in HEAVY:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # a collection in a fork would copy every page


def make_models(folder: Path) -> list[str]:
    """Tiny models of random weights below a folder; returns the settings that name them."""
    import torch
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    from tests.fakes.tiny import bert_config, bert_tokenizer, make_tiny_encoder, word_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("encoder", "reranker", "generator"):
        (folder / name).mkdir()
    make_tiny_encoder(folder / "encoder")
    torch.manual_seed(1)
    size = bert_tokenizer(folder / "reranker", 64)
    BertForSequenceClassification(bert_config(size, num_labels=1)).save_pretrained(folder / "reranker")
    tokenizer, size = word_tokenizer(["<|endoftext|>", "[UNK]", "<|im_start|>", "<|im_end|>"], None)
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="[UNK]",
        chat_template=template,
    ).save_pretrained(folder / "generator")
    config = Qwen2Config(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
        eos_token_id=3,
        pad_token_id=0,
        bos_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "generator")
    named = [f"{role}.model={folder / role}" for role in ("encoder", "reranker", "generator")]
    return [
        *named,
        "generator.kind=transformers",
        "generator.max_new_tokens=8",
        "reader.enabled=false",
        "models.source=local",
        "documents.chunk_tokens=40",
        "documents.overlap_tokens=8",
    ]
