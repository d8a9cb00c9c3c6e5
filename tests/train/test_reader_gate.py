"""A tuned span reader meets the one that serves, is promoted and taken back, on tiny models."""

import json
import zlib

import pytest

from rag.build import parts
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.data.labelled import load_examples
from rag.errors import ConfigError, DataError
from rag.evaluate.verdict import KEEP_BASE, PROMOTE
from rag.files import write_json
from rag.index.read import open_index
from rag.models.promoted import go_back, what_serves
from rag.resume import read_jsonl
from rag.train import gate_reader as gating
from rag.train.files import TrainingFiles
from rag.train.gate import watched_ids
from rag.train.gate_reader import gate_reader
from rag.train.meet import average_models, gate_model, role_of
from rag.train.promote import promote_model
from rag.train.table import training_table
from rag.train.tune import tune_reader
from rag.types import ReadSpan
from tests.fakes.training import NOUNS, PASSAGES, mined, rows, unanswerable_rows, with_training

NOBODY = "tests/no-reader"


@pytest.fixture
def settings(data):
    """Settings in which no reader serves, and a short training."""
    reader = data[0].reader.model_copy(update={"model": NOBODY})
    quick = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "warmup_steps": 1, "evaluations": 1}
    return with_training(data[0].model_copy(update={"reader": reader}), ["reader"], **quick)


def serving(settings, folder):
    return serving_over(settings, folder / "index")


def make_folder(folder):
    folder.mkdir(parents=True)
    return folder


class Rule:
    """A reader by rule: whether it marks the word that a question ends with, and with which margin."""

    def __init__(self, name, finds, margin):
        self.weights_sha256, self._finds, self._margin = name, finds, margin

    def read(self, queries, contexts, *, label=""):
        return [[self._one(query, passage) for passage in own] for query, own in zip(queries, contexts, strict=True)]

    def _one(self, query, passage):
        word = query.rpartition(" ")[2]
        at = passage.text.find(word) if self._finds(query) else -1
        start, end = (at, at + len(word)) if at >= 0 else (0, 3)
        return ReadSpan(start, end, self._margin(query, passage, word in passage.text), 0.0)


def some(query, passage=None):
    return zlib.crc32(f"{query} {passage and passage.id}".encode()) % 5


def best():
    return Rule("best", lambda query: True, lambda query, passage, holds: 2.0 * holds)


def middling():
    """Marks most words, and has a vague idea of which passages hold them."""
    return Rule("base", lambda query: some(query) > 1, lambda query, passage, holds: holds + some(query, passage) / 2)


@pytest.mark.parametrize(
    ("tuned", "base", "verdict", "reason"),
    [
        (best(), middling(), PROMOTE, None),
        (middling(), middling(), KEEP_BASE, "does not lie above zero"),
        (Rule("no", lambda query: False, lambda query, passage, holds: 9.0), middling(), KEEP_BASE, "f1 falls"),
        (
            Rule("deaf", lambda query: True, lambda query, passage, holds: 0.0),
            Rule("mute", lambda query: False, lambda query, passage, holds: 2.0 * holds),
            KEEP_BASE,
            "separating passages without the answer by their margin falls",
        ),
        (
            Rule("nan", lambda query: True, lambda query, passage, holds: float("nan")),
            middling(),
            KEEP_BASE,
            "no better than null everywhere",
        ),
        (best(), None, PROMOTE, None),
        (Rule("null", lambda query: False, lambda query, passage, holds: -9.0), None, KEEP_BASE, "null everywhere"),
    ],
    ids=["better", "equal", "worse", "refuses worse", "not a number", "where none serves", "null where none serves"],
)
def test_the_gate_lets_only_the_better_reader_through(data, settings, monkeypatch, tuned, base, verdict, reason):
    folder = data[1]
    held_out = list(load_examples(folder / "train.txt", open_index(folder / "index").corpus).examples)
    monkeypatch.setattr(gating, "serving_reader", lambda serving: base)
    monkeypatch.setattr(parts, "reader_of", lambda settings, model: tuned)
    write_json(make_folder(folder / "run" / "model") / "config.json", {})
    record = gate_reader(serving(settings, folder), folder / "run", folder / "run" / "model", held_out)
    assert record["verdict"] == verdict, record["reasons"]
    assert reason is None or any(reason in own for own in record["reasons"]), record["reasons"]
    # Each question has a passage that holds its answer, and one that does not: null is right in half of them. But for
    # one, "who built the built": every passage holds its word.
    assert record["shuffle_floor"] == pytest.approx(21 * 0.5 / 22)
    assert record["metrics"]["f1"]["n"] == record["n_dev"] == 22
    assert (record["refusals"]["n_answerable"], record["refusals"]["n_unanswerable"]) == (22, 21)
    questions = read_jsonl(folder / "run" / "gate-questions.jsonl")
    assert [row["qid"] for row in questions] == [example.question.id for example in held_out]


