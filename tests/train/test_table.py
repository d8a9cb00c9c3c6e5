"""Training runs side by side."""

import json

import numpy as np
import pytest

from rag.errors import DataError
from rag.evaluate.verdict import gate
from rag.train.table import training_table

SOURCES = ["nq"] * 60 + ["squad"] * 40
BASE = np.random.default_rng(0).choice([0.0, 0.25, 0.5, 1.0], 100)


def run(folder, tuned, *, cost=True, **changes):
    folder.mkdir()
    tuned, base = ({"mrr@10": list(scores), "recall@10": list(scores)} for scores in (tuned, BASE))
    record = gate(tuned, base, primary="mrr@10", floor=0.3, sources=SOURCES)
    record |= {"role": "reranker", "base": "a/base", "base_fingerprint": "b", "corpus_sha256": "c", "n_dev": 100}
    (folder / "gate.json").write_text(json.dumps(record | changes), "utf-8")
    (folder / "training.json").write_text(json.dumps({"recipe": {"name": "lambda"}}), "utf-8")
    if cost:
        figures = {"seconds": 50.0, "n_questions": 2000, "peak_memory_gib": 3.25}
        (folder / "cost.json").write_text(json.dumps(figures), "utf-8")
    return folder


def test_runs_stand_side_by_side_with_intervals_and_costs(tmp_path):
    better = run(tmp_path / "better", np.minimum(BASE + 0.2, 1.0))
    same = run(tmp_path / "same", BASE, cost=False)
    lines = training_table([better, same])
    assert lines[0].startswith(f"Dev, 100 questions. Base a/base: mrr@10 {BASE.mean():.4f}")
    rows = {line.split(" | ")[0].lstrip("| "): line.split(" | ") for line in lines if line.startswith("| ")}
    assert rows["better"][1:4] == ["lambda", "2,000", f"{np.minimum(BASE + 0.2, 1.0).mean():.4f}"]
    assert rows["better"][4].startswith("+0.1")
    assert float(rows["better"][5]) == pytest.approx(2 * 1 / 2001, abs=1e-4)  # Holm over two runs
    assert rows["better"][-3:-1] == ["PROMOTE", "25"]
    assert rows["same"][5] == "1.0000"
    assert rows["same"][7] == "KEEP BASE"
    assert rows["squad"][1:3] == ["40", f"{BASE[60:].mean():.3f}"]
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 2


def test_an_average_stands_beside_the_runs(tmp_path):
    first, mean = run(tmp_path / "first", BASE), run(tmp_path / "mean", BASE, cost=False)
    (mean / "training.json").write_text(json.dumps({"average": ["a", "b"]}), "utf-8")
    assert any(line.startswith("| mean | average | ") for line in training_table([first, mean]))


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    first = run(tmp_path / "first", BASE)
    with pytest.raises(DataError, match="differing: base_fingerprint"):
        training_table([first, run(tmp_path / "other", BASE, base_fingerprint="x")])
    with pytest.raises(DataError, match=r"gate\.json is missing; train it with the gate"):
        training_table([tmp_path])
