"""Damage to what is no index: runs, caches, conversations, users, checkpoints; full disks, locks left behind."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag import files
from rag.cli import main as command_line
from rag.compute.kept import CHECKED, is_whole, note_files
from rag.data.passages import Corpus
from rag.errors import ConfigError, DataError, IndexMismatchError, ModelError, RagError, RunMismatchError
from rag.evaluate.files import read_predictions
from rag.files import is_unbroken, only_writer, read_json, room_for, sealed, write_json, write_whole
from rag.index.calibration import CALIBRATION_FILE, read_calibration, write_calibration
from rag.models.cache import RECORD, cached_model, make_once, model_folder
from rag.models.promoted import all_promoted, promote, what_serves
from rag.resume import read_jsonl, resume_jsonl
from rag.runs.cost import StageCost
from rag.runs.stored import COST_FILE, GENERATED, PREDICTIONS, RERANKED, RETRIEVED, RUN_FILE
from rag.serve.history import DamagedStore, History, open_history
from rag.serve.stored_turns import DAMAGED
from rag.serve.users import Users
from rag.train.checkpoints import last_checkpoint
from rag.train.gate import watched_ids
from rag.train.negatives import load_mined
from rag.types import Passage
from tests.fakes.conversations import turn
from tests.fakes.damage import flipped
from tests.runs.test_batch import predict

NO_JSON = (b"", b"{", b"[]", b"7", b"\xff\xfe\x00", b'"text"', b"[" * 200_000, b'{"a": 1' + b"0" * 5000 + b"}")


def rows_of(path):
    return {json.loads(line)["qid"]: json.loads(line) for line in path.read_bytes().splitlines()}


def without_seconds(rows):
    return {qid: {key: value for key, value in row.items() if key != "seconds"} for qid, row in rows.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    predict(folder)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it whose last file is not there yet."""
    copy = Path(shutil.copytree(whole, tmp_path / "run"))
    (copy / PREDICTIONS).unlink()
    return copy


# -- sealed JSON and files ---------------------------------------------------------------------------------------------


def test_a_seal_breaks_with_any_change_and_not_with_another_layout():
    stored = json.loads(json.dumps(sealed({"b": (1, 2.5), "a": {"x": None}}), indent=4))
    assert is_unbroken(stored)
    assert is_unbroken({"never": "sealed"})
    for change in ({"b": [1, 2.6]}, {"a": {}}, {"c": 1}):
        assert not is_unbroken({**stored, **change})
    assert not is_unbroken({key: stored[key] for key in ("b", "sha256")})


@pytest.mark.parametrize("content", NO_JSON)
def test_what_is_no_json_object_is_named_with_the_way_out(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.json is damaged \(.*\); do this$"):
        read_json(tmp_path / "a.json", DataError, fix="do this", default={})


def test_a_folder_in_the_place_of_a_file_is_no_missing_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match=r"a\.json cannot be read \(Is a directory\); do this"):
        read_json(tmp_path / "a.json", DataError, fix="do this", default={})
    assert read_json(tmp_path / "b.json", DataError, default={}) == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_write_that_finds_no_room_keeps_the_old_file_and_leaves_no_half(tmp_path, monkeypatch, number):
    write_whole(tmp_path / "a", "old")
    write = Path.write_bytes

    def fills(path, content):
        write(path, content[:2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fills)
    said = rf"^{tmp_path}/a could not be written \(.*\); all is as it was: make room"
    with pytest.raises(DataError, match=said), room_for(tmp_path, "all is as it was"):
        write_whole(tmp_path / "a", "new and longer")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_not_a_full_disk_is_passed_on(tmp_path):
    for error in (PermissionError(errno.EACCES, "Permission denied", "a"), OSError(errno.EIO, "Input/output error")):
        with pytest.raises(type(error)) as told, room_for(tmp_path, "as it was"):
            raise error
        assert told.value is error


def test_the_command_says_what_to_do_about_a_full_disk(monkeypatch, capsys):
    def fails():
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/run.json")

    monkeypatch.setattr(command_line, "app", fails)
    with pytest.raises(SystemExit):
        command_line.main()
    said = capsys.readouterr().err
    assert said.startswith("rag: /somewhere/run.json could not be written (No space left on device); ")
    assert said.endswith("make room, and run the same command again\n")


@pytest.mark.parametrize("holder", [b"\xff\xff", b"", b"no number", None])
def test_a_lock_names_another_process_though_its_note_is_damaged(tmp_path, holder):
    with only_writer(tmp_path, DataError):
        if holder is None:
            (tmp_path / ".lock-holder").unlink()
        else:
            (tmp_path / ".lock-holder").write_bytes(holder)
        with pytest.raises(DataError, match=r"^another process is writing"), only_writer(tmp_path, DataError):
            pytest.fail("two at once")


def test_a_killed_writer_leaves_no_lock(tmp_path):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from rag.files import only_writer; from rag.errors import DataError\n"
        "with only_writer(Path(sys.argv[1]), DataError):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(DataError, match=f"process {process.pid} is writing"), only_writer(tmp_path, DataError):
            pytest.fail("two at once")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / ".lock").exists()
    with only_writer(tmp_path, DataError):
        assert (tmp_path / ".lock-holder").read_text() == str(os.getpid())


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", NO_JSON)
def test_a_damaged_run_json_refuses_with_a_command(run, content):
    (run / RUN_FILE).write_bytes(content)
    with pytest.raises(RunMismatchError, match=rf"run\.json is damaged .*: rm -r {run}"):
        predict(run)