def test_unanswerable_questions_judge_by_null_alone(data, settings, monkeypatch):
    folder = data[1]
    with (folder / "train.txt").open("a", encoding="utf-8") as stream:
        stream.write(unanswerable_rows(range(6)))
    given = load_examples(folder / "train.txt", open_index(folder / "index").corpus)
    best = Rule("best", lambda query: True, lambda query, passage, holds: 2.0 * (holds and "twice" not in query))
    monkeypatch.setattr(gating, "serving_reader", lambda serving: None)
    monkeypatch.setattr(parts, "reader_of", lambda settings, model: best)
    write_json(make_folder(folder / "run" / "model") / "config.json", {})
    held_out = [*given.examples, *given.unanswerable]
    record = gate_reader(serving(settings, folder), folder / "run", folder / "run" / "model", held_out)
    assert record["unanswerable"] == [f"uq{n}" for n in range(6)]
    assert record["metrics"]["f1_with_null"]["n"] == 28
    assert record["metrics"]["f1_with_null"]["tuned"] == 1.0
    assert record["metrics"]["f1"]["n"] == 22
    rows_of = {row["qid"]: row for row in read_jsonl(folder / "run" / "gate-questions.jsonl")}
    assert rows_of["uq0"]["tuned"] == {"f1_with_null": 1.0, "f1": None}
    assert rows_of["uq0"]["base"] == {"f1_with_null": 1.0, "f1": None}
    assert rows_of["q0"]["base"] == {"f1_with_null": 0.5, "f1": 0.0}


def test_a_reader_is_trained_gated_promoted_averaged_and_taken_back(data, settings, capsys):
    folder, run = data[1], data[1] / "run"
    for name, numbers in (("train", range(10)), ("dev", range(24, 28))):
        with (folder / f"{name}.txt").open("a", encoding="utf-8") as stream:
            stream.write(unanswerable_rows(numbers))
    files = mined(settings, folder)
    record = tune_reader(serving(settings, folder), files, run, "span")
    assert "22 passages with their answers, 22 null rows" in capsys.readouterr().err
    assert record == json.loads((run / "gate.json").read_text("utf-8"))
    assert (record["role"], record["base"], record["base_fingerprint"]) == ("reader", NOBODY, None)
    judged = {row["qid"] for row in read_jsonl(run / "gate-questions.jsonl")}
    assert len(judged) == 4 + 2
    assert len(watched_ids(run)) == 4 + 2
    assert not judged & watched_ids(run)
    # Whatever it said: only PROMOTE may be applied.
    (run / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE, "reasons": []}))
    assert "calibrate again" in promote_model(run)
    assert what_serves(NOBODY) == str(run / "model")
    # From now on this is what another reader meets, and its copy is none the better.
    again = gate_model(serving(settings, folder), run, folder / "dev.txt", folder / "met")
    assert again["verdict"] == KEEP_BASE
    assert again["base_fingerprint"] == again["tuned_fingerprint"] == record["tuned_fingerprint"]
    assert {row["qid"] for row in read_jsonl(folder / "met" / "gate-questions.jsonl")} == judged
    assert again["metrics"]["f1_with_null"]["difference"] == 0.0
    # A run that has met nobody may not serve where somebody serves.
    assert go_back(NOBODY) == NOBODY
    other = tune_reader(serving(with_training(settings, ["reader"], seed=1), folder), files, folder / "other", "span")
    (run / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE, "reasons": []}))
    (folder / "other" / "gate.json").write_text(json.dumps({**other, "verdict": PROMOTE, "reasons": []}))
    promote_model(run)
    with pytest.raises(ConfigError, match="has met another model than the one that serves now"):
        promote_model(folder / "other")
    mean = average_models(serving(settings, folder), [run, folder / "other"], folder / "dev.txt", folder / "mean")
    assert (mean["role"], mean["n_dev"]) == ("reader", 6)
    assert role_of(folder / "mean" / "model") == "reader"
    table = "\n".join(training_table([run, folder / "other"]))
    assert "f1_with_null" in table
    assert "null everywhere" in table


def test_what_cannot_end_well_is_refused_before_training(data, settings):
    folder, run = data[1], data[1] / "run"
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    mixed = with_training(settings, ["reader"], tuned_share=0.5)
    with pytest.raises(
        ConfigError, match=r"training\.reader\.tuned_share mixes the reader.* name a reader with --base"
    ):
        tune_reader(serving(mixed, folder), files, run, "span")
    off = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigError, match="--base"):
        tune_reader(serving(off, folder), files, run, "span")
    with pytest.raises(ConfigError, match="no recipe is called 'best'; choose one of span"):
        tune_reader(serving(settings, folder), files, run, "best")
    lines = [json.loads(line) for line in rows(range(22, 30)).splitlines()]
    for line in lines:
        line["answer"] = {"text": "nowhere at all"}
    (folder / "dev.txt").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with pytest.raises(DataError, match="name other questions with --dev"):
        tune_reader(serving(settings, folder), mined(settings, folder), run, "span")
    assert not run.exists()


def test_evidences_labelled_0_that_hold_the_answer_leave_nothing_to_give_null_on(data, settings):
    folder = data[1]
    # of passage n + 1, which is labelled 0 for question n, every text holds the noun of n
    assert all(NOUNS[n] in PASSAGES[n + 1].text for n in range(22))
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    with pytest.raises(ConfigError, match=r"rag mine.*training\.reader\.null_share = 0"):
        tune_reader(serving(settings, folder), files, folder / "run", "span")


@pytest.mark.parametrize("old", ["epochs = 1", "skip_easy = 2.5\nloss = 'lambda'"])
def test_keys_of_before_there_were_kinds_leave_the_reader_alone(tmp_path, old):
    (tmp_path / "old.toml").write_text(f"[training]\n{old}\n")
    training = load_settings(tmp_path / "old.toml").training
    assert training.overrides("reader") == {}
    (tmp_path / "new.toml").write_text(f"[training]\n{old}\nreader.null_share = 0.3\n")
    assert load_settings(tmp_path / "new.toml").training.overrides("reader") == {"null_share": 0.3}


@pytest.mark.parametrize("override", ["null_share=1", "negatives=3", "loss=lambda"])
def test_settings_that_are_not_the_readers_are_refused(override):
    with pytest.raises(ConfigError, match=r"training\.reader"):
        load_settings(overrides=[f"training.reader.{override}"])
