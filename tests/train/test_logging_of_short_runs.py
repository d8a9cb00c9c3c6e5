"""What a run's log holds however short the run is: losses, every group's rate, drift over time; and how it is drawn."""

import json
from types import SimpleNamespace

import pytest
import torch

from rag.evaluate.report import figures
from rag.evaluate.training_log import LOSS, SCORES, SHARES, figures_by_kind
from rag.resume import read_jsonl
from rag.train.curves import LOG_FILE, panels_of, plot_log
from rag.train.drift import by_layer, layer_sums, logged_drift
from rag.train.run import Watch
from rag.train.telemetry import Telemetry, group_names
from tests.train import test_generator, test_reader, test_reranker, test_retriever

tiny_causal_folder = test_generator.tiny_causal_folder

ONE_UNIT = {LOSS, SCORES, SHARES}


@pytest.mark.parametrize(
    ("n_steps", "every", "logged"),
    [
        (1, 1, 1),
        (7, 1, 7),
        (20, 1, 20),
        (39, 1, 39),
        (40, 2, 20),
        (59, 2, 29),
        (60, 3, 20),
        (199, 9, 22),
        (200, 10, 20),
        (5000, 10, 500),
    ],
)
def test_at_least_twenty_steps_are_logged_or_all_there_are(n_steps, every, logged):
    assert Watch().log_every(n_steps) == every
    assert n_steps // every == logged >= min(n_steps, 20)


def test_who_wants_more_lines_than_that_gets_them():
    assert Watch(log_steps=1).log_every(5000) == 1
    assert Watch(log_steps=0).log_every(5000) == 1


class Watching(Watch):
    """As a person gets it, whatever `log_steps` a test's helper would give."""

    def __new__(cls, **given):
        return Watch(**{name: value for name, value in given.items() if name != "log_steps"})


@pytest.fixture
def run_of(tmp_path, monkeypatch, tiny_encoder_folder, tiny_reranker_folder, tiny_causal_folder):
    """Trains a tiny model of a kind, watched as by default; returns the folder."""

    def train(kind, name=None, evaluations=1):
        for module in (test_generator, test_reader, test_reranker, test_retriever):
            monkeypatch.setattr(module, "Watch", Watching)
        folder = tmp_path / "run"
        if kind == "retriever":
            watch = Watch(evaluations=evaluations)
            test_retriever.train(tiny_encoder_folder, folder, name or "mined", watch=watch)
        elif kind == "reranker":
            test_reranker.train(tiny_reranker_folder, folder, name or "listnet", evaluations=evaluations, epochs=7)
        elif kind == "reader":
            test_reader.train(tiny_reranker_folder, folder, evaluations=evaluations, epochs=4)
        else:
            test_generator.train(tiny_causal_folder, folder, evaluations=evaluations)
        return folder

    return train


