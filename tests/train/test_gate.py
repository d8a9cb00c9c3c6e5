"""A tuned model meets the one that serves, is averaged, promoted and taken back, on tiny models."""

import dataclasses
import json
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from rag.build import parts
from rag.build.indexes import make_index
from rag.build.serving import Serving, serving_over
from rag.data.labelled import load_examples
from rag.errors import ConfigError, DataError, IndexMismatchError, ModelError, RunMismatchError
from rag.evaluate.verdict import KEEP_BASE, PROMOTE
from rag.index.calibration import CALIBRATION_FILE
from rag.index.folder import serving_manifest
from rag.index.read import open_index
from rag.models.promoted import all_promoted, go_back, promote, what_serves
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.resume import read_jsonl
from rag.train import tune
from rag.train.files import TrainingFiles
from rag.train.gate import gate_reranker, watched_ids
from rag.train.meet import average_models, gate_model
from rag.train.promote import promote_model
from rag.train.table import training_table
from rag.types import Hit, Passage
from tests.fakes.tiny import make_tiny_encoder
from tests.fakes.training import mined, quick, rows, with_training


def test_a_gate_takes_over_the_scores_of_the_same_base_on_the_same_candidates(data, monkeypatch):
    settings, folder = quick(data[0]), data[1]
    files, index = TrainingFiles(folder / "train.txt", folder / "dev.txt"), folder / "index"
    first = tune.tune_reranker(serving_over(settings, index), files, folder / "first", "report-2")
    labels = []
    plain = CrossEncoderReranker.rerank
    monkeypatch.setattr(
        CrossEncoderReranker,
        "rerank",
        lambda self, queries, candidates, label="": (
            labels.append(label) or plain(self, queries, candidates, label=label)
        ),
    )
    again = tune.tune_reranker(
        serving_over(settings, index), files, folder / "again", "report-2", reuse=[folder / "first"]
    )
    assert labels == ["Reranking (tuned)"]
    assert again["metrics"]["mrr@10"] == first["metrics"]["mrr@10"]
    deeper = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"depth": 1})})
    tune.tune_reranker(serving_over(deeper, index), files, folder / "deeper", "report-2", reuse=[folder / "first"])
    assert labels[1:] == ["Reranking (base)", "Reranking (tuned)"]
    with pytest.raises(ConfigError, match="holds no verdict"):
        tune.tune_reranker(serving_over(settings, index), files, folder / "none", "report-2", reuse=[folder])


class Scorer:
    """A reranker that scores by rule; the tuned one and the base differ in what the rule makes of gold."""

    def __init__(self, weights, score):
        self.weights_sha256, self._score = weights, score

    def rerank(self, queries, candidates, *, label=""):
        scored = [
            [Hit(hit.passage, self._score(query, hit.passage, place)) for place, hit in enumerate(hits)]
            for query, hits in zip(queries, candidates, strict=True)
        ]
        return [sorted(hits, key=lambda hit: (-hit.score, hit.passage.id)) for hits in scored]


def is_gold(query, passage):
    return query.rpartition(" ")[2] == passage.text.split()[1]


def good(query, passage, place):
    return float(is_gold(query, passage)) + zlib.crc32(f"{query} {passage.id}".encode()) % 7 / 4


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (lambda query, passage, place: float(is_gold(query, passage)) + 1, PROMOTE),
        (good, KEEP_BASE),
        (lambda query, passage, place: -good(query, passage, place), KEEP_BASE),
        (lambda query, passage, place: 0.0, KEEP_BASE),
        (lambda query, passage, place: float("nan"), KEEP_BASE),
    ],
    ids=["better", "copy", "inverted", "constant", "not a number"],
)
def test_the_gate_lets_only_the_better_scorer_through(data, monkeypatch, score, verdict):
    settings, folder = data
    index = open_index(folder / "index")
    held_out = list(load_examples(folder / "train.txt", index.corpus).examples)
    candidates = [[Hit(index.corpus[(n + step) % 30], 1.0 + step / 10) for step in (-1, -2, 0, -3)] for n in range(22)]
    found = list(zip(held_out, candidates, strict=True))
    scorers = iter([Scorer("base", good), Scorer("tuned", score)])
    monkeypatch.setattr(Serving, "load_reranker", lambda self: next(scorers))
    (folder / "run").mkdir()
    record = gate_reranker(serving_over(settings, folder / "index"), index, folder / "run", folder / "model", found)
    assert record["verdict"] == verdict


