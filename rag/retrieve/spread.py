"""Blocks of passages become vectors: one after the other in this process, or on the workers of a cluster."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.cluster import Cluster, check_installed
from rag.errors import ConfigError
from rag.retrieve.encoder import Encoder, EncoderFingerprint

Block = tuple[int, np.ndarray, int]
"""The position of a block, its vectors (n, d) float32, and how many of its passages were cut."""


class SpreadEncoder(Encoder):
    """An encoder whose blocks of passages are encoded on the workers of a cluster; all else is done in this process.

    `make` makes the same encoder in a worker. It is sent there by pickle.
    """

    def __init__(self, folder: str | Path, *, cluster: Cluster, make: Callable[[], Encoder], **options: Any):
        check_installed()
        super().__init__(folder, **options)
        self._cluster, self._make = cluster, make

    def encode_blocks(self, blocks: Iterable[Sequence[str]], advance: Callable[[int], object]) -> Iterator[Block]:
        """Each block encoded, in the order in which they are done; a single one in this process."""
        blocks = iter(blocks)
        first = list(itertools.islice(blocks, 2))
        if len(first) < 2:
            yield from _here(self, first, advance)
            return
        worker = BlockWorker(self._make, self.fingerprint)
        spread = self._cluster.each(worker.start, itertools.chain(first, blocks), waiting=lambda: advance(0))
        for position, (vectors, n_cut) in spread:
            advance(len(vectors))
            yield position, vectors, n_cut


def encode_blocks(
    encoder: Encoder, blocks: Iterable[Sequence[str]], advance: Callable[[int], object]
) -> Iterator[Block]:
    """Each block of passages encoded, in any order.

    `advance` is called with the number of passages that were encoded, and with 0 now and then while one waits.
    """
    if isinstance(encoder, SpreadEncoder):
        return encoder.encode_blocks(blocks, advance)
    return _here(encoder, blocks, advance)


def _here(encoder: Encoder, blocks: Iterable[Sequence[str]], advance: Callable[[int], object]) -> Iterator[Block]:
    for position, texts in enumerate(blocks):
        nothing = np.zeros((0, encoder.fingerprint.dimension), np.float32), 0
        vectors, n_cut = encoder.encode_passages(texts, advance=advance) if texts else nothing
        yield position, vectors, n_cut


class BlockWorker:
    """Encodes blocks in a worker, with the encoder that this process has."""

    def __init__(self, make: Callable[[], Encoder], wanted: EncoderFingerprint):
        self._make, self._wanted = make, wanted

    def start(self) -> Callable[[Sequence[str]], tuple[np.ndarray, int]]:
        encoder = self._make()
        if encoder.fingerprint != self._wanted:
            raise ConfigError(
                f"on the node {socket.gethostname()} encoder.model is another model, whose vectors do not fit these; "
                "fetch the same one there"
            )
        return encoder.encode_passages
