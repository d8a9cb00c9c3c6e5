"""A generator that writes as the engines do: in a thread of its own, one answer at a time, for as long as one waits."""

import threading
import time

from rag.errors import GenerationError
from rag.generate.engines.deltas import deltas
from rag.progress import check_waiting, holding
from tests.fakes.pipelines import Echo


def eventually(holds):
    """Whether this holds within a time that is long enough for any machine."""
    for _ in range(12_000):
        if holds():
            return True
        time.sleep(0.01)
    return False


class Writer(Echo):
    """Writes as the engines do, one answer at a time unless `many`: to questions on ferries without end.

    `begun` are the questions it began to answer; `writing` counts those it is answering.
    """

    def __init__(self, *, many=False):
        super().__init__()
        self.begun, self.writing, self.many = [], 0, many
        self.fails = False
        self._lock, self._counting = threading.Lock(), threading.Lock()

    def stream(self, conversation):
        def write(put):
            if self.many:
                self._write(put, conversation)
                return
            with holding(self._lock):
                self._write(put, conversation)

        yield from deltas(write)

    def _write(self, put, conversation):
        question = conversation[-1]["content"].rsplit("Question:", 1)[-1].strip()
        with self._counting:
            self.begun.append(question)
            self.writing += 1
        try:
            put("The ")
            if self.fails:
                raise GenerationError("the model is out")
            while "ferry" in question:
                put("ferry ")
                time.sleep(0.005)
                check_waiting()
            put("end. [1]")
        finally:
            with self._counting:
                self.writing -= 1
