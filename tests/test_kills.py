"""Killed at any moment, work is there as it was or as it will be; where nothing can be written, reading goes on."""

import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.attack.forks import Kill, Running, command
from rag.errors import DataError, ModelError
from rag.files import is_read_only, kept_where_possible
from rag.models import cache
from rag.models.cache import make_once
from rag.serve import history_store
from rag.serve.export import export_feedback
from rag.serve.history import History, open_history
from rag.serve.users import Users
from tests.fakes.conversations import old_store, turn

NOBODY = 65534


def done(work, folder, kill=None):
    folder.mkdir(parents=True, exist_ok=True)
    return Running(work, folder, folder.parent / f"{folder.name}.said", kill).wait()


def user_state(path):
    return Users(path).names()


def test_a_users_file_killed_before_any_of_its_changes_is_the_old_or_the_new(tmp_path):
    users = tmp_path / "place" / "users.json"
    add = command("user", "add", "bob", users, "--password", "long enough")

    def begin():
        for path in (tmp_path / "place").glob("*"):
            path.unlink()
        Users(users).add("ada", "long enough")

    users.parent.mkdir()
    begin()
    whole = done(add, tmp_path / "place")
    assert whole.status == 0, whole.printed
    assert whole.changes >= 2
    states = set()
    for change in range(1, whole.changes + 1):
        begin()
        assert done(add, tmp_path / "place", Kill(change=change)).status == -signal.SIGKILL
        states.add(tuple(user_state(users)))
        assert done(add, tmp_path / "place").status == 0
        assert user_state(users) == ["ada", "bob"]
    assert states <= {("ada",), ("ada", "bob")}


def test_feedback_killed_while_it_is_written_is_written_again(tmp_path):
    store = History(tmp_path / "conversations" / "a.sqlite")
    key = store.keep("ada", "", [turn("one?"), turn("two?")])
    for n in (1, 2):
        store.judge("ada", key, n, True)
    output = tmp_path / "place" / "feedback.jsonl"

    def export():
        export_feedback(store, output)

    whole = done(export, tmp_path / "place")
    assert whole.status == 0, whole.printed
    expected = output.read_bytes()
    assert expected.count(b"\n") == 2
    for change in range(1, whole.changes + 1):
        done(export, tmp_path / "place", Kill(change=change))
        assert output.read_bytes() == expected
        output.unlink()
        done(export, tmp_path / "place", Kill(change=change))
        assert not output.exists() or output.read_bytes() == expected
        assert done(export, tmp_path / "place").status == 0
        assert output.read_bytes() == expected


def test_every_conversation_that_was_kept_is_there_after_a_kill(tmp_path):
    path = tmp_path / "place" / "conversations" / "a.sqlite"
    path.parent.parent.mkdir()
    kept = tmp_path / "kept"

    def keep_on():
        out = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        store = History(path)
        while True:
            key = store.keep("ada", "", [turn("one?")])
            store.keep("ada", key, [turn("one?"), turn("two?")])
            store.judge("ada", key, 2, True)
            os.write(out, f"{key}\n".encode())

    draw = random.Random(5)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        done(keep_on, tmp_path / "place", Kill(seconds=draw.uniform(0.3, 0.6), signal=number))
    store = History(path)
    for key in kept.read_text().split() if kept.exists() else ():
        assert [t.question for t in store.load("ada", key)] == ["one?", "two?"]
        assert store.judgements("ada", key) == [None, "Like"]
    for each in store.find("ada", limit=10**6):
        assert len(store.load("ada", each.id)) in (1, 2)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_store_that_was_killed_while_it_was_made_is_made_again(tmp_path, monkeypatch, version):
    path = tmp_path / "conversations" / "a.sqlite"
    if version:
        old_store(path, version, [turn("one?")])
    script = history_store.SCRIPTS[version]
    monkeypatch.setitem(history_store.SCRIPTS, version, f"{script} SELECT no_such_function();")
    with pytest.raises(DataError):
        History(path)
    monkeypatch.setitem(history_store.SCRIPTS, version, script)
    again = History(path)
    assert [t.question for t in again.load("ada", "k")] == (["one?"] if version else [])
    assert again.keep("ada", "", [turn("two?")])


