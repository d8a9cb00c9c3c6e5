"""What each stage of a run took: seconds and memory."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rag.files import json_if_sound, write_json
from rag.progress import say


class StageCost:
    """RUN/cost.json: what each stage took in this process and those before it, loading included.

    Memory is the process's peak up to the end of the stage. What a killed process took is not known.
    """

    def __init__(self, path: Path):
        self._path = path
        self._record: dict = {"stages": {}}
        if path.exists():
            stored = json_if_sound(path)
            if stored is not None and _is_cost(stored):
                self._record = stored
            else:
                aside = path.with_name(path.name + ".damaged")
                os.replace(path, aside)
                say(f"{path} is damaged; it is kept as {aside.name}, and what earlier starts took is not counted")

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


def joined_costs(paths: Sequence[Path]) -> dict:
    """The costs of parts of a run as one: seconds and counts added up, the largest peak of memory."""
    stages: dict[str, dict[str, float]] = {}
    for stored in filter(None, map(json_if_sound, paths)):
        for name, record in stored["stages"].items() if _is_cost(stored) else ():
            joined = stages.setdefault(name, {})
            for key, value in record.items():
                old = joined.get(key, 0)
                joined[key] = max(old, value) if key == "peak_memory_gib" else round(old + value, 2)
    return {"stages": stages}


def _is_cost(stored: Mapping) -> bool:
    """Whether a record holds numbers for each stage."""
    stages = stored.get("stages")
    return isinstance(stages, dict) and all(
        isinstance(stage, dict)
        and {"seconds", "peak_memory_gib"} <= stage.keys()
        and all(type(value) in (int, float) and math.isfinite(value) for value in stage.values())
        for stage in stages.values()
    )


def _memory_gib() -> float:
    """The peak of this process so far, and what its children (vLLM's engine) hold now."""
    import psutil

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    children = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            children += child.memory_info().rss
    return (own + children) / 2**30