KINDS = {"retriever": 24, "reranker": 21, "reader": None, "generator": 6}
GROUPS = {
    "retriever": {"embeddings+layers+head", "embeddings+layers+head, biases and norms"},
    "reranker": {"embeddings+layers+head", "embeddings+layers+head, biases and norms"},
    "generator": {"layers"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_run_logs_losses_rates_and_drift(run_of, kind):
    folder = run_of(kind)
    log = read_jsonl(folder / LOG_FILE)
    losses = [row for row in log if "loss" in row]
    n_steps = losses[-1]["step"]
    assert len(losses) >= min(n_steps, 20)
    assert KINDS[kind] in (None, n_steps)
    for row in losses:
        rates = {name for name in row if name.startswith("learning_rate/")}
        assert len(rates) >= 1
        assert all(row[name] == pytest.approx(row["learning_rate"]) for name in rates)  # one rate for all of it
        assert {name.removeprefix("learning_rate/") for name in rates} <= GROUPS.get(kind, rates) or kind == "reader"
    first, *_, last = (row for row in log if "drift" in row)
    assert first["step"] == 0
    assert first["drift"] == 0
    assert last["step"] == n_steps
    assert last["drift"] > 0
    at_the_end = json.loads((folder / "drift.json").read_text("utf-8"))
    over_time = {name.removeprefix("drift/"): value for name, value in last.items() if name.startswith("drift/")}
    assert over_time.keys() == at_the_end.keys()
    for layer, value in at_the_end.items():
        assert over_time[layer] == pytest.approx(value, rel=0.02, abs=1e-6)


def test_every_group_has_the_rate_that_its_step_was_made_with(run_of):
    folder = run_of("reranker", "hybrid")
    losses = [row for row in read_jsonl(folder / LOG_FILE) if "loss" in row]
    highest = {name: max(row[name] for row in losses) for name in losses[0] if name.startswith("learning_rate/")}
    by_part = {}
    for name, rate in highest.items():
        part = name.removeprefix("learning_rate/").partition(",")[0].partition(" #")[0]
        by_part.setdefault(part, set()).add(round(rate, 9))
    assert by_part.keys() == {"embeddings", "layers", "head"}
    recipe = test_reranker.recipe("hybrid")
    expected = {"embeddings": recipe.embedding_learning_rate, "head": recipe.head_learning_rate}
    expected["layers"] = recipe.learning_rate
    for part, rates in by_part.items():
        assert sorted(rates) == [pytest.approx(expected[part], rel=1e-6)], part


def test_a_run_that_goes_on_keeps_one_log(run_of, monkeypatch):
    plain = Telemetry.on_step_end

    def killed(self, args, state, control, **kwargs):
        plain(self, args, state, control, **kwargs)
        if state.global_step == 14:
            raise KeyboardInterrupt

    monkeypatch.setattr(Telemetry, "on_step_end", killed)
    with pytest.raises(KeyboardInterrupt):
        run_of("retriever", evaluations=3)
    monkeypatch.setattr(Telemetry, "on_step_end", plain)
    log = read_jsonl(run_of("retriever", evaluations=3) / LOG_FILE)
    assert [row["step"] for row in log if "loss" in row] == list(range(1, 25))
    looks = [row for row in log if "drift" in row]
    assert [row["step"] for row in looks] == [0, 8, 16, 24]
    drifts = [row["drift"] for row in looks]
    assert drifts[0] == 0 < drifts[1] < drifts[2]
    assert [row["seconds"] for row in log] == sorted(row["seconds"] for row in log)


def test_a_run_that_begins_again_before_its_first_checkpoint_has_looked_at_the_base_once(tmp_path):
    rows = [{"step": 0, "eval_dev_mrr@10": 0.4}, {"step": 1, "loss": 1.0}, {"step": 0, "eval_dev_mrr@10": 0.4}]
    (tmp_path / LOG_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    Telemetry(tmp_path).on_train_begin(None, SimpleNamespace(global_step=0, max_steps=10), None)
    assert read_jsonl(tmp_path / LOG_FILE) == rows[:1]


def test_a_look_at_dev_and_a_loss_of_one_step_both_stay(tmp_path):
    rows = [{"step": 4, "loss": 1.0}, {"step": 4, "eval_dev_mrr@10": 0.4}, {"step": 5, "loss": 0.9}]
    (tmp_path / LOG_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    Telemetry(tmp_path).on_train_begin(None, SimpleNamespace(global_step=4, max_steps=10), None)
    assert read_jsonl(tmp_path / LOG_FILE) == rows[:2]


def test_groups_are_named_by_what_they_hold():
    model = torch.nn.ModuleDict(
        {
            "embeddings": torch.nn.Embedding(3, 2),
            "layers": torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)]),
            "classifier": torch.nn.Linear(2, 1),
        }
    )
    embeddings = [model["embeddings"].weight]
    layers = [layer.weight for layer in model["layers"]]
    biases = [layer.bias for layer in model["layers"]]
    head = [model["classifier"].weight]
    groups = [{"params": each} for each in (embeddings + layers, biases, head, layers, biases, [])]
    assert group_names(model, groups) == [
        "embeddings+layers",
        "layers, biases and norms",
        "head",
        "layers",
        "layers, biases and norms #2",
        "empty",
    ]


def test_the_rates_of_a_log_line_are_those_before_the_schedule_moved_on(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    model = SimpleNamespace(named_parameters=lambda: [("embeddings.weight", weight)])
    optimizer = SimpleNamespace(param_groups=[{"params": [weight], "lr": 0.5}])
    telemetry = Telemetry(tmp_path)
    state = SimpleNamespace(global_step=1, epoch=0.1, max_steps=10)
    telemetry.on_optimizer_step(None, state, None, optimizer=optimizer, model=model)
    optimizer.param_groups[0]["lr"] = 0.25
    telemetry.on_log(None, state, SimpleNamespace(should_training_stop=False), logs={"loss": 1.0})
    (row,) = read_jsonl(tmp_path / LOG_FILE)
    assert row["learning_rate/embeddings"] == 0.5


def test_drift_of_all_weights_is_not_the_mean_of_the_layers():
    before = {"word_embeddings.weight": torch.tensor([3.0, 4.0]), "encoder.layer.1.w": torch.tensor([12.0])}
    after = {"word_embeddings.weight": torch.tensor([3.0, 4.0]), "encoder.layer.1.w": torch.tensor([9.0])}
    sums = layer_sums(before, after)
    assert sums == {"embeddings": [0.0, 25.0], "layer 01": [9.0, 144.0]}
    assert by_layer(sums) == {"embeddings": 0.0, "layer 01": 0.25}
    assert logged_drift(sums) == {"drift": pytest.approx(3 / 13), "drift/embeddings": 0.0, "drift/layer 01": 0.25}


LOG = [
    {"step": 0, "eval_dev_mrr@10": 0.4, "eval_dev_separation": -3.1, "eval_dev_spread": 5.2, "drift": 0.0},
    {"step": 1, "loss": 1.5, "learning_rate": 1e-5, "learning_rate/layers": 1e-5, "learning_rate/head": 1e-4}
    | {"grad_norm": 2.0, "separation": -2.5},
    {"step": 2, "loss": 1.2, "learning_rate": 5e-6, "learning_rate/layers": 5e-6, "learning_rate/head": 5e-5}
    | {"grad_norm": 1.0, "separation": 4.5},
    {"step": 2, "eval_dev_mrr@10": 0.6, "eval_dev_recall@10": 0.8, "eval_dev_refusal_auc": 0.7, "eval_runtime": 9.0}
    | {"eval_dev_separation": 6.0, "eval_dev_loss": 0.9, "drift": 0.02, "drift/layer 00": 0.03},
]


def test_figures_of_one_unit_share_a_panel_and_no_others():
    panels = {title: (unit, names) for title, unit, names in panels_of(LOG)}
    assert panels == {
        "loss": ("loss per row", ["loss", "eval_dev_loss"]),
        "learning rate": ("rate of each group", ["learning_rate/head", "learning_rate/layers"]),
        "gradient norm": ("norm before clipping", ["grad_norm"]),
        "separation": (
            "score difference (logits or cosines)",
            ["separation", "eval_dev_separation", "eval_dev_spread"],
        ),
        "dev": ("share or probability, 0 to 1", ["eval_dev_mrr@10", "eval_dev_recall@10", "eval_dev_refusal_auc"]),
        "drift over time": ("|weights - base| / |base|", ["drift", "drift/layer 00"]),
    }


def test_a_log_of_an_older_version_has_its_one_rate():
    old = [{"step": 1, "loss": 1.0, "learning_rate": 1e-5}]
    assert [(title, names) for title, _, names in panels_of(old)] == [
        ("loss", ["loss"]),
        ("learning rate", ["learning_rate"]),
    ]


@pytest.mark.usefixtures("curves")
def test_the_curves_are_drawn_with_labelled_axes(tmp_path, monkeypatch):
    from matplotlib import pyplot as plt

    kept = {}
    monkeypatch.setattr(plt, "close", lambda figure: kept.setdefault("axes", figure.axes))
    (tmp_path / LOG_FILE).write_text("".join(json.dumps(row) + "\n" for row in LOG), "utf-8")
    assert plot_log(tmp_path, {"layer 00": 0.03}).stat().st_size > 5000
    monkeypatch.undo()
    shown = [axis for axis in kept["axes"] if axis.get_visible()]
    assert len(shown) == 7
    assert all(axis.get_xlabel() and (axis.get_ylabel() or "end" in axis.get_title()) for axis in shown)
    (dev,) = (axis for axis in shown if axis.get_title() == "dev")
    assert dev.get_ylim() == (0, 1)


def test_the_report_draws_losses_shares_and_scores_on_axes_of_their_own(monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "_svg", lambda figure, *axes: kept.extend(axes))
    figures.training_figure([row for row in LOG if "loss" in row], [row for row in LOG if "eval_dev_mrr@10" in row])
    lines = {axis.get_ylabel(): [line.get_label() for line in axis.lines] for axis in kept}
    assert lines == {
        "loss per row": ["training", "dev: loss"],
        "share or probability": ["dev: mrr@10", "dev: recall@10", "dev: refusal_auc"],
        "score difference (logits or cosines)": ["dev: separation", "dev: spread"],
    }
    assert all(axis.get_xlabel() == "step" for axis in kept)
    assert {axis.get_ylabel(): axis.get_ylim() for axis in kept}["share or probability"] == (0, 1)


def test_a_log_without_scores_or_with_a_loss_that_is_no_number_is_drawn_all_the_same():
    steps = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None}]
    assert "<svg" in figures.training_figure(steps, [{"step": 2, "eval_dev_f1_with_null": 0.5}])
    assert "<svg" in figures.training_figure([], [])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("eval_loss", LOSS),
        ("eval_dev_loss", LOSS),
        ("eval_dev_mrr@10", SHARES),
        ("eval_dev_f1_with_null", SHARES),
        ("eval_dev_exact_match", SHARES),
        ("eval_dev_refusal_auc", SHARES),
        ("eval_dev_separation", SCORES),
        ("eval_dev_spread", SCORES),
        ("eval_runtime", None),
        ("loss", None),
    ],
)
def test_each_figure_has_its_unit(name, kind):
    found = figures_by_kind([name])
    assert found == {each: [name] if each == kind else [] for each in ONE_UNIT}
