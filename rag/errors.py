"""The error tree. A `RagError` is shown to people as its message alone; any other exception is our bug.

RagError
├── ConfigError         a setting is unknown, of the wrong type, or out of range
├── DataError           an input file is wrong; the message names file and line
│   └── UnreadableFile      a document cannot be read; the message is the reason alone
├── IndexMismatchError  an index does not fit the corpus, the encoder or this version; carries the command that fixes it
│   └── IndexBusyError      another process is writing the index
├── RunMismatchError    a run folder holds results of other settings, models or questions
├── ModelError          a model cannot be found, read or trusted
│   └── DamagedFileError    bytes are not what was pinned: truncated, wrong magic, wrong hash
├── GenerationError     a generator failed: server down, out of memory, time limit
└── Stopped             a person stopped the work before it was done
    └── Left                nobody waits for the answer any more
"""

from __future__ import annotations


class RagError(Exception):
    """Something a person can act on: what was wrong, where, and the next step."""


class ConfigError(RagError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(RagError):
    """An input file is wrong; the message names file and line."""


class UnreadableFile(DataError):
    """A document cannot be read; the message is the reason alone, since the caller knows the file."""


class IndexMismatchError(RagError):
    """An index does not fit the corpus, the encoder or this version.

    The message is `what` is wrong, then the command of `rag.fixes` that fixes it. Both are kept apart for `rag doctor`,
    which lists them; `fix` is empty where no command helps. `to` says what the command is for.
    """

    def __init__(self, what: str, fix: str = "", *, to: str = "rebuild it"):
        super().__init__(f"{what}; {to}: {fix}" if fix else what)
        self.what = what
        self.fix = fix


class IndexBusyError(IndexMismatchError):
    """Another process is writing an index."""


class RunMismatchError(RagError):
    """A run folder holds results of other settings, models or questions."""


class ModelError(RagError):
    """A model cannot be found, read or trusted."""


class DamagedFileError(ModelError):
    """A file's bytes are not what was pinned."""


class GenerationError(RagError):
    """A generator failed: server down, out of memory, time limit."""


class Stopped(RagError):
    """A person stopped the work before it was done."""


class Left(Stopped):
    """Nobody waits for the answer any more. `reason` says why it was not they who went, and is "" where they did."""

    def __init__(self, reason: str = ""):
        super().__init__(reason or "Nobody waits for the answer any more.")
        self.reason = reason
