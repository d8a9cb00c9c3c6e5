"""Training the reranker on a tiny model, and the groups that it is trained on."""

import functools
import json
import math
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import ConfigError, ModelError, RunMismatchError
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.resume import read_jsonl
from rag.train.dev_evaluation import DevCandidates, dev_evaluator, ranking_figures, reranker_figures
from rag.train.model_parts import ModelParts, learning_rates, parts_of
from rag.train.reranker import TrainingSeparation, train_reranker
from rag.train.reranker_groups import Group, make_groups, soften, targets, training_dataset
from rag.train.reranker_recipes import RECIPES
from rag.train.run import Watch
from rag.train.telemetry import LOG_FILE
from rag.types import Passage
from tests.fakes.tiny import WORDS

NOUNS = [word for word in WORDS if word.isalpha() and len(word) > 3][:24]
# What a tiny random model can learn in seconds: gold passages end in words that the others lack.
CORPUS = Corpus(
    [Passage(f"d{n}@0", f"the {word} {'long people' if n < 12 else 'in graz'}") for n, word in enumerate(NOUNS)]
)
EXAMPLES = [
    Example(Question(f"q{n}", "", f"who built the {NOUNS[n]}"), (f"d{n}@0",), (f"d{n + 12}@0",)) for n in range(12)
]
MINED = {f"q{n}": [f"d{12 + (n + step) % 12}@0" for step in (1, 2, 3, 4)] for n in range(12)}
FAST = {"epochs": 12, "batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 2, "negatives": 3, "dropout": 0.0}
DEV = DevCandidates(
    [example.question.rewrite for example in EXAMPLES[:8]],
    [[CORPUS[row].content for row in (12 + n, n, 13 + n)] for n in range(8)],
    [[False, True, False]] * 8,
    [1] * 8,
)


def recipe(name, **changes):
    return replace(RECIPES[name], **{**FAST, "freeze_embeddings": False, **changes})


def train(base, target, name, evaluations=4, **changes):
    chosen = recipe(name, **changes)
    groups = make_groups(EXAMPLES, CORPUS, chosen, MINED)
    dev_groups = make_groups(EXAMPLES[:4], CORPUS, chosen, MINED)
    watch = Watch(evaluations=evaluations, log_steps=1)
    return train_reranker(base, groups, CORPUS, chosen, target, dev=DEV, dev_groups=dev_groups, watch=watch)


@pytest.mark.usefixtures("curves")
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_learns_and_leaves_a_plain_checkpoint(tmp_path, tiny_reranker_folder, name):
    model = train(tiny_reranker_folder, tmp_path / "run", name)
    log = read_jsonl(tmp_path / "run" / LOG_FILE)
    losses = [row["loss"] for row in log if "loss" in row]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    looks = [row for row in log if "eval_dev_mrr@10" in row]
    assert [row["step"] for row in looks][:1] == [0]
    assert len(looks) >= 4
    assert all({"eval_dev_recall@10", "eval_dev_separation", "eval_dev_spread"} <= row.keys() for row in looks)
    separations = [row["separation"] for row in log if row.get("separation") is not None]
    assert np.mean(separations[-5:]) > np.mean(separations[:5])
    pairs = [("who built the river", "the river"), ("who built the tower", "the red bridge")]
    ours = CrossEncoderReranker(model, precision="fp32", device="cpu").score(pairs)
    theirs = CrossEncoder(str(model), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    assert np.allclose(ours, theirs, atol=1e-4)
    assert (tmp_path / "run" / "curves.png").is_file()
    assert json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))["layer 00"] > 0


def test_parts_of_the_model_learn_at_their_own_rates(tmp_path, tiny_reranker_folder):
    slow = {"learning_rate": 1e-12, "embedding_learning_rate": 1e-12, "head_learning_rate": 1e-12, "epochs": 1}
    for name, rate in (("head", "head_learning_rate"), ("embeddings", "embedding_learning_rate")):
        train(tiny_reranker_folder, tmp_path / name, "hybrid", evaluations=1, **{**slow, rate: 1e-2})
        drift = json.loads((tmp_path / name / "drift.json").read_text("utf-8"))
        assert drift[name] > 1e-3
        assert all(value < 1e-6 for part, value in drift.items() if part != name)


