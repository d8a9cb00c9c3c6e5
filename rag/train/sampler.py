"""How training rows become batches."""

from __future__ import annotations

from collections.abc import Iterator

from sentence_transformers.base.sampler import NoDuplicatesBatchSampler


class WholeEpochSampler(NoDuplicatesBatchSampler):
    """No text twice in a batch, as far as every row still has its place in an epoch of `len()` batches.

    If few passages stand in many rows, sentence-transformers' own sampler makes more batches, each smaller, and its
    trainer ends the epoch after `len()` of them. Here the rows of the batches beyond fill up the others. A text that is
    then in a batch twice is a negative twice; where known positives are masked, never of a question that it answers.
    """

    def __iter__(self) -> Iterator[list[int]]:
        batches = [list(batch) for batch in super().__iter__()]
        beyond = [row for batch in batches[len(self) :] for row in batch]
        batches = batches[: len(self)]
        for batch in batches:
            while beyond and len(batch) < self.batch_size:
                batch.append(beyond.pop())
        yield from batches