def test_two_processes_make_one_store(tmp_path):
    for version in (0, 1, 2, 3):
        path = tmp_path / "conversations" / f"{version}.sqlite"
        if version:
            old_store(path, version, [turn("zero?")])

        def keep(path=path):
            History(path).keep("ada", "", [turn("one?")])

        (tmp_path / "place").mkdir(exist_ok=True)
        running = [Running(keep, tmp_path / "place", tmp_path / f"said {n}") for n in range(4)]
        assert [ended.status for ended in (each.wait() for each in running)] == [0] * 4
        assert len(History(path).find("ada")) == (5 if version else 4)


def as_nobody(work):
    def inner():
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    return inner


@pytest.fixture
def shared():
    """A folder that everybody reaches; the folders of tests are closed to others."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_model_that_is_there_is_found_where_nothing_can_be_written(shared):
    home = shared / "home"

    def make(work):
        (work / "made").mkdir()
        (work / "made" / "weights.bin").write_bytes(b"1234")
        return work / "made", {}

    place = make_once(home, "a/b", make)
    (home / "models" / "a--b.lock").unlink()
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def look():
        assert make_once(home, "a/b", make) == place

    ended = done(as_nobody(look), shared / "place")
    assert ended.status == 0, ended.printed


def test_where_a_model_cannot_be_kept_a_sentence_says_so(shared):
    home = shared / "home"
    home.mkdir(mode=0o555)

    def make(work):
        raise AssertionError("nothing is made that cannot be kept")

    def look():
        with pytest.raises(ModelError, match=r"a/b cannot be kept in .*models \(Permission denied\); set RAG_HOME"):
            make_once(home, "a/b", make)

    ended = done(as_nobody(look), shared / "place")
    assert ended.status == 0, ended.printed


def test_where_no_conversation_can_be_kept_the_chat_starts_all_the_same(shared):
    home = shared / "home"
    path = home / "conversations" / "a.sqlite"
    for state in ("empty", "with conversations"):
        if state != "empty":
            home.chmod(0o755)
            History(path).keep("ada", "", [turn("one?")])
            path.parent.chmod(0o755)
            path.chmod(0o644)
        home.mkdir(exist_ok=True)
        home.chmod(0o555)

        def look():
            sys.stderr = os.fdopen(os.dup(2), "w")  # not the one that tests read
            assert open_history(path) is None

        ended = done(as_nobody(look), shared / "place")
        assert ended.status == 0, ended.printed
        assert "conversations are not kept: " in ended.printed


def test_what_only_saves_time_is_left_out_where_nothing_can_be_written(tmp_path):
    for error in (PermissionError(13, "no"), OSError(30, "read-only"), PermissionError(1, "no")):
        assert is_read_only(error)
        with kept_where_possible():
            raise error
    with pytest.raises(OSError, match="full"), kept_where_possible():
        raise OSError(28, "full")


def test_a_graph_serves_although_it_cannot_be_kept(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("openvino")
    from rag.compute import openvino_graph

    class Doubled(torch.nn.Module):
        def forward(self, ids, mask):
            return (2 * ids * mask).float()

    def refuse(*arguments, **named):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(openvino_graph, "_keep", refuse)
    run = openvino_graph.openvino_forward(Doubled, 2, "fp32", tmp_path / "compiled")
    import numpy as np

    ones = np.ones((2, 4), np.int64)
    assert run(3 * ones, ones).tolist() == (6.0 * ones).tolist()
    assert not any(tmp_path.iterdir())


def test_a_damaged_copy_of_a_model_is_still_made_again(tmp_path):
    made = []

    def make(work):
        made.append(1)
        (work / "made").mkdir()
        (work / "made" / "weights.bin").write_bytes(b"1234")
        return work / "made", {"n": len(made)}

    place = make_once(tmp_path, "a/b", make)
    assert make_once(tmp_path, "a/b", make) == place
    assert len(made) == 1
    (place / cache.RECORD).write_text("{")
    assert json.loads((make_once(tmp_path, "a/b", make) / cache.RECORD).read_text())["n"] == 2
