"""What each stage of a run took: seconds and memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rag.files import json_if_sound, write_json


class StageCost:
    """RUN/cost.json: what each stage took in this process and those before it, loading included.

    Memory is the process's peak up to the end of the stage. What a killed process took is not known.
    """

    def __init__(self, path: Path):
        self._path = path
        self._record = json_if_sound(path) or {"stages": {}}

    @contextlib.contextmanager
    def of(self, stage: str | None) -> Iterator[dict]:
        """Time a stage; what is put into the record that it yields is kept too. None times and keeps nothing."""
        if stage is None:
            yield {}
            return
        record = self._record["stages"].setdefault(stage, {"seconds": 0.0, "peak_memory_gib": 0.0})
        started = time.perf_counter()
        try:
            yield record
        finally:
            record["seconds"] = round(record["seconds"] + time.perf_counter() - started, 2)
            record["peak_memory_gib"] = round(max(record["peak_memory_gib"], _memory_gib()), 2)
            write_json(self._path, self._record)


def _memory_gib() -> float:
    """The peak of this process so far, and what its children (vLLM's engine) hold now."""
    import psutil

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    children = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            children += child.memory_info().rss
    return (own + children) / 2**30