def test_a_constant_scorer_does_not_win_by_how_passages_are_called(data, monkeypatch):
    settings, folder = data
    corpus = open_index(folder / "index").corpus
    held_out = list(load_examples(folder / "train.txt", corpus).examples)
    named_last = {example.positives[0]: [f"x{n}@0" for n in range(9)] for example in held_out}
    found = [
        (example, [Hit(corpus.by_id(pid), 1.0), *(Hit(Passage(other, "the other"), 0.5) for other in named_last[pid])])
        for example in held_out
        for pid in example.positives
    ]

    def poor(query, passage, place):
        return -2.0 if is_gold(query, passage) else float(place)

    scorers = iter([Scorer("base", poor), Scorer("tuned", lambda query, passage, place: 0.0)])
    monkeypatch.setattr(Serving, "load_reranker", lambda self: next(scorers))
    (folder / "run").mkdir()
    record = gate_reranker(
        serving_over(settings, folder / "index"), open_index(folder / "index"), folder / "run", folder / "model", found
    )
    assert record["metrics"]["mrr@10"]["tuned"] == pytest.approx(1 / 10)
    assert record["verdict"] == KEEP_BASE


def test_an_encoder_that_puts_all_in_one_place_is_kept_out(data, tiny_encoder_folder):
    settings, folder = data
    constant = shutil.copytree(tiny_encoder_folder, folder / "constant")
    weights = load_file(constant / "model.safetensors")
    last = [name for name in weights if "layer.1.output.LayerNorm" in name]
    weights |= {name: torch.full_like(weights[name], float(name.endswith("bias"))) for name in last}
    save_file(weights, constant / "model.safetensors", metadata={"format": "pt"})
    record = gate_model(serving_over(settings, folder / "index"), constant, folder / "train.txt", folder / "met")
    assert record["metrics"]["mrr@10"]["tuned"] == 0.0
    assert record["verdict"] == KEEP_BASE
    copied = gate_model(
        serving_over(settings, folder / "index"), tiny_encoder_folder, folder / "train.txt", folder / "copied"
    )
    assert copied["metrics"]["mrr@10"]["difference"] == 0.0
    assert copied["verdict"] == KEEP_BASE


def test_scores_that_are_no_numbers_do_not_live_on_the_retrievers_order(data, monkeypatch):
    settings, folder = data
    index = open_index(folder / "index")
    held_out = list(load_examples(folder / "train.txt", index.corpus).examples)
    candidates = [[Hit(index.corpus[(n + step) % 30], 2.0 - step / 10) for step in range(4)] for n in range(22)]
    found = list(zip(held_out, candidates, strict=True))

    def inverted(query, passage, place):
        return -float(is_gold(query, passage))

    scorers = iter([Scorer("base", inverted), Scorer("tuned", lambda query, passage, place: float("nan"))])
    monkeypatch.setattr(Serving, "load_reranker", lambda self: next(scorers))
    (folder / "run").mkdir()
    record = gate_reranker(serving_over(settings, folder / "index"), index, folder / "run", folder / "model", found)
    assert record["metrics"]["mrr@10"]["tuned"] == 0.0
    assert record["verdict"] == KEEP_BASE


def test_both_retrievers_meet_in_an_index_of_the_same_kind(data):
    settings, folder = data
    of_vectors = settings.model_copy(update={"index": settings.index.model_copy(update={"factory": "HNSW8"})})
    make_index(of_vectors, folder / "corpus.txt", folder / "hnsw")
    files = dataclasses.replace(mined(settings, folder), sample=4)
    tune.tune_retriever(serving_over(settings, folder / "hnsw"), files, folder / "run", "mined")
    assert open_index(folder / "run" / "index").manifest.factory == "HNSW8"