@pytest.mark.parametrize("name", [RETRIEVED, RERANKED, GENERATED])
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.97])
def test_a_stage_cut_anywhere_is_finished(whole, run, name, cut):
    os.truncate(run / name, int(cut * (run / name).stat().st_size))
    predict(run)
    assert without_seconds(rows_of(run / PREDICTIONS)) == without_seconds(rows_of(whole / PREDICTIONS))


@pytest.mark.parametrize("name", [RETRIEVED, RERANKED, GENERATED])
@pytest.mark.parametrize("line", [b"\0\0\0\0", b"{", b"[]", b"7", b"null", b"\xff", b'{"no": "id"}', b'{"qid": 7}'])
def test_a_damaged_line_and_what_follows_are_made_again(whole, run, name, line, capsys):
    first, _, *rest = (run / name).read_bytes().splitlines(keepends=True)
    (run / name).write_bytes(b"".join([first, line + b"\n", *rest]))
    predict(run)
    assert f"{run / name}, line 2 is damaged: it and all behind it are made again" in capsys.readouterr().err
    assert without_seconds(rows_of(run / PREDICTIONS)) == without_seconds(rows_of(whole / PREDICTIONS))


def test_who_only_reads_takes_no_part_for_the_whole(run):
    first, _, *rest = (run / RERANKED).read_bytes().splitlines(keepends=True)
    (run / RERANKED).write_bytes(b"".join([first, b"{\n", *rest]))
    with pytest.raises(DataError, match=r"reranked\.jsonl, line 2 is damaged; .*: mv "):
        read_jsonl(run / RERANKED)
    (run / RERANKED).write_bytes(first + b"\0" * 9 + b"\n")  # as a crash of the machine leaves it
    assert len(read_jsonl(run / RERANKED)) == 1
    assert len(resume_jsonl(run / RERANKED)) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (RETRIEVED, {"retrieved": 7}),
        (RETRIEVED, {"retrieved": [["nobody", 1.0]]}),
        (RETRIEVED, {"retrieved": [[["x"], 1.0]]}),
        (RERANKED, {"reranked": [1]}),
        (RERANKED, {"seconds": None, "reranked": None}),
        (GENERATED, {"contexts": 1.5}),
    ],
)
def test_a_row_of_other_types_is_named_with_its_file_and_question(run, name, change):
    rows = rows_of(run / name)
    qid = next(iter(rows))
    (run / name).write_text("".join(json.dumps({**row, **change}) + "\n" for row in rows.values()), "utf-8")
    with pytest.raises(DataError, match=rf"{run / name} holds a damaged row for the question {qid!r} .*: mv "):
        predict(run)


@pytest.mark.parametrize(
    "change",
    [
        {"reranked": 7},
        {"reranked": [["d1@0"]]},
        {"reranked": [["d1@0", "x"]]},
        {"retrieved": [[1, 2.0]]},
        {"seconds": []},
        {"qid": 7},
        {"contexts": [["d1@0"]]},
        {"citations": 7},
    ],
)
def test_a_prediction_of_other_types_is_named_by_its_line(whole, tmp_path, change):
    first, *rest = (whole / PREDICTIONS).read_text("utf-8").split("\n")
    lines = [json.dumps({**json.loads(first), **change}), *rest]
    (tmp_path / PREDICTIONS).write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError, match=r"predictions\.jsonl, line 1: not a prediction .*; run rag batch again"):
        read_predictions(tmp_path)
    assert len(read_predictions(whole)) == 11


