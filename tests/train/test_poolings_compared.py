"""`python -m benchmarks.pooling` over tiny models."""

import json
import sys

import pytest
import torch

from benchmarks import pooling
from tests.fakes.bodies import make_body
from tests.fakes.tiny import write_corpus
from tests.fakes.training import PASSAGES, rows

STATES = torch.tensor([[[1.0], [3.0], [8.0]], [[2.0], [4.0], [6.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("first", [1, 2]), ("last", [3, 6]), ("mean", [4, 4]), ("masked mean", [2, 4])],
)
def test_poolings_by_hand(name, expected):
    assert pooling._pooled(STATES, MASK, name)[:, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["e5", "qwen3"])
def test_each_pooling_is_measured_untuned_and_tuned(tmp_path, capsys, monkeypatch, kind):
    model = make_body(tmp_path / kind, kind, "Qwen3ForCausalLM")
    corpus = write_corpus(tmp_path / "corpus.txt", PASSAGES)
    (tmp_path / "dev.txt").write_text(rows(range(22, 30)), "utf-8")
    (tmp_path / "train.txt").write_text(rows(range(22)), "utf-8")
    options = ["--corpus", corpus, "--dev", tmp_path / "dev.txt", "--train", tmp_path / "train.txt", "--steps", 1]
    given = ["pooling", model, *options, "--passages", 20, "--layers", 1, "--learning-rate", 1e-2]
    monkeypatch.setattr(sys, "argv", [str(word) for word in given])
    pooling.main()
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(row["pooling"], row["when"]) for row in found] == [
        (name, when) for name in pooling.POOLINGS for when in ("untuned", "tuned")
    ]
    assert all({"gap", "separation", "mrr@10", "interval"} <= row.keys() for row in found)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert all(untuned["gap"] != tuned["gap"] for untuned, tuned in pairs[1:])  # all passages begin with one word