def test_what_is_promoted_for_a_promoted_folder_serves_for_both(monkeypatch, tmp_path):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    promote("base", "first")
    promote("first", second)  # the same folder by another path
    assert what_serves("base") == what_serves(str(first)) == str(second)
    promote(str(second), first)  # and in a circle: it ends
    assert what_serves("base") in (str(first), str(second))
    assert go_back("second") == str(second)
    assert go_back(str(first)) == str(first) == what_serves("base")


def test_a_verdict_on_other_weights_is_not_applied(data):
    settings, folder = quick(data[0]), data[1]
    files, index = TrainingFiles(folder / "train.txt", folder / "dev.txt"), folder / "index"
    for name in ("first", "second"):
        record = tune.tune_reranker(serving_over(settings, index), files, folder / name, "report-2")
        (folder / name / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}), "utf-8")
    assert "calibrate again" in promote_model(folder / "first")
    assert "already serves" in promote_model(folder / "first")
    assert all_promoted() == {settings.reranker.model: [str((folder / "first" / "model").resolve())]}
    with pytest.raises(ConfigError, match="has met another model than the one that serves now"):
        promote_model(folder / "second")
    go_back(settings.reranker.model)
    weights = folder / "second" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="has changed since"):
        promote_model(folder / "second")


def test_the_average_of_two_runs_meets_the_model_that_serves(data, capsys):
    settings, folder = quick(data[0]), data[1]
    files, index = TrainingFiles(folder / "train.txt", folder / "dev.txt"), folder / "index"
    runs = [folder / name for name in ("first", "second")]
    for seed, run in enumerate(runs):
        chosen = with_training(settings, ["reranker"], seed=seed)
        tune.tune_reranker(serving_over(chosen, index), files, run, "report-2")
    record = average_models(serving_over(settings, index), runs, folder / "dev.txt", folder / "mean", reuse=runs[:1])
    assert record["role"] == "reranker"
    assert json.loads((folder / "mean" / "gate.json").read_text()) == record
    assert record["n_dev"] == len(watched_ids(folder / "mean")) == 4  # what chose the runs' checkpoints proves nothing
    first, second, mean = (load_file(run / "model" / "model.safetensors") for run in (*runs, folder / "mean"))
    changed = [name for name in first if not torch.equal(first[name], second[name])]
    assert changed
    for name in first:
        assert torch.allclose(mean[name], (first[name] + second[name]) / 2)
    assert len(CrossEncoderReranker(folder / "mean" / "model").score([("a", "b")])) == 1
    again = average_models(serving_over(settings, index), runs, folder / "dev.txt", folder / "mean")
    assert again["tuned_fingerprint"] == record["tuned_fingerprint"]
    (folder / "all.txt").write_text(rows(range(30)), "utf-8")  # with what the runs have learnt by heart
    record = average_models(serving_over(settings, index), runs, folder / "all.txt", folder / "mean")
    assert record["n_dev"] == 4
    assert "22 questions of" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"have judged no question of .*train\.txt in common"):
        average_models(serving_over(settings, index), runs, folder / "train.txt", folder / "mean")


def test_what_cannot_be_averaged_is_told(data, tiny_encoder_folder, tmp_path):
    settings, folder = quick(data[0]), data[1]
    files, index = TrainingFiles(folder / "train.txt", folder / "dev.txt"), folder / "index"
    run, other = folder / "first", folder / "other"
    tune.tune_reranker(serving_over(settings, index), files, run, "report-2")
    serving = serving_over(settings, index)
    arguments = (folder / "dev.txt", folder / "mean")
    with pytest.raises(ConfigError, match="two models or more"):
        average_models(serving, [run], *arguments)
    assert not (folder / "mean").exists()
    shutil.copytree(run, other)
    shutil.rmtree(other / "model")
    shutil.copytree(tiny_encoder_folder, other / "model")
    with pytest.raises(ModelError, match=r"names or shapes|has no"):
        average_models(serving, [run, other], *arguments)
    for path in (other / "model").rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="another format than safetensors"):
        average_models(serving, [other, run], *arguments)
    assert not (folder / "mean").exists()
    (other / "gate.json").write_text(json.dumps({**json.loads((other / "gate.json").read_text()), "role": "retriever"}))
    with pytest.raises(ConfigError, match=r"of the same kind; these are .*first \(reranker\), .*other \(retriever\)"):
        average_models(serving, [run, other], *arguments)


