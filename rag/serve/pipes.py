"""Stdin and stdout kept for a protocol. It loads nothing, so that it can be called before anything prints."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rag.errors import RagError


@dataclass(frozen=True, slots=True)
class Pipes:
    """The file descriptors of the protocol, apart from stdin and stdout."""

    incoming: int
    outgoing: int


def claim_pipes() -> Pipes:
    """Keep stdin and stdout for the protocol: from now on stdin is empty, and what is printed goes to stderr.

    Raises RagError where one of them is closed.
    """
    try:
        pipes = Pipes(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
    except OSError as error:
        raise RagError("rag mcp speaks over stdin, stdout and stderr, and one of them is closed") from error
    return pipes