def test_a_run_whose_rows_are_damaged_is_not_reused_and_named(whole, run, tmp_path):
    shutil.copyfile(whole / PREDICTIONS, run / PREDICTIONS)
    rows = rows_of(run / PREDICTIONS)
    damaged = (json.dumps({**row, "reranked": 7}) + "\n" for row in rows.values())
    (run / PREDICTIONS).write_text("".join(damaged), "utf-8")
    (run / RERANKED).unlink()
    with pytest.raises(DataError, match=r"predictions\.jsonl holds a damaged row .*rag batch"):
        predict(tmp_path / "next", reuse=[run])


@pytest.mark.parametrize(
    "content", [*NO_JSON[:6], b'{"stages": []}', b'{"stages": {"read": 7}}', b'{"stages": {"read": {"seconds": "x"}}}']
)
def test_a_damaged_cost_is_kept_aside_and_said(tmp_path, capsys, content):
    path = tmp_path / COST_FILE
    path.write_bytes(content)
    cost = StageCost(path)
    with cost.of("rerank"):
        pass
    assert capsys.readouterr().err.startswith(f"{path} is damaged; it is kept as {COST_FILE}.damaged")
    assert path.with_name(COST_FILE + ".damaged").read_bytes() == content
    assert json.loads(path.read_text())["stages"].keys() == {"rerank"}
    assert StageCost(path)._record["stages"].keys() == {"rerank"}


# -- calibrations ------------------------------------------------------------------------------------------------------

CURVE = [{"threshold": 1.0}, {"threshold": 2.0}]
EVIDENCE = {"features": ["rerank"], "mean": [0.0], "scale": [1.0], "weights": [1.0], "bias": 0.0, "reader": None}
GOOD = {"index": "ab", "reranker_model": "m", "threshold": 1.5, "curve": CURVE}


def test_a_calibration_that_was_flipped_anywhere_is_never_applied(tmp_path):
    path = write_calibration(tmp_path, {**GOOD, "evidence": {**EVIDENCE, "threshold": 0.5, "curve": CURVE}})
    wanted, content = read_calibration(tmp_path), path.read_bytes()
    assert wanted["threshold"] == 1.5
    n_refused = 0
    for at in range(len(content)):
        flipped(path, at, at % 7)
        found, said = wanted, ""
        try:
            found = read_calibration(tmp_path)
        except IndexMismatchError as error:
            said = str(error)
        # Where the name of the hash itself was hit, it stands there as an entry that nothing reads.
        assert {name: found.get(name) for name in wanted} == wanted
        assert not said or f"calibrate again: mv {path} {path}.damaged && rag calibrate" in said
        n_refused += bool(said)
        path.write_bytes(content)
    assert n_refused > 0.6 * len(content)


@pytest.mark.parametrize(
    "change",
    [
        {"index": 7},
        {"reranker_model": None},
        {"threshold": "high"},
        {"threshold": float("nan")},
        {"threshold": 10**400},
        {"curve": {}},
        {"curve": [1.0]},
        {"curve": [{"threshold": None}]},
        {"evidence": []},
        {"evidence": {**EVIDENCE, "threshold": 0.5, "curve": CURVE, "scale": [0.0]}},
        {"evidence": {**EVIDENCE, "threshold": 0.5, "curve": CURVE, "weights": [1.0, 2.0]}},
        {"evidence": {**EVIDENCE, "threshold": 0.5, "curve": CURVE, "bias": None}},
    ],
)
def test_a_calibration_of_wrong_types_is_refused_though_it_has_no_hash(tmp_path, change):
    write_json(tmp_path / CALIBRATION_FILE, GOOD)
    assert read_calibration(tmp_path) == GOOD
    write_json(tmp_path / CALIBRATION_FILE, {**GOOD, **change})
    with pytest.raises(IndexMismatchError, match=r"calibration\.json is damaged"):
        read_calibration(tmp_path)


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("content", [*NO_JSON, b'{"base": "folder"}', b'{"base": [7]}', b'{"base": {"0": "folder"}}'])
def test_damaged_promotions_are_named_and_set_aside_by_the_command(home, tmp_path, content):
    (tmp_path / "tuned").mkdir()
    promote("base", tmp_path / "tuned")
    path = home / "promoted.json"
    path.write_bytes(content)
    for call in (all_promoted, lambda: what_serves("base"), lambda: promote("base", tmp_path / "tuned")):
        with pytest.raises(ModelError, match=rf"promoted\.json is damaged .*: mv {path} {path}\.damaged$"):
            call()
    subprocess.run(["mv", path, f"{path}.damaged"], check=True)
    assert what_serves("base") == "base"