def test_a_model_from_elsewhere_meets_the_one_that_serves(data, capsys):
    settings, folder = data
    files, index = TrainingFiles(folder / "train.txt", folder / "dev.txt"), folder / "index"
    run, met = folder / "run", folder / "met"
    assert tune.tune_reranker(serving_over(settings, index), files, run, "report-2", with_gate=False) is None
    record = gate_model(serving_over(settings, index), run, folder / "dev.txt", met)
    assert record["role"] == "reranker"
    assert record == json.loads((met / "gate.json").read_text("utf-8"))
    judged = {row["qid"] for row in read_jsonl(met / "gate-questions.jsonl")}
    assert len(judged) == record["n_dev"] == 4
    assert "4 questions of" in capsys.readouterr().err  # those by which the run was watched
    assert len(watched_ids(met)) == len(watched_ids(run / "checkpoints" / "checkpoint-1")) == 4
    assert not judged & watched_ids(met)
    assert "| met | gate |" in "\n".join(training_table([met]))
    assert gate_model(serving_over(settings, index), run / "model", folder / "dev.txt", met) == record
    shutil.copytree(run / "model", folder / "bare")  # of which nobody knows by what it was chosen
    for other in (settings.reranker.model, folder / "bare"):
        with pytest.raises(RunMismatchError, match="was made otherwise"):
            gate_model(serving_over(settings, index), other, folder / "dev.txt", met)
    (met / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}), "utf-8")
    shutil.rmtree(run)  # what met is what serves
    promote_model(met)
    assert what_serves(settings.reranker.model) == str(met / "model")
    promote(str(met / "model"), shutil.copytree(met / "model", folder / "later"))  # what would be judged now
    with pytest.raises(ConfigError, match=r"serves in the place of .*, which cannot be judged"):
        gate_model(serving_over(settings, index), met, folder / "dev.txt", met)


def test_the_serving_model_does_not_beat_itself(data):
    settings, folder = data
    for role, model in (("reranker", settings.reranker.model), ("retriever", settings.encoder.model)):
        record = gate_model(serving_over(settings, folder / "index"), model, folder / "dev.txt", folder / role)
        assert (record["role"], record["verdict"], record["n_dev"]) == (role, KEEP_BASE, 8)
        assert record["metrics"]["mrr@10"]["difference"] == 0


def test_a_retriever_without_prompts_is_kept_with_those_it_met_with(data, tmp_path):
    settings, folder = data
    shutil.copytree(settings.encoder.model, tmp_path / "elsewhere")
    written = tmp_path / "elsewhere" / "config_sentence_transformers.json"
    written.write_text(json.dumps({**json.loads(written.read_text("utf-8")), "prompts": {}}), "utf-8")
    weights = tmp_path / "elsewhere" / "model.safetensors"
    save_file({name: value + 0.01 for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    written.chmod(0o444)
    for training_state in ("checkpoint-9", ".git"):
        (tmp_path / "elsewhere" / training_state).mkdir()
        (tmp_path / "elsewhere" / training_state / "model.safetensors").write_bytes(b"large")
    for path in (tmp_path / "elsewhere").rglob("*"):
        if path.is_dir():
            path.chmod(0o555)
    index = folder / "index"
    arguments = (folder / "dev.txt", folder / "met")
    prompts = {"query_prompt": "ask: ", "passage_prompt": "read: "}
    chosen = settings.model_copy(update={"encoder": settings.encoder.model_copy(update=prompts)})
    record = gate_model(serving_over(chosen, index), tmp_path / "elsewhere", *arguments)
    (folder / "met" / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}), "utf-8")
    promote_model(folder / "met")
    assert parts.make_encoder(settings).prompts == {"query": "ask: ", "passage": "read: "}
    go_back(settings.encoder.model)
    corrected = chosen.encoder.model_copy(update={"query_prompt": "question: "})
    serving = serving_over(chosen.model_copy(update={"encoder": corrected}), index)
    with pytest.raises(RunMismatchError, match=r"\(gate\..* there, .* now\)"):
        gate_model(serving, tmp_path / "elsewhere", *arguments)


