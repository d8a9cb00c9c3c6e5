"""No process is left behind: the processes that one started end with it, even after `kill -9`."""

from __future__ import annotations

import os
import subprocess
import sys

_WATCH = """
import os, select, sys
import psutil

def to_end(child):
    # multiprocessing's resource tracker ends by itself, once it has removed the shared memory that was left.
    try:
        return child.pid != os.getpid() and not any("resource_tracker" in part for part in child.cmdline())
    except psutil.Error:
        return False

seen = set()
try:
    parent = psutil.Process(int(sys.argv[1]))
    while not select.select([sys.stdin], [], [], float(sys.argv[2]))[0]:
        seen.update(filter(to_end, parent.children(recursive=True)))
except psutil.Error:
    pass
for child in seen:
    try:
        child.kill()
    except psutil.Error:
        pass
"""


class Watchdog:
    """A small process that ends all descendants of this process when this one ends, however it ends.

    vLLM's engine does not notice that its program was killed: it finishes its requests on every core and then keeps its
    memory. The watchdog looks for new descendants every `seconds`. Its standard input is a pipe from this process: when
    this one ends, the pipe closes, which is the signal.
    """

    def __init__(self, seconds: float = 1.0):
        # In its own process group: whatever kills this process's group must not kill the watchdog before its work.
        self._watch = subprocess.Popen(
            [sys.executable, "-c", _WATCH, str(os.getpid()), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Stop watching: descendants that are still there may stay."""
        self._watch.kill()
        self._watch.wait()
        if self._watch.stdin is not None:
            self._watch.stdin.close()
