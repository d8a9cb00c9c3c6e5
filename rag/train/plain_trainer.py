"""transformers' own trainer with a loss and an evaluator given to it, as those of sentence-transformers take them.

It is for models that sentence-transformers does not train. Rows of similar length share a batch.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer

WINDOW_BATCHES = 40


class LikeLengthSampler(Sampler[int]):
    """Row numbers in an order in which rows of similar length stand in one batch, and batches in random order.

    Rows are shuffled, then sorted within windows of 40 batches, or of a quarter of all rows. The order follows from
    seed and epoch alone, so that a run that goes on after a kill skips what it has seen.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self._epoch}")
        rows = list(range(len(self)))
        rng.shuffle(rows)
        size = self._batch_size
        width = size * min(WINDOW_BATCHES, max(len(rows) // (4 * size), 1))
        for begin in range(0, len(rows), width):
            inside = sorted(rows[begin : begin + width], key=self._lengths.__getitem__)
            batches = [inside[n : n + size] for n in range(0, len(inside), size)]
            # The batch that is not full is the last of all.
            last = [] if len(batches[-1]) == size else [batches.pop()]
            rng.shuffle(batches)
            for batch in [*batches, *last]:
                yield from batch


class PlainTrainer(Trainer):
    """`loss` maps the model and a batch to a scalar, the mean over the batch; `evaluator` the model to its figures.

    The training rows have a column `input_ids`.
    """

    def __init__(
        self,
        *,
        loss: Callable[[Any, Mapping[str, Tensor]], Tensor],
        evaluator: Callable[[Any], Mapping[str, float]],
        eval_dataset: Dataset | None = None,
        **given: Any,
    ):
        # The trainer wants a dataset where dev is looked at; the evaluator has its own.
        super().__init__(eval_dataset=[] if eval_dataset is None else eval_dataset, **given)
        self._loss = loss
        self._evaluator = evaluator
        self.loss_is_scaled_for_ga = False

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = self._loss(model, inputs)
        return (loss, {}) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The evaluator's figures and the seconds they took, logged as the trainer logs its own."""
        started = time.monotonic()
        model: Any = self.model
        model.eval()
        figures = {f"{metric_key_prefix}_{name}": value for name, value in self._evaluator(model).items()}
        figures[f"{metric_key_prefix}_runtime"] = round(time.monotonic() - started, 4)
        self.log(figures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _get_train_sampler(self, train_dataset: Any = None) -> LikeLengthSampler:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in dataset["input_ids"]]
        return LikeLengthSampler(lengths, self.args.train_batch_size, self.args.seed)