def test_the_checkpoint_may_be_chosen_by_loss(tmp_path, tiny_reranker_folder):
    train(tiny_reranker_folder, tmp_path / "run", "report-1", select="loss")
    log = read_jsonl(tmp_path / "run" / LOG_FILE)
    losses = [row["eval_loss"] for row in log if row["step"] and "eval_loss" in row]
    states = (tmp_path / "run" / "checkpoints").glob("*/trainer_state.json")
    best = max((json.loads(path.read_text("utf-8")) for path in states), key=lambda state: state["global_step"])
    assert best["best_metric"] == pytest.approx(min(losses))


def test_a_folder_of_another_run_is_refused_and_a_finished_one_left(tmp_path, tiny_reranker_folder):
    model = train(tiny_reranker_folder, tmp_path / "run", "listnet", epochs=1)
    before = (model / "model.safetensors").stat().st_mtime_ns
    train(tiny_reranker_folder, tmp_path / "run", "listnet", epochs=1)
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunMismatchError, match=r"\(recipe\.loss: 'listnet' there, 'lambda' now; recipe\.name: "):
        train(tiny_reranker_folder, tmp_path / "run", "lambda", epochs=1)


def test_groups_hold_a_gold_passage_hard_negatives_and_random_ones():
    groups = make_groups(EXAMPLES, CORPUS, recipe("lambda", negatives=4, random_share=0.25), MINED)
    for n, group in enumerate(groups):
        assert group.ids[0] == f"d{n}@0"
        assert group.labels == (1.0, 0.0, 0.0, 0.0, 0.0)
        assert len(set(group.ids)) == 5
        assert sum(pid in MINED[f"q{n}"] for pid in group.ids[1:]) >= 3


def test_what_has_become_gold_since_mining_is_no_negative():
    example = replace(EXAMPLES[0], positives=("d0@0", MINED["q0"][0]))
    for group in make_groups([example], CORPUS, recipe("lambda", negatives=4, random_share=0), MINED):
        assert group.ids.count(MINED["q0"][0]) == (group.ids[0] == MINED["q0"][0])


def test_other_dev_labels_are_another_run(tmp_path, tiny_reranker_folder):
    chosen = recipe("report-2", epochs=1)
    groups = make_groups(EXAMPLES, CORPUS, chosen, None)
    train_reranker(tiny_reranker_folder, groups, CORPUS, chosen, tmp_path / "run", dev=DEV)
    other = replace(DEV, n_gold=[2] * 8)
    with pytest.raises(RunMismatchError, match=r"\(dev: \S+ there, \S+ now\)"):
        train_reranker(tiny_reranker_folder, groups, CORPUS, chosen, tmp_path / "run", dev=other)


def test_single_pairs_of_a_question_with_several_gold_passages_stand_once():
    example = replace(EXAMPLES[0], positives=("d0@0", "d5@0"))
    chosen = recipe("report-1")
    groups = make_groups([example], CORPUS, chosen, None)
    pairs = training_dataset(groups, CORPUS, chosen)
    assert sorted(pairs["label"]) == [0.0] * 3 + [1.0] * 2
    assert len(set(pairs["passage"])) == 5


def test_a_share_is_random_where_negatives_are_few():
    groups = [
        group
        for seed in range(20)
        for group in make_groups(EXAMPLES, CORPUS, recipe("lambda", negatives=3, random_share=0.15, seed=seed), MINED)
    ]
    n_random = sum(pid not in MINED[f"q{group.ids[0][1:-2]}"] for group in groups for pid in group.ids[1:])
    assert 0.08 < n_random / (3 * len(groups)) < 0.2  # a third of the random ones are mined ones besides


def test_the_hardest_negatives_can_come_first():
    groups = make_groups(EXAMPLES, CORPUS, recipe("lambda", negatives=2, random_share=0, hardest_first=True), MINED)
    assert [list(group.ids[1:]) for group in groups] == [MINED[f"q{n}"][:2] for n in range(12)]


