"""From files to a tuned model, the gate's verdict and a promotion, on tiny models."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from rag.build import parts
from rag.build import written as writing
from rag.build.chosen_prompt import max_new_tokens_of
from rag.build.identity import prompt_of_run, run_identity
from rag.build.indexes import corpus_of, make_index
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.data.labelled import Example
from rag.data.questions import Question
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.evaluate.verdict import KEEP_BASE, PROMOTE
from rag.index.read import open_index
from rag.models.promoted import all_promoted, go_back, what_serves
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.resume import read_jsonl
from rag.retrieve.encoder import Encoder
from rag.runs.calibrate import make_calibration
from rag.train import prepare_reranker, retriever_losses
from rag.train import promote as gating
from rag.train.files import TrainingFiles, choose_watched, sample_examples
from rag.train.gate import watched_ids
from rag.train.mine import mine_negatives
from rag.train.negatives import MiningSettings, load_mined
from rag.train.telemetry import warnings_of
from rag.train.tune import tune_reranker, tune_retriever
from rag.types import CANNOTANSWER
from tests.fakes.tiny import make_tiny_encoder, write_corpus
from tests.fakes.training import FAST, NOUNS, PASSAGES, mined, quick, rows, unanswerable_rows, with_training


@pytest.mark.usefixtures("curves", "compiled")
def test_a_retriever_is_mined_for_trained_gated_and_promoted(data):
    settings, folder = data
    files = mined(settings, folder)
    record = tune_retriever(serving_over(settings, folder / "index"), files, folder / "run", "mined")
    assert record == json.loads((folder / "run" / "gate.json").read_text("utf-8"))
    assert (record["verdict"] == PROMOTE) == (not record["reasons"])
    assert record["n_dev"] == 4
    watched = watched_ids(folder / "run")
    assert not {row["qid"] for row in read_jsonl(folder / "run" / "gate-questions.jsonl")} & watched
    assert len(watched) == 4
    assert record["shuffle_floor"] == pytest.approx(sum(1 / rank for rank in range(1, 11)) / 30)
    assert record["base_fingerprint"]["weights_sha256"] != record["tuned_fingerprint"]["weights_sha256"]
    log = read_jsonl(folder / "run" / "log.jsonl")
    assert json.loads((folder / "run" / "warnings.json").read_text("utf-8")) == warnings_of(log)
    # Whatever it said: only PROMOTE may be applied.
    (folder / "run" / "gate.json").write_text(json.dumps({**record, "verdict": KEEP_BASE, "reasons": ["worse"]}))
    with pytest.raises(ConfigError, match="KEEP BASE: worse"):
        gating.promote_model(folder / "run")
    (folder / "run" / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}))
    assert "Index again" in gating.promote_model(folder / "run")
    base = settings.encoder.model
    assert what_serves(base) == str(folder / "run" / "model")
    tuned = parts.make_encoder(settings)
    assert tuned.fingerprint.weights_sha256 == record["tuned_fingerprint"]["weights_sha256"]
    assert go_back(base) == base
    assert all_promoted() == {}


def test_documents_without_questions_are_asked_about_and_trained_on(data, monkeypatch):
    settings, folder = data
    long = [
        dataclasses.replace(p, text=f"{p.text}, and " + "so on " * 10, title=NOUNS[n]) for n, p in enumerate(PASSAGES)
    ]
    make_index(settings, write_corpus(folder / "long.txt", long), folder / "long")

    class Asks:
        def generate(self, conversations):
            return [f"who built the {conversation[-1]['content'].splitlines()[0]}?" for conversation in conversations]

    given = []
    monkeypatch.setattr(writing, "generator_identity", lambda settings: "asks")
    monkeypatch.setattr(parts, "make_generator", lambda settings, interactive: given.append(settings) or Asks())
    written = writing.write_training_questions(
        serving_over(settings, folder / "long"), folder / "written.txt", sample=24
    )
    assert (written.n_passages, written.n_questions) == (24, 24)
    assert given[0].generator.max_new_tokens < max_new_tokens_of(settings)
    files, index = TrainingFiles(folder / "written.txt"), folder / "long"
    for tuned, recipe in ((tune_retriever, "report"), (tune_reranker, "report-1")):
        with pytest.raises(DataError, match="written by a model"):  # which proves nothing
            tuned(serving_over(settings, index), files, folder / "run", recipe)
    asked = (folder / "dev.txt").read_text("utf-8")
    for short, passage in zip(PASSAGES, long, strict=True):
        asked = asked.replace(json.dumps(short.text), json.dumps(passage.text))
    (folder / "dev.txt").write_text(asked, "utf-8")
    files = TrainingFiles(folder / "written.txt", folder / "dev.txt")
    assert tune_retriever(serving_over(quick(settings), index), files, folder / "run", "report")["n_dev"] == 4


@pytest.mark.usefixtures("curves", "compiled")
def test_a_reranker_is_trained_and_gated_on_the_same_candidates(data):
    settings, folder = data
    record = tune_reranker(serving_over(settings, folder / "index"), mined(settings, folder), folder / "run", "distill")
    assert record["role"] == "reranker"
    assert 0 < record["shuffle_floor"] < 1
    assert record["metrics"]["mrr@10"]["n"] == 4
    assert (folder / "run" / "model" / "model.safetensors").is_file()
    cost = json.loads((folder / "run" / "cost.json").read_text("utf-8"))
    assert cost["n_questions"] == 22
    assert cost["seconds"] > 0


def test_a_second_round_is_trained_on_what_the_first_finds_hard(data, monkeypatch):
    settings, folder = data
    files = mined(settings, folder, scorer="reranker")
    found = load_mined(files.negatives, open_index(folder / "index").corpus)
    hard = [one for one in found.values() if not one.is_easy(0.0)]
    assert 0 < len(hard) < len(found)
    groups = []
    plain = prepare_reranker.make_groups
    monkeypatch.setattr(prepare_reranker, "make_groups", lambda *given: groups.append(plain(*given)) or groups[-1])
    changes = {"hardest_first": True, "skip_easy": 0.0, "random_share": 0.0, "negatives": 2}
    chosen = with_training(settings, ["reranker"], **changes)
    tune_reranker(serving_over(chosen, folder / "index"), files, folder / "run", "lambda", with_gate=False)
    assert {group.query for group in groups[0]} == {one.query for one in hard}
    scores = {one.query: dict(one.negatives) for one in hard}
    for group in groups[0]:
        taken = [scores[group.query][pid] for pid in group.ids[1:]]
        assert taken == sorted(scores[group.query].values(), reverse=True)[:2]


def test_where_every_question_is_easy_training_is_refused(data):
    settings, folder = data
    files = mined(settings, folder, scorer="reranker")
    easy = with_training(settings, ["reranker"], skip_easy=-99.0)
    with pytest.raises(ConfigError, match="every question is easy"):
        tune_reranker(serving_over(easy, folder / "index"), files, folder / "run", "lambda")


def test_negatives_mined_for_other_labels_are_refused(data):
    settings, folder = data
    mined(settings, folder)
    lines = (folder / "train.txt").read_text("utf-8").splitlines()
    row = json.loads(lines[5])
    lines[5] = json.dumps({**row, "retrieval_labels": [1, 1]})
    (folder / "train.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(RunMismatchError, match=r"\(questions: \S+ there, \S+ now\)"):
        mined(settings, folder)


def test_any_encoder_guides_a_retriever_however_wide_its_vectors_are(data, tmp_path, monkeypatch):
    settings, folder = quick(data[0]), data[1]
    files, index = mined(settings, folder), folder / "index"
    given = []
    plain = retriever_losses.PairTable
    monkeypatch.setattr(
        retriever_losses, "PairTable", lambda *table: given.append((table[0], table[2])) or plain(*table)
    )
    wide = make_tiny_encoder(tmp_path / "wide", seed=5, width=48)
    guided = with_training(settings, ["retriever"], guide=str(wide))
    tune_retriever(serving_over(settings, index), files, folder / "own", "mined", with_gate=False)
    tune_retriever(serving_over(guided, index), files, folder / "guided", "mined", with_gate=False)
    (_, own), (columns, other) = given
    assert (own.queries.shape[1], other.queries.shape[1], other.passages.shape) == (32, 48, (30, 48))
    used = sorted({int(row) for row in columns.ravel()})
    corpus = open_index(index).corpus
    encoder = Encoder(wide)
    fresh, _ = encoder.encode_passages([corpus[row].content for row in used])
    assert other.passages[used] == pytest.approx(fresh, abs=1e-5)
    made_of = [json.loads((folder / run / "training.json").read_text("utf-8")) for run in ("own", "guided")]
    assert made_of[1]["guide"] == encoder.fingerprint.weights_sha256 != made_of[0]["guide"]
    with pytest.raises(RunMismatchError, match="guide"):
        tune_retriever(serving_over(settings, index), files, folder / "guided", "mined", with_gate=False)
    del made_of[0]["recipe"]["guide"]  # a run begun before a guide could be named goes on
    (folder / "own" / "training.json").write_text(json.dumps(made_of[0]), "utf-8")
    tune_retriever(serving_over(settings, index), files, folder / "own", "mined", with_gate=False)


def test_the_base_judges_its_pairs_once_for_soft_labels(data, monkeypatch):
    settings, folder = data
    files, index = mined(settings, folder), folder / "index"
    tune_reranker(serving_over(settings, index), files, folder / "run", "distill", with_gate=False)
    monkeypatch.setattr(CrossEncoderReranker, "score", lambda *given, **options: pytest.fail("scored again"))
    tune_reranker(serving_over(settings, index), files, folder / "run", "distill", with_gate=False)


def test_calibrating_again_with_other_settings_replaces_the_run_of_the_first(data):
    settings, folder = data
    questions = [Question("1", "q", f"who built the {NOUNS[0]}", NOUNS[0]), Question("2", "q", "when", CANNOTANSWER)]
    deeper = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"depth": 3})})
    kept = []
    for each in (settings, settings, deeper):
        limits = {"min_precision": 0.5, "max_wrong_refusals": 0.15}
        make_calibration(serving_over(each, folder / "index"), "dev.txt", questions, None, **limits)
        kept.append([path.name for path in (folder / "index").glob("calibration-run*")])
    assert [len(names) for names in kept] == [1, 1, 1]
    assert kept[0] == kept[1] != kept[2]


def test_a_run_is_made_of_demonstrations_only_where_there_are_any(data):
    settings, folder = data
    plain = run_identity(serving_over(settings, folder / "index"), "questions.txt", generate=False)
    assert not {"demonstrations", "n_demonstrations", "min_likeness"} & plain["settings"]["prompt"].keys()
    assert prompt_of_run(plain).demonstrations is None
    prompt = settings.prompt.model_copy(update={"demonstrations": str(folder / "train.txt"), "n_demonstrations": 2})
    demonstrating = settings.model_copy(update={"prompt": prompt})
    shown = run_identity(serving_over(demonstrating, folder / "index"), "q", generate=False)
    assert shown["prompt_sha256"] != plain["prompt_sha256"]
    assert prompt_of_run(shown).demonstrations.n == 2
    (folder / "train.txt").unlink()
    assert prompt_of_run(shown) is None


def test_unknown_scorers_and_retrievers_are_told(data):
    settings, folder = data
    serving = serving_over(settings, folder / "index")
    arguments = (serving, folder / "train.txt", folder / "negatives.jsonl", MiningSettings())
    with pytest.raises(ConfigError, match="'cross-encoder' is unknown; choose one of encoder, reranker, none"):
        mine_negatives(*arguments, scorer="cross-encoder")
    with pytest.raises(ConfigError, match="no retriever is called 'BM25'"):
        mine_negatives(*arguments, retrievers=["BM25"])


def test_what_cannot_end_well_is_refused_before_training(data):
    settings, folder = data
    index, run = folder / "index", folder / "run"
    files = mined(settings, folder)
    with pytest.raises(ConfigError, match="--scorer reranker"):
        tune_retriever(serving_over(settings, index), files, run, "distill")
    for changes in ({"hardest_first": True}, {"skip_easy": 3.0}):
        hard = with_training(settings, ["reranker"], **changes)
        with pytest.raises(ConfigError, match="--scorer reranker"):
            tune_reranker(serving_over(hard, index), files, run, "lambda")
    hard = with_training(settings, ["reranker"], hardest_first=True, negatives_from="evidences")
    with pytest.raises(ConfigError, match="takes no mined negatives"):
        tune_reranker(serving_over(hard, index), files, run, "lambda")
    off = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigError, match=r"leave reranker\.enabled"):
        tune_reranker(serving_over(off, index), files, run, "lambda")
    by_loss = with_training(settings, ["reranker"], select="loss")
    with pytest.raises(ConfigError, match="choose select = mrr"):
        tune_reranker(serving_over(by_loss, index), files, run, "lambda")
    assert not run.exists()


@pytest.mark.parametrize(
    ("tuned", "recipe", "changes"),
    [
        ("retriever", "margin", "mini_batch_size=4"),
        ("retriever", "mined", "contrastive_share=0.5"),
        ("retriever", "report", "guide_margin=0.1"),
        ("retriever", "margin", "guide=larger"),
        ("reranker", "lambda", "positive_weight=2"),
        ("reranker", "report-1", "random_share=0.5"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(data, tuned, recipe, changes):
    _, folder = data
    odd = load_settings(overrides=[f"training.{tuned}.{changes}"])
    tuning = tune_retriever if tuned == "retriever" else tune_reranker
    with pytest.raises(
        ConfigError, match=f"training.{tuned}.{changes.partition('=')[0]} changes nothing in the recipe"
    ):
        tuning(serving_over(odd, folder / "index"), TrainingFiles(folder / "train.txt"), folder / "run", recipe)


def test_no_margin_is_measured_without_scores(data):
    settings, folder = data
    with pytest.raises(ConfigError, match="no scores to measure a margin by"):
        mine_negatives(
            serving_over(settings, folder / "index"),
            folder / "train.txt",
            folder / "negatives.jsonl",
            MiningSettings(margin=0.95),
            scorer="none",
        )


def test_negatives_of_other_questions_with_the_same_ids_are_refused(data):
    settings, folder = data
    files = mined(settings, folder)
    train = folder / "train.txt"
    train.write_text(train.read_text("utf-8").replace("who built", "who painted"), "utf-8")
    for tuning, recipe in ((tune_retriever, "mined"), (tune_reranker, "lambda")):
        with pytest.raises(DataError, match="was mined for another question 'q0'"):
            tuning(serving_over(settings, folder / "index"), files, folder / "run", recipe)


def test_what_chose_the_model_to_start_from_does_not_judge_the_next(data):
    settings, folder = quick(data[0]), data[1]
    files = mined(settings, folder)
    fewer = with_training(settings, ["retriever"], dev_questions=2)
    tune_retriever(serving_over(settings, folder / "index"), files, folder / "first", "mined", with_gate=False)
    first = watched_ids(folder / "first")
    assert len(first) == 4
    base = str(folder / "first" / "model")
    tune_retriever(serving_over(fewer, folder / "index"), files, folder / "second", "mined", base=base)
    judged = {row["qid"] for row in read_jsonl(folder / "second" / "gate-questions.jsonl")}
    assert first <= watched_ids(folder / "second")
    assert judged
    assert not judged & first


def test_a_sample_is_drawn_from_what_was_mined(data):
    settings, folder = data
    files = mined(settings, folder, sample=9)
    corpus = open_index(folder / "index").corpus
    there = set(load_mined(files.negatives, corpus))
    assert len(there) == 9
    training, _ = dataclasses.replace(files, sample=5).splits(corpus)
    assert len(training) == 5
    assert {example.question.id for example in training} <= there
    assert len(dataclasses.replace(files, sample=20, negatives=None).splits(corpus)[0]) == 20


def test_a_source_can_be_left_out_of_training(data):
    _, folder = data
    lines = [json.loads(line) for line in rows(range(22)).splitlines()]
    with (folder / "train.txt").open("w", encoding="utf-8") as stream:
        stream.writelines(
            json.dumps({**row, "source": "nq" if n < 6 else "squad"}) + "\n" for n, row in enumerate(lines)
        )
    corpus = open_index(folder / "index").corpus
    dev = folder / "dev.txt"
    training, held_out = TrainingFiles(folder / "train.txt", dev, without=("nq",)).splits(corpus)
    assert {example.question.source for example in training} == {"squad"}
    assert (len(training), len(held_out)) == (16, 8)
    with pytest.raises(DataError, match="'news'; its sources: nq, squad"):
        TrainingFiles(folder / "train.txt", dev, without=("news",)).splits(corpus)
    with pytest.raises(DataError, match="no question of another source"):
        TrainingFiles(folder / "train.txt", dev, without=("nq", "squad")).splits(corpus)


def test_a_source_that_is_left_out_of_training_chooses_no_checkpoint():
    dev = [Example(Question(f"q{n}", "", f"q {n}", source="nq" if n % 2 else "squad"), ("d@0",)) for n in range(12)]
    watched, judged = choose_watched(dev, 6, ("nq",))
    assert {example.question.source for example in watched} == {"squad"}
    assert len(watched) + len(judged) == 12
    assert {example.question.source for example in judged} == {"nq", "squad"}
    with pytest.raises(DataError, match="two answerable questions of sources that are trained on"):
        choose_watched(dev, 6, ("nq", "squad"))


def test_what_is_named_as_the_test_set_is_neither_mined_nor_trained_on(data):
    settings, folder = data
    shutil.copy(folder / "train.txt", folder / "test_open.txt")
    with pytest.raises(DataError, match="is named as the test set"):
        TrainingFiles(folder / "test_open.txt", folder / "dev.txt").splits(open_index(folder / "index").corpus)
    with pytest.raises(DataError, match="is named as the test set"):
        mine_negatives(
            serving_over(settings, folder / "index"),
            folder / "test_open.txt",
            folder / "mined.jsonl",
            MiningSettings(per_question=2),
        )


def test_a_setting_of_the_other_model_is_refused(data):
    _, folder = data
    odd = load_settings(overrides=["training.loss=lambda"])
    with pytest.raises(ConfigError, match="one of contrastive, kl, margin_mse"):
        tune_retriever(
            serving_over(odd, folder / "index"), TrainingFiles(folder / "train.txt"), folder / "run", "report"
        )


@pytest.mark.parametrize(("model", "recipe"), [("retriever", "mined"), ("reranker", "hybrid")])
def test_several_processes_train_one_model(data, model, recipe):
    settings, folder = data
    files = mined(settings, folder)
    chosen = [f"encoder.model={settings.encoder.model}", f"reranker.model={settings.reranker.model}", *FAST]
    chosen += [
        f"training.{model}.{setting}" for setting in ("batch_size=2", "epochs=1", "evaluations=1", "negatives=2")
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "rag", "train", model]
    result = subprocess.run(
        [*launch, files.train, "-i", folder / "index", "-o", folder / "run", "--recipe", recipe]
        + ["--dev", files.dev, "--negatives", files.negatives, "--no-gate"]
        + [part for setting in chosen for part in ("--set", setting)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert (folder / "run" / "model" / "model.safetensors").is_file()
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in log] == sorted(row["step"] for row in log)
    # 22 questions in batches of 2 on two processes: 5 or 6 steps, not 11
    assert 4 <= max(row["step"] for row in log) <= 6


def test_without_dev_documents_are_held_out(data):
    settings, folder = data
    files = TrainingFiles(folder / "train.txt")
    assert (
        tune_reranker(serving_over(settings, folder / "index"), files, folder / "run", "report-2", with_gate=False)
        is None
    )
    training, held_out = files.splits(open_index(folder / "index").corpus)
    assert len(training) + len(held_out) == 22
    assert 1 <= len(held_out) <= 4


def test_bad_input_is_told(data):
    settings, folder = data
    (folder / "test_open.txt").write_text(rows(range(22, 30)), "utf-8")
    index, run = folder / "index", folder / "run"
    with pytest.raises(DataError, match="choose on dev"):
        tune_retriever(
            serving_over(settings, index), TrainingFiles(folder / "train.txt", folder / "test_open.txt"), run, "mined"
        )
    with pytest.raises(DataError, match="choose on dev"):
        tune_retriever(serving_over(settings, index), TrainingFiles(folder / "test_open.txt"), run, "mined")
    with pytest.raises(DataError, match="stand in"):
        tune_retriever(
            serving_over(settings, index), TrainingFiles(folder / "train.txt", folder / "train.txt"), run, "mined"
        )
    with pytest.raises(ConfigError, match="no recipe is called 'best'; choose one of report, mined"):
        tune_retriever(serving_over(settings, index), TrainingFiles(folder / "train.txt"), run, "best")
    odd = load_settings(overrides=["training.temperature=0.1"])
    with pytest.raises(ConfigError, match="has no setting training"):
        tune_reranker(serving_over(odd, index), TrainingFiles(folder / "train.txt"), run, "lambda")
    with pytest.raises(ConfigError, match="holds no verdict"):
        gating.promote_model(folder)


def test_a_reranker_learns_from_unanswerable_questions_and_the_gate_says_how_well_it_tells_them(data):
    settings, folder = data
    for name, numbers in (("train", range(10)), ("dev", range(24, 28))):
        with (folder / f"{name}.txt").open("a", encoding="utf-8") as stream:
            stream.write(unanswerable_rows(numbers))
    files = mined(settings, folder)
    record = tune_reranker(serving_over(settings, folder / "index"), files, folder / "run", "abstain")
    assert (record["refusals"]["n_answerable"], record["refusals"]["n_unanswerable"]) == (4, 2)
    assert record["metrics"]["mrr@10"]["n"] == record["n_dev"] == 4
    assert len(watched_ids(folder / "run")) == 4 + 2
    assert len(record["unanswerable"]) == 2
    assert not set(record["unanswerable"]) & watched_ids(folder / "run")
    cost = json.loads((folder / "run" / "cost.json").read_text("utf-8"))
    assert cost["n_questions"] == 32
    wanted = load_settings(overrides=["training.reranker.unanswerable=true"]).training
    settings = settings.model_copy(update={"training": wanted})
    with pytest.raises(ConfigError, match="learns nothing from unanswerable"):
        tune_reranker(serving_over(settings, folder / "index"), files, folder / "other", "lambda")


def test_unanswerable_questions_about_held_out_documents_are_held_out_too(data):
    _, folder = data
    with (folder / "train.txt").open("a", encoding="utf-8") as stream:
        stream.write(unanswerable_rows(range(22)))
    corpus = corpus_of(folder / "index")
    training, held_out = TrainingFiles(folder / "train.txt").splits(corpus, with_unanswerable=True)
    gold = {pid for example in held_out for pid in example.positives}
    assert gold
    held_out_unanswerable = [example for example in held_out if not example.positives]
    assert held_out_unanswerable
    assert all(gold & set(example.negatives) for example in held_out_unanswerable)
    assert not any(gold & set(example.negatives) for example in training if not example.positives)
    assert len(training) + len(held_out) == 44
    without, _ = TrainingFiles(folder / "train.txt").splits(corpus)
    assert all(example.positives for example in without)


def test_a_sample_for_mining_is_the_sample_for_training_with_its_share_of_unanswerable_questions():
    answerable = [Example(Question(f"q{n}", "", f"q {n}", source=f"s{n % 3}"), ("d@0",)) for n in range(60)]
    unanswerable = [Example(Question(f"u{n}", "", f"u {n}", "CANNOTANSWER"), ()) for n in range(20)]
    alone = {example.question.id for example in sample_examples(answerable, 15)}
    mixed = sample_examples([*answerable, *unanswerable], 15)
    assert {example.question.id for example in mixed if example.positives} == alone
    assert len(mixed) == 15 + 5
    assert len(sample_examples([*answerable, *unanswerable], 500)) == 80
