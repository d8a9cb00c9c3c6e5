"""Training the span reader on a tiny model."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import ConfigError, ModelError, RunMismatchError
from rag.read.reader import SpanReader
from rag.resume import read_jsonl
from rag.train.reader import is_reader, train_reader
from rag.train.reader_dev import JudgedRow, ReaderDev, read_rows
from rag.train.reader_recipes import RECIPES
from rag.train.reader_rows import make_rows
from rag.train.run import Watch
from rag.train.telemetry import LOG_FILE
from rag.types import Passage
from tests.fakes.tiny import WORDS

NOUNS = [word for word in WORDS if word.isalpha() and len(word) > 3][:24]
# What a tiny random model can learn in seconds: the answer is one of two words that no other passage holds.
ANSWERS = ["graz" if n % 2 else "hale" for n in range(12)]
CORPUS = Corpus(
    [Passage(f"d{n}@0", f"the {word} in {ANSWERS[n]} was built") for n, word in enumerate(NOUNS[:12])]
    + [Passage(f"d{n}@0", f"the {word} in 1874 was red", "port") for n, word in enumerate(NOUNS[12:], 12)]
)
EXAMPLES = [
    Example(Question(f"q{n}", "", f"who built the {NOUNS[n]}", ANSWERS[n]), (f"d{n}@0",), (f"d{n + 12}@0",))
    for n in range(12)
]
FAST = {"epochs": 24, "batch_size": 4, "learning_rate": 5e-3, "warmup_steps": 2, "freeze_embeddings": False}
DEV = ReaderDev(
    [JudgedRow(e.question.id, e.question.rewrite, CORPUS[n], (ANSWERS[n],)) for n, e in enumerate(EXAMPLES[:8])]
    + [JudgedRow(e.question.id, e.question.rewrite, CORPUS[n + 12]) for n, e in enumerate(EXAMPLES[:8])],
    ["q0"],
)


def recipe(**changes):
    return replace(RECIPES["span"], **{**FAST, **changes})


def train(base, target, evaluations=4, dev=DEV, **changes):
    chosen = recipe(**changes)
    rows = make_rows(EXAMPLES, CORPUS, chosen, None).rows
    return train_reader(base, rows, CORPUS, chosen, target, dev=dev, watch=Watch(evaluations=evaluations, log_steps=1))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, tiny_reranker_folder):
    """The folder of a run that has learnt everything there is."""
    run = tmp_path_factory.mktemp("reader") / "run"
    train(tiny_reranker_folder, run)
    return run


@pytest.mark.usefixtures("compiled")
def test_the_body_of_a_reranker_learns_to_mark_answers_and_to_say_that_there_is_none(learnt):
    log = read_jsonl(learnt / LOG_FILE)
    looks = [row for row in log if "eval_dev_f1_with_null" in row]
    assert looks[0]["step"] == 0
    assert len(looks) == 5
    assert looks[-1]["eval_dev_f1_with_null"] == 1.0
    assert looks[-1]["eval_dev_refusal_auc"] == 1.0
    assert all("eval_runtime" in row for row in looks)
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < losses[0] / 3
    separations = [row["separation"] for row in log if row.get("separation") is not None]
    assert separations[-1] > separations[0]
    # What serves reads as the checkpoint was judged.
    reader = SpanReader(learnt / "model", precision="fp32", device="cpu")
    spans = reader.read([row.query for row in DEV.rows], [[row.passage] for row in DEV.rows])
    assert [span.text_in(row.passage) for row, (span,) in zip(DEV.rows[:8], spans[:8], strict=True)] == ANSWERS[:8]
    assert min(span.margin for (span,) in spans[:8]) > 0 > max(span.margin for (span,) in spans[8:])
    cost = json.loads((learnt / "cost.json").read_text("utf-8"))
    assert (cost["n_questions"], cost["n_rows"]) == (12, 24)
    assert (learnt / "curves.png").is_file()


def test_the_checkpoint_is_a_plain_question_answering_model(tmp_path, tiny_reranker_folder):
    model = train(tiny_reranker_folder, tmp_path / "run", epochs=1, evaluations=1)
    config = json.loads((model / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["BertForQuestionAnswering"]
    assert "sentence_transformers" not in config
    loaded = AutoModelForQuestionAnswering.from_pretrained(model)
    assert loaded.config.num_labels == 2
    assert AutoTokenizer.from_pretrained(model).sep_token_id is not None
    assert is_reader(model)
    assert not is_reader(tiny_reranker_folder)
    training = json.loads((tmp_path / "run" / "training.json").read_text("utf-8"))
    assert training["recipe"]["null_share"] == 0.5
    assert training["watched"] == ["q0"]


def test_spans_are_kept_of_a_reader_alone(tmp_path, learnt, tiny_reranker_folder):
    train(learnt / "model", tmp_path / "kept", epochs=1, learning_rate=1e-6, evaluations=1, keep_spans=1.0)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "kept" / LOG_FILE) if "loss" in row]
    train(learnt / "model", tmp_path / "free", epochs=1, learning_rate=1e-6, evaluations=1)
    free = [row["loss"] for row in read_jsonl(tmp_path / "free" / LOG_FILE) if "loss" in row]
    # Nothing has moved yet, so that there is nothing to pay; in training mode, dropout is off.
    assert losses[0] == pytest.approx(free[0], abs=1e-4)
    with pytest.raises(ConfigError, match="there is nothing to keep"):
        train(tiny_reranker_folder, tmp_path / "none", epochs=1, keep_spans=1.0)


def test_another_reader_can_be_gone_on_from(tmp_path, learnt):
    second = train(learnt / "model", tmp_path / "second", epochs=1, learning_rate=1e-6, evaluations=1)
    looks = [row for row in read_jsonl(tmp_path / "second" / LOG_FILE) if "eval_dev_f1" in row]
    assert looks[0]["eval_dev_f1_with_null"] == 1.0  # its head is not drawn anew
    assert second.is_dir()


def test_word_embeddings_stay_where_they_are_frozen(tmp_path, tiny_reranker_folder):
    model = train(tiny_reranker_folder, tmp_path / "run", epochs=1, freeze_embeddings=True)
    name = "bert.embeddings.word_embeddings.weight"
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_reranker_folder, model))
    assert torch.equal(before[name], after[name])
    layer = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(before[layer], after[layer])


def test_a_folder_of_another_run_is_refused_and_a_finished_one_left(tmp_path, tiny_reranker_folder):
    model = train(tiny_reranker_folder, tmp_path / "run", epochs=1)
    before = (model / "model.safetensors").stat().st_mtime_ns
    train(tiny_reranker_folder, tmp_path / "run", epochs=1)
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunMismatchError, match=r"\(recipe\.batch_size: 4 there, 5 now\)"):
        train(tiny_reranker_folder, tmp_path / "run", epochs=1, batch_size=5)
    with pytest.raises(RunMismatchError, match=r"\(dev: \S+ there, \S+ now\)"):
        train(tiny_reranker_folder, tmp_path / "run", epochs=1, dev=replace(DEV, rows=DEV.rows[:4]))


def test_a_run_that_diverges_at_once_leaves_no_model(tmp_path, tiny_reranker_folder):
    with pytest.raises(ModelError, match=r"diverged.*training\.reader\.learning_rate"):
        train(tiny_reranker_folder, tmp_path / "run", learning_rate=1e30, warmup_steps=0)
    assert not (tmp_path / "run" / "model").exists()


def test_a_model_without_token_types_is_refused_before_anything_is_written(tmp_path, tiny_generator_folder):
    with pytest.raises(ModelError, match="starts from a BERT"):
        train(tiny_generator_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class MarksGraz(torch.nn.Module):
    """Marks one word; where it is not in the window, null lies 10 logits above any other word."""

    device = torch.device("cpu")

    def __init__(self, word):
        super().__init__()
        self.word = word

    def forward(self, input_ids, **others):
        logits = torch.where(input_ids == self.word, 10.0, 0.0)
        logits[:, 0] = 5.0
        return SimpleNamespace(start_logits=logits, end_logits=logits)


def test_a_long_passage_is_read_in_windows(tiny_reranker_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_reranker_folder)
    long = Passage("p", " ".join(["the river in 1874 was red"] * 12 + ["the old lake in Graz was built"]), "Bread")
    rows = [JudgedRow("q", " ".join(["who"] * 30), long), JudgedRow("r", "who", Passage("s", "the river"))]
    read = read_rows(MarksGraz(tokenizer.convert_tokens_to_ids("graz")), tokenizer, rows, 24)
    assert (read[0].text, read[0].margin) == ("Graz", 10.0)
    assert read[1].margin == -10.0


KILLED_IN_ITS_SECOND_EPOCH = """
import os, signal, sys
from pathlib import Path
from rag.train.telemetry import Telemetry
from tests.train.test_reader import train

def killed(self, args, state, control, **kwargs):
    if state.global_step == 9:
        os.kill(os.getpid(), signal.SIGKILL)

Telemetry.on_step_end = killed
train(sys.argv[1], Path(sys.argv[2]), epochs=2, evaluations=3, dropout=0.1)
"""


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(tmp_path, tiny_reranker_folder):
    # 24 rows in batches of 4: an epoch of 6 steps, a checkpoint at 4, 8 and 12, killed at 9
    changes = {"epochs": 2, "evaluations": 3, "dropout": 0.1}
    whole = train(tiny_reranker_folder, tmp_path / "whole", **changes)
    command = [sys.executable, "-c", KILLED_IN_ITS_SECOND_EPOCH, tiny_reranker_folder, tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr[-4000:]
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {path.name for path in checkpoints.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    model = train(tiny_reranker_folder, tmp_path / "run", **changes)
    log = read_jsonl(tmp_path / "run" / LOG_FILE)
    assert [row["step"] for row in log if "loss" in row] == list(range(1, 13))
    losses = [row["loss"] for row in read_jsonl(tmp_path / "whole" / LOG_FILE) if "loss" in row]
    assert [row["loss"] for row in log if "loss" in row] == pytest.approx(losses, abs=1e-3)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, model))
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