def test_the_reports_groups_hold_judged_negatives_and_random_ones():
    for n, group in enumerate(make_groups(EXAMPLES, CORPUS, recipe("report-1"), None)):
        assert group.ids[:2] == (f"d{n}@0", f"d{n + 12}@0")
        assert len(set(group.ids)) == 4


def test_every_gold_passage_has_a_group_and_no_gold_is_a_negative():
    example = replace(EXAMPLES[0], positives=("d0@0", "d5@0"))
    groups = make_groups([example], CORPUS, recipe("lambda", negatives=20, random_share=1.0), MINED)
    assert [group.ids[0] for group in groups] == ["d0@0", "d5@0"]
    assert all({"d0@0", "d5@0"}.isdisjoint(group.ids[1:]) for group in groups)


def test_negatives_may_all_be_random():
    for n, group in enumerate(make_groups(EXAMPLES, CORPUS, recipe("report-1", negatives_from="random"), None)):
        assert group.ids[0] == f"d{n}@0"
        assert len(set(group.ids)) == 4


def test_mined_negatives_are_asked_for():
    with pytest.raises(ConfigError, match="rag mine"):
        make_groups(EXAMPLES, CORPUS, recipe("lambda"), None)
    with pytest.raises(ConfigError, match=r"training\.reranker\.negatives"):
        make_groups(EXAMPLES, CORPUS, recipe("lambda", negatives=0), MINED)


def test_a_start_that_is_refused_leaves_the_folder_to_the_right_one(tmp_path, tiny_reranker_folder):
    several = tmp_path / "several"
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_reranker_folder, num_labels=3, ignore_mismatched_sizes=True
    )
    model.save_pretrained(several)
    AutoTokenizer.from_pretrained(tiny_reranker_folder).save_pretrained(several)
    with pytest.raises(ModelError, match=r"has 3 labels .*; a reranker has one"):
        train(several, tmp_path / "run", "report-2", epochs=1)
    assert train(tiny_reranker_folder, tmp_path / "run", "report-2", epochs=1).is_dir()


def test_a_base_is_known_by_its_weights(tmp_path, tiny_reranker_folder):
    base = shutil.copytree(tiny_reranker_folder, tmp_path / "base")
    model = train(base, tmp_path / "run", "report-2", epochs=1)
    assert train(tiny_reranker_folder, tmp_path / "run", "report-2", epochs=1) == model
    shutil.copy(model / "model.safetensors", base / "model.safetensors")
    with pytest.raises(RunMismatchError, match=r"\(base: \S+ there, \S+ now\)"):
        train(base, tmp_path / "run", "report-2", epochs=1)


