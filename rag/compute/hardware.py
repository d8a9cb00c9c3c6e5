"""The device, its threads, and the precision that is fastest on it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from pathlib import Path

from rag.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "int8")


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this CPU, as Linux names them; empty where they cannot be read."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def default_device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`; without importing torch where no NVIDIA driver is loaded."""
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fastest_precision(device: str) -> str:
    """bf16 where the hardware multiplies bf16 natively, else fp32."""
    if device == "cuda":
        return "bf16"
    return "bf16" if cpu_flags() & {"amx_bf16", "avx512_bf16"} else "fp32"


def choose_precision(setting: str, device: str) -> str:
    """Resolve `auto`; raises ConfigError on an unknown word or int8 on a GPU."""
    if setting not in PRECISIONS:
        raise ConfigError(f"precision {setting!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if setting == "int8" and device != "cpu":
        raise ConfigError("precision 'int8' is for CPUs; choose 'bf16' on a GPU")
    return fastest_precision(device) if setting == "auto" else setting


def n_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    said = ("out of memory", "bad_alloc", "allocate memory")  # of a GPU, of C++, of the allocator of PyTorch on a CPU
    return isinstance(error, MemoryError) or any(words in text for words in said)


def describe_hardware() -> str:
    """One line for manifests and reports: the device and the precision that `auto` means on it."""
    device = default_device()
    return json.dumps({"device": device, "threads": n_threads(), "precision": fastest_precision(device)})