def test_what_cannot_meet_the_serving_model_is_told(data, monkeypatch):
    settings, folder = data
    monkeypatch.setenv("RAG_HOME", str(folder / "bare"))  # a compiled graph would stand in for weights that do not load
    dev, index, target = folder / "dev.txt", folder / "index", folder / "met"
    plain = shutil.copytree(settings.encoder.model, folder / "plain")
    (plain / "modules.json").unlink()
    with pytest.raises(ModelError, match="not a sentence-transformers checkpoint"):
        gate_model(serving_over(settings, index), plain, dev, target)
    with pytest.raises(DataError, match="named as the test set"):
        gate_model(serving_over(settings, index), settings.reranker.model, folder / "test_open.txt", target)
    with pytest.raises(ModelError, match="is not available"):
        gate_model(serving_over(settings, index), folder / "gone", dev, target)
    without = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigError, match=r"leave reranker\.enabled = true"):
        gate_model(serving_over(without, index), settings.reranker.model, dev, target)
    with pytest.raises(ConfigError, match="within the model's own folder"):
        gate_model(serving_over(settings, index), settings.reranker.model, dev, Path(settings.reranker.model) / "met")
    three = AutoModelForSequenceClassification.from_pretrained(
        settings.reranker.model, num_labels=3, ignore_mismatched_sizes=True
    )
    three.save_pretrained(shutil.copytree(settings.reranker.model, folder / "three"))
    with pytest.raises(ModelError, match="3 labels"):
        gate_model(serving_over(settings, index), folder / "three", dev, target)
    for name, change, sentence in (
        ("config", {"hidden_size": 8}, "cannot be read"),
        ("causal", {"architectures": ["Qwen3ForCausalLM"]}, "is a language model that writes"),
    ):
        odd = shutil.copytree(settings.reranker.model, folder / name)
        stored = json.loads((odd / "config.json").read_text("utf-8"))
        (odd / "config.json").write_text(json.dumps(stored | change), "utf-8")
        (odd / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}', "utf-8")
        with pytest.raises(ModelError, match=sentence):
            gate_model(serving_over(settings, index), odd, dev, target)
    (odd / "config.json").write_text("[1", "utf-8")
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        gate_model(serving_over(settings, index), odd, dev, target)
    (odd / "training.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigError, match="has not finished"):
        gate_model(serving_over(settings, index), odd, dev, target)
    other = str(make_tiny_encoder(folder / "other", seed=1))  # by which the index was not made
    changed = settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"model": other})})
    with pytest.raises(IndexMismatchError):
        gate_model(serving_over(changed, index), settings.encoder.model, dev, target)
    assert not target.exists()


def test_a_calibration_does_not_outlive_a_promotion(data, tmp_path):
    settings, folder = data
    _, manifest = serving_manifest(folder / "index")
    point = {"threshold": 1.5, "precision": 1.0, "recall": 1.0, "wrong_refusals": 0.0}
    calibration = {"reranker_model": settings.reranker.model, "serving": settings.reranker.model}
    calibration |= {"index": manifest.fingerprint, "threshold": 1.5, "curve": [point]}
    (folder / "index" / CALIBRATION_FILE).write_text(json.dumps(calibration), "utf-8")
    assert serving_over(settings, folder / "index").rerank_threshold == 1.5
    (tmp_path / "tuned").mkdir()
    promote(settings.reranker.model, tmp_path / "tuned")
    assert serving_over(settings, folder / "index").rerank_threshold is None


def test_a_promotion_whose_folder_is_gone_says_how_to_go_back(monkeypatch, tmp_path):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    (tmp_path / "promoted.json").write_text(json.dumps({"base": [str(tmp_path / "gone")]}))
    with pytest.raises(ModelError, match="rag promote --back base"):
        what_serves("base")
    assert go_back("base") == "base"
    with pytest.raises(ModelError, match="nothing is promoted"):
        go_back("base")