def test_ranking_figures_by_hand():
    scores = [[1.0, 3.0, 2.0], [1.0, 1.0, 1.0], [5.0] + [6.0] * 10]
    relevant = [[True, False, False], [False, True, False], [True] + [False] * 10]
    found = ranking_figures(scores, relevant, [1, 2, 1])
    # in a tie the relevant one comes last
    assert found["mrr@10"] == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)
    assert found["recall@10"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["separation"] == pytest.approx((-2 + 0 - 1) / 3)
    assert found["spread"] == pytest.approx((math.sqrt(2 / 3) + 0 + math.sqrt(10) / 11) / 3)
    assert ranking_figures([[2.0, 1.0]], [[False, False]], [1])["recall@10"] == 0.0  # gold was not retrieved
    assert ranking_figures([[1.0]], [[False]], [1])["separation"] == 0.0


def test_a_question_with_a_score_that_is_not_a_number_counts_nothing():
    scores, relevant = [[float("nan"), 1.0], [2.0, 1.0]], [[True, False], [True, False]]
    alone = ranking_figures(scores[:1], relevant[:1], [1])
    assert alone == {"mrr@10": 0.0, "recall@10": 0.0, "separation": 0.0, "spread": 0.0}
    both = ranking_figures(scores, relevant, [1, 1])
    assert both == {"mrr@10": 0.5, "recall@10": 0.5, "separation": 1.0, "spread": 0.5}


def test_soft_labels_by_hand():
    group = Group("q", ("a", "b"), (1.0, 0.0))
    listwise = soften(group, [0.0, math.log(3)], recipe("distill", soft_share=0.5))
    assert listwise.labels == pytest.approx((0.5 + 0.5 * 0.25, 0.5 * 0.75))
    pairwise = soften(group, [0.0, math.log(3)], recipe("report-1", soft_share=0.5))
    assert pairwise.labels == pytest.approx((0.5 + 0.5 * 0.5, 0.5 * 0.75))


def test_listnets_targets_give_the_labels_back_as_a_distribution():
    for labels, expected in (((1, 0, 0), (1, 0, 0)), ((0.6, 0.3, 0.1), (0.6, 0.3, 0.1)), ((1, 1, 0), (0.5, 0.5, 0))):
        assert torch.tensor(targets(labels, "listnet")).softmax(0).tolist() == pytest.approx(expected, abs=1e-5)
    assert targets((1.0, 0.0), "lambda") == [1.0, 0.0]


def test_a_learning_rate_for_a_part_that_the_model_lacks_is_refused(tiny_reranker_folder):
    model = CrossEncoder(str(tiny_reranker_folder), device="cpu")
    assert len(learning_rates(parts_of(model, model.model), recipe("hybrid"))) == 2
    with pytest.raises(ConfigError, match="lacks"):
        learning_rates(ModelParts([], [], []), recipe("hybrid"))


@pytest.mark.usefixtures("curves")
def test_a_run_that_diverges_at_once_leaves_no_model(tmp_path, tiny_reranker_folder):
    with pytest.raises(ModelError, match="diverged"):
        train(tiny_reranker_folder, tmp_path / "run", "report-1", learning_rate=1e30, warmup_steps=0)
    assert not (tmp_path / "run" / "model").exists()
    assert "divergence" in (tmp_path / "run" / "warnings.json").read_text("utf-8")
    assert (tmp_path / "run" / "curves.png").is_file()


KILLED_IN_ITS_SECOND_EPOCH = """
import os, signal, sys
from pathlib import Path
from rag.train.telemetry import Telemetry
from tests.train.test_reranker import train

def killed(self, args, state, control, **kwargs):
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

Telemetry.on_step_end = killed
train(sys.argv[1], Path(sys.argv[2]), "lambda", epochs=2, evaluations=3)
"""


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(tmp_path, tiny_reranker_folder):
    # 12 groups in batches of 4: an epoch of 3 steps, a checkpoint at 2, 4 and 6, killed at 5
    whole = train(tiny_reranker_folder, tmp_path / "whole", "lambda", epochs=2, evaluations=3)
    command = [sys.executable, "-c", KILLED_IN_ITS_SECOND_EPOCH, tiny_reranker_folder, tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr[-4000:]
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {path.name for path in checkpoints.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    torn = checkpoints / "checkpoint-9"  # and once more, while the last file of a checkpoint was written
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"best_metric": 0.')
    model = train(tiny_reranker_folder, tmp_path / "run", "lambda", epochs=2, evaluations=3)
    steps = [row["step"] for row in read_jsonl(tmp_path / "run" / LOG_FILE) if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, model))
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_the_separation_while_training_by_hand():
    class Scores(torch.nn.Module):
        def forward(self, values):
            return {"scores": torch.tensor(values)[:, None]}

    class Loss(torch.nn.Module):
        def forward(self, inputs, labels):
            model(inputs)
            return torch.zeros(())

    model, loss = Scores(), Loss()
    measured = TrainingSeparation(model, loss)
    assert measured() is None
    loss([3.0, 1.0, 2.0, 0.0, 5.0], [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, 0.4])])
    loss([7.0, 1.0], [torch.tensor([0.0, 0.0])])  # unanswerable: nothing to tell apart
    loss([7.0], [torch.tensor([1.0])])  # gold alone, in a corpus that holds nothing else
    assert measured() == pytest.approx(((3.0 - 2.0) + (0.0 - 5.0)) / 2)
    loss([4.0, 2.0, 1.0], torch.tensor([1.0, 0.0, 0.0]))  # single pairs
    assert measured() == pytest.approx(4.0 - 1.5)
    model.eval()
    loss([9.0, 1.0], torch.tensor([1.0, 0.0]))
    assert measured() is None


