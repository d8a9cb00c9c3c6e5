"""The shell scripts: which options reach which command. `rag` is a stand-in that records how it was called."""

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rag.evaluate.verdict import GATE_FILE, KEEP_BASE, PROMOTE
from rag.files import write_json

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
STAND_IN = """#!/usr/bin/env bash
printf '%s|' "$@" >> "$CALLS"
echo >> "$CALLS"
"""
SETTINGS = ["--set", "encoder.query_prompt=query: ", "--config", "my.toml"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("corpus.txt", "train.txt", "dev.txt", "test_open.txt", "qrels.txt"):
        (folder / name).touch()
    return folder


@pytest.fixture
def call(tmp_path):
    """Run a script beside the stand-in; returns the finished process and the arguments of each call of `rag`."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    rag = tmp_path / ".venv" / "bin" / "rag"
    rag.parent.mkdir(parents=True)
    rag.write_text(STAND_IN)
    rag.chmod(0o755)
    calls = tmp_path / "calls"

    def call(name, *arguments, **environment):
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", tmp_path / "scripts" / name, *map(str, arguments)],
            env={**os.environ, "CALLS": str(calls), **environment},
            capture_output=True,
            text=True,
        )
        lines = calls.read_text().splitlines() if calls.is_file() else []
        return done, [line.split("|")[:-1] for line in lines]

    return call


def holds(arguments, wanted):
    return any(arguments[n : n + len(wanted)] == wanted for n in range(len(arguments)))


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_a_script_is_valid_bash(script):
    assert subprocess.run(["bash", "-n", SCRIPTS / script]).returncode == 0


def test_settings_reach_every_command_of_a_batch_and_other_options_the_batch_alone(call, data, tmp_path):
    done, calls = call(
        "batch_inference.sh", data, tmp_path / "run", *SETTINGS, "--no-generate", "--set=reranker.depth=5"
    )
    assert done.returncode == 0, done.stderr
    assert [arguments[0] for arguments in calls] == ["index", "calibrate", "batch", "evaluate"]
    assert all(holds(arguments, [*SETTINGS, "--set=reranker.depth=5"]) for arguments in calls)
    assert [arguments[0] for arguments in calls if "--no-generate" in arguments] == ["batch"]


def test_options_of_the_environment_are_split_in_the_same_way(call, data, tmp_path):
    _, calls = call("batch_inference.sh", data, tmp_path / "run", OPTIONS="--set reranker.depth=5 --reuse other")
    assert all(holds(arguments, ["--set", "reranker.depth=5"]) for arguments in calls)
    assert [arguments[0] for arguments in calls if "--reuse" in arguments] == ["batch"]


def test_a_setting_without_a_value_is_refused(call, data, tmp_path):
    done, calls = call("batch_inference.sh", data, tmp_path / "run", "--set")
    assert (done.returncode, calls) == (2, [])
    assert done.stderr == "--set needs a value, as in --set reranker.depth=20\n"


def test_a_batch_without_dev_questions_is_not_calibrated(call, data, tmp_path):
    (data / "dev.txt").unlink()
    done, calls = call("batch_inference.sh", data, tmp_path / "run")
    assert [arguments[0] for arguments in calls] == ["index", "batch", "evaluate"]
    assert "refusals are not calibrated" in done.stderr


@pytest.mark.parametrize("has_dev", [True, False])
def test_settings_reach_every_command_of_a_training(call, data, tmp_path, has_dev):
    if not has_dev:
        (data / "dev.txt").unlink()
    done, calls = call("train.sh", "reranker", data, tmp_path / "run", *SETTINGS, "--recipe", "abstain")
    assert done.returncode == 0, done.stderr
    assert [arguments[0] for arguments in calls] == ["index", "mine", "train"]
    assert all(holds(arguments, SETTINGS) for arguments in calls)
    assert [holds(arguments, ["--recipe", "abstain"]) for arguments in calls] == [False, False, True]
    assert holds(calls[-1], ["--dev", str(data / "dev.txt")]) == has_dev


@pytest.mark.parametrize(("verdict", "is_told"), [(PROMOTE, True), (KEEP_BASE, False), ("", False)])
def test_serving_is_offered_only_after_the_gate_has_said_so(call, data, tmp_path, verdict, is_told):
    if verdict:
        (tmp_path / "run").mkdir()
        write_json(tmp_path / "run" / GATE_FILE, {"verdict": verdict, "reasons": []})
    done, _ = call("train.sh", "retriever", data, tmp_path / "run")
    assert ("promote" in done.stdout) == is_told


def test_a_retriever_for_another_domain_is_searched_with_the_settings_and_itself(call, data, tmp_path):
    done, calls = call("train_lasttoken.sh", data, tmp_path / "run", data, *SETTINGS, "--sample", "60")
    assert done.returncode == 0, done.stderr
    assert all(holds(arguments, SETTINGS) for arguments in calls)
    assert [arguments[0] for arguments in calls if "--sample" in arguments] == ["train"]
    batches = [arguments for arguments in calls if arguments[0] == "batch"]
    assert [f"encoder.model={tmp_path / 'run' / 'model'}" in arguments for arguments in batches] == [True, False]


CORPUS = [{"_id": "p1", "title": "Rye", "text": ""}, {"_id": "p2", "title": "", "text": "A river."}]
QUERIES = [{"_id": "q1", "text": "rye?"}, {"_id": "q2", "text": "river?"}, {"_id": "q3", "text": "bread?"}]
JUDGED = {"train": ("q1", "p1"), "dev": ("q2", "p2"), "test": ("q3", "p2")}


@pytest.fixture
def beir(tmp_path):
    """A BEIR folder with three splits of one question each."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for split, (qid, pid) in JUDGED.items():
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qid}\t{pid}\t1\n", "utf-8")
    return folder


