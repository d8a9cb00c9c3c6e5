"""One kind of attack, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often something was tried and held; `said` is one sentence on what did not, or on what was seen."""

    tried: int
    held: int
    said: str = ""


@dataclass(frozen=True, slots=True)
class Attack:
    """Something that is tried, in words for docs/security.md.

    `run` gets an empty folder of its own and returns what happened; an exception means that the attempt itself failed.
    """

    area: str
    what: str
    expected: str
    run: Callable[[Path], Outcome]
