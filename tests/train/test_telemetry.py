"""Warnings by rule, drift by hand, and the log of a run that diverges."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from rag.train.telemetry import LOG_FILE, Telemetry, layer_drift, plot_log, warnings_of


def steps(losses, separations=None, per_epoch=10):
    separations = separations or [0.2] * len(losses)
    return [
        {"step": n, "epoch": n / per_epoch, "loss": loss, "grad_norm": 1.0, "separation": s}
        for n, (loss, s) in enumerate(zip(losses, separations, strict=True), 1)
    ]


def dev(*scores):
    return [{"step": 10 * n, "epoch": float(n), "eval_dev_mrr@10": score} for n, score in enumerate(scores)]


def spread(value):
    return [{"step": 0, "epoch": 0.0, "eval_dev_spread": value}]


FALLING = [1.0 - n / 40 for n in range(30)]


def test_a_good_run_has_no_warning():
    assert warnings_of(steps(FALLING) + dev(0.5, 0.6, 0.65, 0.66)) == []


@pytest.mark.parametrize(
    ("log", "word"),
    [
        (steps([1.0, None]), "divergence"),
        (spread(0.04) + steps(FALLING, [0.2] * 25 + [0.001] * 5), "collapse"),  # cosines
        (spread(3.0) + steps(FALLING, [0.2] * 25 + [0.02] * 5), "collapse"),  # logits
        (steps(FALLING) + dev(0.5, 0.7, 0.6, 0.55), "overfitting"),
        (steps([1.0] * 10 + [0.7] * 10 + [0.45] * 10), "sawtooth"),
    ],
)
def test_what_goes_wrong_is_named(log, word):
    (warning,) = warnings_of(log)
    assert warning.startswith(word)


def test_the_last_epochs_end_counts_though_the_log_ends_before_it():
    log = [row for row in steps([1.0] * 10 + [0.6] * 10) if row["epoch"] < 2]
    (warning,) = warnings_of(log)
    assert warning.startswith("sawtooth")


def test_gold_as_near_as_its_hardest_negative_is_no_collapse():
    assert warnings_of(spread(0.04) + steps(FALLING, [-0.01, 0.0, 0.004] * 10)) == []


def test_one_bad_evaluation_is_no_overfitting():
    assert warnings_of(steps(FALLING) + dev(0.5, 0.7, 0.6, 0.65)) == []


def test_a_loss_that_is_no_number_stops_the_run_and_the_log_stays_json(tmp_path):
    telemetry = Telemetry(tmp_path, separation=lambda: math.nan)
    control, state = (
        SimpleNamespace(should_training_stop=False),
        SimpleNamespace(global_step=3, epoch=0.3, max_steps=10),
    )
    telemetry.on_log(None, state, control, logs={"loss": math.nan, "grad_norm": 1.0})
    assert control.should_training_stop
    assert telemetry.diverged
    row = json.loads((tmp_path / LOG_FILE).read_text("utf-8"), parse_constant=pytest.fail)
    assert row["loss"] is None
    assert row["separation"] is None


def test_drift_is_the_norm_of_the_change_over_the_norm():
    before = {"e.word_embeddings.weight": torch.tensor([3.0, 4.0]), "encoder.layer.1.w": torch.tensor([2.0])}
    after = {"e.word_embeddings.weight": torch.tensor([3.0, 4.0]), "encoder.layer.1.w": torch.tensor([1.0])}
    assert layer_drift(before, after) == {"embeddings": 0.0, "layer 01": pytest.approx(0.5)}


def test_curves_are_drawn_from_the_log(tmp_path):
    assert plot_log(tmp_path) is None
    rows = steps(FALLING) + dev(0.5, 0.6)
    (tmp_path / LOG_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert plot_log(tmp_path, {"layer 01": 0.5}).stat().st_size > 5000