def test_a_beir_folder_trains_a_retriever_and_another_tests_it(call, beir, tmp_path):
    done, calls = call("train_lasttoken.sh", beir, tmp_path / "run", beir)
    assert done.returncode == 0, done.stderr
    assert [arguments[0] for arguments in calls] == ["index", "mine", "train", *["index", "batch", "evaluate"] * 2]
    assert calls[0][1] == str(beir / "corpus.jsonl")
    assert calls[1][1] == str(beir)
    assert calls[2][1:3] == ["retriever", str(beir)]
    assert holds(calls[2], ["--dev", str(beir)])
    # Of the other domain, only what its test split judges is asked.
    asked = Path(calls[4][1])
    assert [json.loads(line)["_id"] for line in asked.read_text("utf-8").splitlines()] == ["q3"]
    assert holds(calls[5], ["--qrels", str(beir / "qrels" / "test.tsv"), "--queries", str(asked)])


def test_a_packed_beir_folder_without_dev_questions_trains_too(call, beir, tmp_path):
    (beir / "qrels" / "dev.tsv").unlink()
    for path in [*beir.glob("*.jsonl"), *beir.glob("qrels/*.tsv")]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    done, calls = call("train_lasttoken.sh", beir, tmp_path / "run", beir)
    assert done.returncode == 0, done.stderr
    assert not holds(calls[2], ["--dev"])


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("corpus.jsonl", None, r"corpus\.jsonl is missing; the layout of BEIR: docs/train\.md"),
        ("queries.jsonl", None, r"queries\.jsonl is missing"),
        ("qrels/train.tsv", None, r"train\.tsv is missing"),
        ("corpus.jsonl", "", r"corpus\.jsonl is empty"),
        ("corpus.jsonl", '{"_id": "p1", "title": ""}\n', r"corpus\.jsonl, line 1: no text or title"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, r"line 2: the id 'q1' stands twice"),
        ("queries.jsonl", "who is it\n", r"queries\.jsonl, line 1: not valid JSON"),
        ("qrels/train.tsv", "query-id\tcorpus-id\tscore\n", r"train\.tsv judges no passage to answer a question"),
        ("qrels/train.tsv", "q1\tp1\t0\n", r"train\.tsv judges no passage to answer a question"),
        ("qrels/train.tsv", "q9\tp1\t1\n", r"line 1: question 'q9' is not in queries\.jsonl"),
        ("qrels/dev.tsv", "q2\tp9\t1\n", r"dev\.tsv, line 1: passage 'p9' is not in corpus\.jsonl"),
        ("qrels/dev.tsv", "q1\tp1\t1\n", r"dev\.tsv: question 'q1' is judged in train too"),
        ("qrels/dev.tsv", "q2 and p2\n", r"dev\.tsv, line 1: not a judgement"),
        ("qrels/train.tsv", b"\x1f\x8b\x08\x00", r"train\.tsv cannot be read"),
    ],
)
def test_a_beir_folder_that_does_not_match_is_told_before_hours_of_work(call, beir, tmp_path, file, content, says):
    path = beir / file
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done, calls = call("train_lasttoken.sh", beir, tmp_path / "run", beir)
    assert (done.returncode, calls) == (1, [])
    assert re.search(says, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["corpus.txt", "train.txt", "qrels.txt"])
def test_a_course_folder_that_lacks_a_file_is_told_before_hours_of_work(call, data, tmp_path, name):
    (data / name).unlink()
    done, calls = call("train_lasttoken.sh", data, tmp_path / "run", data)
    assert (done.returncode, calls) == (1, [])
    assert done.stderr.startswith(f"{data / name} is missing; ")


@pytest.mark.parametrize("script", ["reproduce.sh", "repair_study.sh"])
def test_experiments_without_dev_questions_are_refused_at_once(call, data, tmp_path, script):
    (data / "dev.txt").unlink()
    done, calls = call(script, data, tmp_path / "index", tmp_path / "out")
    assert (done.returncode, calls) == (1, [])
    assert done.stderr == f"{data / 'dev.txt'} is missing; the course layout and how to make a dev.txt: docs/train.md\n"
