"""Rows as tokens: the prompt by the model's own chat template, and labels on the answer alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError
from rag.generate.engines.transformers import render_chat
from rag.progress import say
from rag.train.generator_rows import Row
from rag.types import Messages

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

IGNORED = -100
"""The label of a token that is not learnt, as PyTorch's cross entropy has it."""


class TokenCounter:
    """Counts the tokens of conversations as an engine does, without loading its weights."""

    def __init__(self, tokenizer: Any, *, context_window_tokens: int, max_new_tokens: int):
        self.context_window_tokens = context_window_tokens
        self.max_new_tokens = max_new_tokens
        self._tokenizer = tokenizer

    def count_tokens(self, conversation: Messages) -> int:
        """Tokens of the conversation once the chat template is applied."""
        return len(_prompt_ids(self._tokenizer, conversation))


def load_tokenizer(folder: str | Path) -> Any:
    """A chat model's tokenizer; raises ModelError where it knows no turns."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise ModelError(f"{folder} has no chat template, or no token that ends a turn; name a model made for chats")
    return tokenizer


def encode_row(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """(token ids, labels) of a row: the labels are the answer's tokens and the end of the turn, IGNORED before them.

    The answer is cut into tokens by itself, because a generator writes it behind the finished prompt.
    """
    prompt = _prompt_ids(tokenizer, row.messages)
    answer = [*tokenizer(row.target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return prompt + answer, [IGNORED] * len(prompt) + answer


def training_dataset(rows: Sequence[Row], tokenizer: Any, max_length_tokens: int) -> Dataset:
    """A dataset of qid, input_ids, labels and refuses. Rows that are too long are left out; a line says how many."""
    from datasets import Dataset

    columns: dict[str, list] = {"qid": [], "input_ids": [], "labels": [], "refuses": []}
    for row in rows:
        ids, labels = encode_row(tokenizer, row)
        if len(ids) <= max_length_tokens:
            for name, value in zip(columns, (row.qid, ids, labels, row.refuses), strict=True):
                columns[name].append(value)
    if n_long := len(rows) - len(columns["qid"]):
        say(f"{n_long:,} of {len(rows):,} rows are longer than {max_length_tokens:,} tokens and left out")
    return Dataset.from_dict(columns)


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Token ids and labels (b, t), padded behind their ends.

    There is no mask: what stands behind a token changes nothing for it in a causal model, and padding has no label.
    """
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> Tensor:
        return torch.tensor([[*row[name], *[filler] * (width - len(row[name]))] for row in rows])

    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED)}


def _prompt_ids(tokenizer: Any, conversation: Messages) -> list[int]:
    return tokenizer(render_chat(tokenizer, conversation), add_special_tokens=False)["input_ids"]