def make_model(work):
    (work / "model").mkdir()
    (work / "model" / "model.safetensors").write_bytes(bytes(range(200)))
    (work / "model" / "config.json").write_text('{"hidden_size": 32}', "utf-8")
    return work / "model", {"model": "a/b"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", RECORD, "files.json"])
@pytest.mark.parametrize("kind", ["flipped", "truncated", "emptied", "folder", "removed"])
def test_a_damaged_model_in_the_cache_is_made_again(home, name, kind, capsys):
    folder = make_once(home, "a/b", make_model, adapter="x")
    path, content = folder / name, (folder / name).read_bytes()
    if kind == "flipped":
        flipped(path, len(content) // 2, 1)
    elif kind in ("truncated", "emptied"):
        os.truncate(path, 0 if kind == "emptied" else len(content) // 2)
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()
    if (name, kind) == ("files.json", "removed"):  # as in a cache from before files were noted
        assert cached_model(home, "a/b", adapter="x") == folder
        return
    assert cached_model(home, "a/b", adapter="x") is None
    made = []
    assert make_once(home, "a/b", lambda work: made.append(1) or make_model(work), adapter="x") == folder
    assert made == [1]
    assert (folder / "model.safetensors").read_bytes() == bytes(range(200))
    assert cached_model(home, "a/b", adapter="x") == folder


def test_files_that_look_as_they_did_are_not_hashed_again(tmp_path, monkeypatch):
    (tmp_path / "weights.bin").write_bytes(b"weights")
    note_files(tmp_path)
    old = time.time() - 60
    os.utime(tmp_path / "weights.bin", (old, old))
    monkeypatch.setattr("rag.compute.kept.SETTLED_SECONDS", -1e9)  # its change of times a moment ago counts, too
    assert is_whole(tmp_path)
    assert (tmp_path / CHECKED).exists()
    monkeypatch.setattr("rag.compute.kept.file_sha256", lambda path: pytest.fail("hashed again"))
    assert is_whole(tmp_path)
    monkeypatch.undo()
    flipped(tmp_path / "weights.bin", 2, 2)
    assert not is_whole(tmp_path)


def test_a_file_in_the_place_of_a_model_is_replaced(home):
    model_folder(home, "a/b").parent.mkdir(parents=True)
    model_folder(home, "a/b").write_text("no folder", "utf-8")
    assert cached_model(home, "a/b") is None
    assert make_once(home, "a/b", make_model) == model_folder(home, "a/b")


# -- conversations and users -------------------------------------------------------------------------------------------


def kept(path):
    history = History(path)
    return history.keep("ada", "", [turn("when does it leave?"), turn("and back?")])


@pytest.mark.parametrize("kind", ["noise", "header", "middle", "truncated", "folder", "foreign", "no tables"])
def test_damaged_conversations_are_kept_aside_and_the_chat_starts(tmp_path, kind, capsys):
    path = tmp_path / "conversations" / "index.sqlite"
    kept(path)
    content = path.read_bytes()
    if kind == "noise":
        path.write_bytes(b"no database at all " * 300)
    elif kind == "header":
        flipped(path, 3, 1)
    elif kind == "middle":
        path.write_bytes(content[:4096] + b"\x55" * 4096 + content[8192:])
    elif kind == "truncated":
        os.truncate(path, len(content) // 2 + 100)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE others (id INTEGER)")
            if kind == "no tables":
                database.execute("PRAGMA user_version=2")
    damaged = None if kind == "folder" else path.read_bytes()
    with pytest.raises(DamagedStore, match=rf"move it away: mv {path} "):
        History(path)
    history = open_history(path)
    assert history.find("ada") == []
    assert history.keep("ada", "", [turn("a new one?")])
    said = capsys.readouterr().err
    assert "the conversations begin anew, and the damaged ones are kept in" in said
    (aside,) = path.parent.glob("index.sqlite.damaged-*")
    assert str(aside) in said
    assert damaged is None or aside.read_bytes() == damaged
    assert len(open_history(path).find("ada")) == 1


BODIES = ("", "{", "[]", "7", "{}", '{"contexts": 7}', '{"answer": 7, "contexts": [{}]}', "[" * 9999)


@pytest.mark.parametrize("body", BODIES)
def test_a_damaged_turn_says_so_and_hides_no_other(tmp_path, body):
    path = tmp_path / "c" / "index.sqlite"
    key = kept(path)
    History(path).judge("ada", key, 1, True)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE turns SET body = ? WHERE number = 1", (body,))
    history = History(path)
    first, second = history.load("ada", key)
    assert (first.question, first.error, first.done) == ("when does it leave?", DAMAGED, True)
    assert second.response.answer.text == "at noon"
    assert [one.id for one in history.find("ada", "noon")] == [key]
    assert [judged.turn.error for judged in history.judged()] == [DAMAGED]


def test_flipped_bytes_of_the_conversations_never_end_the_chat(tmp_path):
    path = tmp_path / "c" / "index.sqlite"
    kept(path)
    content = path.read_bytes()
    for seed in range(0, len(content), len(content) // 60):
        flipped(path, seed, seed % 8)
        said = "try again"
        try:
            history = open_history(path)
            for one in history.find("ada"):
                history.load("ada", one.id)
            history.keep("ada", "", [turn("a new one?")])
        except DataError as error:
            said = str(error)
        assert "mv " in said or "try again" in said
        assert "\n" not in said
        for other in path.parent.iterdir():
            other.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("content", [*NO_JSON, b'{"ada": 7}', b'{"ada": {"password": 7, "key_sha256": "x"}}'])
def test_damaged_users_let_nobody_in_and_say_what_to_do(tmp_path, content):
    users = Users(tmp_path / "users.json")
    key = users.add("ada", "long enough")
    assert users.check_password("ada", "long enough")
    (tmp_path / "users.json").write_bytes(content)
    assert not users.check_password("ada", "long enough")
    assert users.of_key(key) is None
    with pytest.raises(ConfigError, match=r"users\.json is damaged .*rag user add"):
        users.names()
    with pytest.raises(ConfigError, match=r"users\.json is damaged .*rag user add"):
        users.add("bob", "long enough")
    assert (tmp_path / "users.json").read_bytes() == content


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated weights", "flipped optimizer", "half state", "emptied weights"])
def test_training_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path, capsys, damage):
    import torch
    from safetensors.torch import save_file

    for step in (9, 10):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        save_file({"a": torch.arange(50.0)}, folder / "model.safetensors")
        torch.save({"moments": torch.arange(50.0)}, folder / "optimizer.pt")
        write_json(folder / "trainer_state.json", {"global_step": step})
    (tmp_path / "checkpoints" / "checkpoint-best").mkdir()
    write_json(tmp_path / "checkpoints" / "checkpoint-best" / "trainer_state.json", {})
    assert last_checkpoint(tmp_path) == folder
    if damage == "half state":
        (folder / "trainer_state.json").write_text('{"global_step"', "utf-8")
    elif damage == "flipped optimizer":
        flipped(
            folder / "optimizer.pt", (folder / "optimizer.pt").read_bytes().index(bytes(torch.arange(9.0).numpy())), 2
        )
    else:
        weights = folder / "model.safetensors"
        os.truncate(weights, 0 if "emptied" in damage else weights.stat().st_size - 4)
    assert last_checkpoint(tmp_path).name == "checkpoint-9"
    said = capsys.readouterr().err
    assert damage == "half state" or said.endswith("is damaged, and its checkpoint is left out\n")


@pytest.mark.parametrize("content", [*NO_JSON, b'{"watched": 7}', b'{"watched": "abc"}', b'{"watched": [[1]]}'])
def test_a_damaged_training_json_is_named(tmp_path, content):
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"training\.json is damaged"):
        watched_ids(tmp_path / "model")


def test_a_half_line_of_a_log_is_not_there_yet(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_jsonl(tmp_path / "log.jsonl") == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize(
    "change",
    [{"positives": 7}, {"negatives": [["a", 1.0, 2.0]]}, {"negatives": [[["a"], 1.0]]}, {"extra": 1}, {"origins": 7}],
)
def test_damaged_negatives_are_named_with_the_command(tmp_path, change):
    row = {"qid": "q", "query": "?", "positives": [["a", 1.0]], "negatives": [["a", 0.5]], "origins": ["bm25"]}
    (tmp_path / "mined.jsonl").write_text(json.dumps({**row, "dropped": {}, **change}) + "\n", "utf-8")
    with pytest.raises(DataError, match=r"mined\.jsonl (holds no mined negatives; name what rag mine wrote|line 1)"):
        load_mined(tmp_path / "mined.jsonl", Corpus([Passage("a", "text")]))


def test_every_error_here_is_one_sentence_for_people():
    assert issubclass(DamagedStore, RagError)
    assert files.SEAL == "sha256"