UNANSWERABLE = [
    Example(Question(f"u{n}", "", f"who long the {NOUNS[n]}"), (), (f"d{n}@0",) if n % 2 else ()) for n in range(12)
]
MINED_UNANSWERABLE = {f"u{n}": [f"d{(n + step) % 24}@0" for step in range(5)] for n in range(12)}


def test_an_unanswerable_question_has_one_group_of_what_does_not_answer_it():
    chosen = recipe("abstain", negatives=3, random_share=0.0)
    groups = make_groups([EXAMPLES[0], UNANSWERABLE[7]], CORPUS, chosen, MINED | MINED_UNANSWERABLE)
    assert [group.labels for group in groups] == [(1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    assert groups[1].ids[0] == "d7@0"
    assert set(groups[1].ids) <= set(MINED_UNANSWERABLE["u7"])
    assert len(set(groups[1].ids)) == 3


def test_a_loss_that_cannot_learn_to_refuse_takes_no_unanswerable_question():
    with pytest.raises(ConfigError, match="learns nothing from unanswerable"):
        make_groups([UNANSWERABLE[0]], CORPUS, recipe("lambda"), MINED_UNANSWERABLE)


@pytest.mark.parametrize("loss", ["hybrid", "none_of_these"])
def test_a_loss_of_0_and_1_takes_no_soft_labels(loss):
    with pytest.raises(ConfigError, match="no soft labels"):
        make_groups([EXAMPLES[0]], CORPUS, recipe("distill", loss=loss), MINED)
    assert make_groups([EXAMPLES[0]], CORPUS, recipe("distill", loss=loss, soft_share=0.0), MINED)


def test_best_scores_of_unanswerable_questions_learn_to_fall_below_zero(tmp_path, tiny_reranker_folder):
    chosen = recipe("abstain", learning_rate=5e-3, epochs=20)
    groups = make_groups([*EXAMPLES, *UNANSWERABLE], CORPUS, chosen, MINED | MINED_UNANSWERABLE)
    dev = replace(DEV, unanswerable=[(e.question.rewrite, [CORPUS[n].content]) for n, e in enumerate(UNANSWERABLE[:8])])
    target = tmp_path / "run"
    model = train_reranker(tiny_reranker_folder, groups, CORPUS, chosen, target, dev=dev, watch=Watch(evaluations=2))
    areas = [row["eval_dev_refusal_auc"] for row in read_jsonl(target / LOG_FILE) if "eval_dev_refusal_auc" in row]
    assert areas[-1] > 0.9
    scorer = CrossEncoderReranker(model, precision="fp32", device="cpu")
    answerable = scorer.score([(e.question.rewrite, CORPUS[n].content) for n, e in enumerate(EXAMPLES)])
    unanswerable = scorer.score([(e.question.rewrite, CORPUS[n].content) for n, e in enumerate(UNANSWERABLE)])
    assert np.median(answerable) > 0 > np.median(unanswerable)


def test_the_area_for_refusals_by_hand():
    class Known:
        device = torch.device("cpu")

        def predict(self, pairs, **options):
            return torch.tensor([float(text) for _, text in pairs])

    dev = DevCandidates(
        ["a", "b"],
        [["1", "5"], ["2"]],
        [[False, True], [True]],
        [1, 1],
        [("c", ["1.5", "0"]), ("d", ["2"]), ("e", ["9"])],
    )
    found = dev_evaluator(functools.partial(reranker_figures, dev=dev))(Known())
    # best scores 5, 2 against 1.5, 2, 9: 5 wins two, 2 wins one and ties one
    assert found["dev_refusal_auc"] == pytest.approx(3.5 / 6)
    assert found["dev_mrr@10"] == 1.0
