"""A cluster in this process; and workers of a Ray cluster, importable in its processes, that are caught in the middle.

Everything is told by files of a folder, the gate: `begun` is there once a worker off the head node is in the middle of
its work, which it never ends. Workers of the head node wait for that before they do anything; `done-…` is their work.
"""

import os
import secrets
import time
from pathlib import Path

import numpy as np

from rag.retrieve.encoder import Encoder

LONGEST_SECONDS = 240.0


class HereCluster:
    """Does the work of a cluster in this process, the last item first; `stop_after` items it is killed."""

    def __init__(self, stop_after=None):
        self.stop_after, self.done = stop_after, []

    def each(self, make, items, *, waiting):
        do = make()
        for position, item in reversed(list(enumerate(items))):
            if len(self.done) == self.stop_after:
                raise KeyboardInterrupt
            waiting()
            made = do(item)
            self.done.append(position)
            yield position, made


def wait_for(path):
    """Wait until a file is there."""
    wait_until(path.exists)


def wait_until(holds):
    """Wait until something holds."""
    end = time.monotonic() + LONGEST_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def node():
    import ray

    return ray.get_runtime_context().get_node_id()


def pass_gate(gate, head):
    """Hang for ever, unless on the head node, which waits until somebody hangs."""
    gate = Path(gate)
    if head and node() != head:
        (gate / "begun").write_text(str(os.getpid()))
        time.sleep(10 * LONGEST_SECONDS)
    if head:
        wait_for(gate / "begun")


def note(gate, what):
    (Path(gate) / f"done-{secrets.token_hex(4)}").write_text(what)


def noted(gate):
    return sorted(path.read_text() for path in Path(gate).glob("done-*"))


def doubling(gate, head):
    def double(item):
        pass_gate(gate, head)
        note(gate, str(item))
        return np.full(50_000, 2 * item)

    return double


class GatedEncoder(Encoder):
    """As `Encoder`; it loads its weights when the gate is passed."""

    def __init__(self, folder, *, gate, head, **options):
        super().__init__(folder, lazy=True, **options)
        self.gate, self.head = gate, head

    def encode_passages(self, texts, **options):
        pass_gate(self.gate, self.head)
        made = super().encode_passages(texts, **options)
        note(self.gate, "\x1e".join(texts))
        return made


def gated_encoder(gate, head, settings, model):
    """As `rag.build.parts._encoder_of_a_worker`, but gated."""
    from rag.build import parts

    return GatedEncoder(model.folder, gate=gate, head=head, **parts._encoder_options(settings, model))


class HashEncoder:
    """A vector by the hash of a text. A block with the text `hold` waits until the file `open` is there."""

    def __init__(self, fingerprint, gate, hold=""):
        self.fingerprint, self.gate, self.hold = fingerprint, gate, hold

    def encode_passages(self, texts, advance=None):
        if self.hold in texts:
            wait_for(Path(self.gate) / "open")
        note(self.gate, "\x1e".join(texts))
        size = self.fingerprint.dimension
        vectors = np.array([np.random.default_rng(list(text.encode())).normal(size=size) for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0

    def count_cut(self, texts):
        return 0


def gated_shards(gate, head, settings, asked):
    """As `rag.runs.spread._shard_worker`, but a worker off the head node hangs after the first stage of its shard."""
    from rag.runs import batch, spread

    answer = spread._shard_worker(settings, asked)
    run_stage = batch._run_stage

    def caught(stage, folder, *rest):
        if stage.file == batch.RERANKED:
            pass_gate(gate, head)
        run_stage(stage, folder, *rest)

    def gated(shard):
        batch._run_stage = caught
        try:
            answer(shard)
        finally:
            batch._run_stage = run_stage
        note(gate, shard[0].name)

    return gated
