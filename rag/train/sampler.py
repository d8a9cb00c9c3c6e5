"""How training rows are put together into batches."""

from __future__ import annotations

from collections.abc import Iterator

from sentence_transformers.base.sampler import NoDuplicatesBatchSampler


class WholeEpochSampler(NoDuplicatesBatchSampler):
    """No text twice in a batch, as far as that leaves every row its place in an epoch of `len()` batches.

    Where few passages stand in many rows, sentence-transformers' own makes more batches, each smaller, and its trainer
    leaves an epoch after `len()` of them. Here the rows of those beyond fill up the others; what stands in a batch
    twice then is a negative twice, and where known positives are masked never one for a question that it answers.
    """

    def __iter__(self) -> Iterator[list[int]]:
        batches = [list(batch) for batch in super().__iter__()]
        batches, beyond = batches[: len(self)], [row for batch in batches[len(self) :] for row in batch]
        for batch in batches:
            while beyond and len(batch) < self.batch_size:
                batch.append(beyond.pop())
        yield from batches
