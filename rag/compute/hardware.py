"""The device that models run on, its threads, and the precision that is fastest on it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from pathlib import Path

from rag.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "int8")
_most_threads = sys.maxsize


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this CPU, as Linux names them; empty where they cannot be read."""
    return frozenset(_cpuinfo(("flags", "Features")).split())


def _cpuinfo(names: tuple[str, ...]) -> str:
    """What the first line that begins with one of the names says; empty where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(names):
                return line.split(":", 1)[1].strip()
    return ""


def default_device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    # torch is slow to import: without an NVIDIA driver it is not asked.
    if not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia0").exists():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def cpu_vendor() -> str:
    """Who made this CPU, as Linux names it, such as `GenuineIntel`; empty where it cannot be read."""
    return _cpuinfo(("vendor_id",))


def fastest_precision(device: str) -> str:
    """`bf16` where the hardware multiplies bf16 faster than float32, else `fp32`.

    Intel's CPUs do so by AMX alone: with AVX-512 BF16, but without AMX, bf16 takes nearly twice as long as float32.
    """
    if device == "cuda" or "amx_bf16" in cpu_flags():
        return "bf16"
    return "bf16" if "avx512_bf16" in cpu_flags() and cpu_vendor() != "GenuineIntel" else "fp32"


def choose_precision(setting: str, device: str) -> str:
    """The precision that a setting means on this device. Raises ConfigError for an unknown word, or int8 on a GPU."""
    if setting not in PRECISIONS:
        raise ConfigError(f"precision {setting!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if setting == "int8" and device != "cpu":
        raise ConfigError("precision 'int8' is for CPUs; choose 'bf16' on a GPU")
    return fastest_precision(device) if setting == "auto" else setting


def limit_threads(n: int) -> None:
    """Let this process use `n` cores at most, because others share the machine with it."""
    global _most_threads
    _most_threads = n


def n_threads() -> int:
    """The number of cores that this process may use."""
    return min(_cores(), _most_threads)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: a GPU's, C++'s, or that of PyTorch's allocator on a CPU."""
    text = str(error).lower()
    words = ("out of memory", "bad_alloc", "allocate memory")
    return isinstance(error, MemoryError) or any(phrase in text for phrase in words)


def describe_hardware() -> str:
    """One line of JSON for manifests and reports: the device, its threads, and the precision that `auto` means."""
    device = default_device()
    return json.dumps({"device": device, "threads": n_threads(), "precision": fastest_precision(device)})
