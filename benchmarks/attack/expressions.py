"""Every expression over its worst inputs, and everything that reads foreign text over texts made to take long."""

from __future__ import annotations

import functools
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome
from benchmarks.attack.hostile_texts import hostile_texts, readers
from benchmarks.attack.limited import unfinished
from benchmarks.attack.worst_inputs import checked, expressions

LENGTH = 1_000_000
LENGTH_READ = 200_000
SECONDS_READ = 60


def _expressions(scratch: Path) -> Outcome:
    every = expressions()
    slow = checked(every, LENGTH)
    return Outcome(len(every), len(every) - len(slow), "; ".join(f"{name}: {text}" for name, text in slow.items()))


def _readers(scratch: Path) -> Outcome:
    texts = hostile_texts(LENGTH_READ)
    slow: list[str] = []
    all_readers = readers()
    for reader, read in all_readers.items():
        work = {name: functools.partial(read, text) for name, text in texts.items()}
        slow += [f"{reader}: {name}" for name in unfinished(work, SECONDS_READ)]
    n_tried = len(texts) * len(all_readers)
    return Outcome(n_tried, n_tried - len(slow), "; ".join(slow))


ATTACKS = (
    Attack(
        "text",
        "each regular expression of the package, over a million characters of its worst inputs",
        "time that grows with the text and no faster",
        _expressions,
    ),
    Attack(
        "text",
        f"each parser, splitter, language guess and answer parser, over {LENGTH_READ:,} characters of a hundred texts",
        "time that grows with the text and no faster",
        _readers,
    ),
)
