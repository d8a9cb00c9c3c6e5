"""What people asked is theirs alone: permissions of its files and folders, and no way in through a foreign link."""

import errno
import json
import os
import sqlite3
import stat

import pytest

from rag import private
from rag.errors import ConfigError, DataError
from rag.private import keep_private, private_file, private_folder, write_private
from rag.serve.attachments import Attachments, Indexing
from rag.serve.export import export_feedback
from rag.serve.history import History, history_path, open_history
from rag.serve.upload_room import uploads_root
from rag.serve.users import Users
from tests.fakes.conversations import turn

NOBODY = 65534


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def test_conversations_are_their_owners_alone_whatever_the_umask(tmp_path):
    history = History(history_path(tmp_path / "home", tmp_path / "my.index"))
    key = history.keep("ada", "", [turn("one?")])
    assert mode(history.path.parent) == 0o700
    reader = sqlite3.connect(history.path)  # as long as it is open, what was written stands in files of its own
    reader.execute("SELECT * FROM conversations").fetchall()
    history.judge("ada", key, 1, True)
    found = {path.name.removeprefix(history.path.name): mode(path) for path in history.path.parent.iterdir()}
    reader.close()
    assert found == {"": 0o600, "-wal": 0o600, "-shm": 0o600}


def test_conversations_from_before_are_closed_to_others_and_stay(tmp_path):
    folder = tmp_path / "conversations"
    key = History(folder / "a.sqlite").keep("ada", "", [turn("one?")])
    for name in ("a.sqlite-wal", "a.sqlite-shm"):
        (folder / name).touch()
    for path in folder.iterdir():
        path.chmod(0o666)
    folder.chmod(0o777)
    held = sqlite3.connect(folder / "a.sqlite")
    history = History(folder / "a.sqlite")
    assert [t.question for t in history.load("ada", key)] == ["one?"]
    held.close()
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}


def test_a_folder_that_everybody_shares_stays_as_it_is(tmp_path):
    tmp_path.chmod(0o1777)
    History(tmp_path / "a.sqlite")
    assert (mode(tmp_path), mode(tmp_path / "a.sqlite")) == (0o1777, 0o600)
    tmp_path.chmod(0o700)


@as_root
@pytest.mark.parametrize("name", ["home", "home/conversations", "home/conversations/a.sqlite"])
def test_a_link_that_another_user_planted_is_not_followed(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("theirs") if name.endswith("sqlite") else victim.mkdir()
    victim.chmod(0o644)
    link = tmp_path / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(DataError, match="is a link that another user has made"):
        History(tmp_path / "home" / "conversations" / "a.sqlite")
    assert mode(victim) == 0o644
    assert (not any(victim.iterdir())) if victim.is_dir() else victim.read_text() == "theirs"


def test_a_link_of_ones_own_is_followed(tmp_path):
    (tmp_path / "other disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "other disk")
    key = History(tmp_path / "home" / "conversations" / "a.sqlite").keep("ada", "", [turn("one?")])
    there = tmp_path / "other disk" / "conversations" / "a.sqlite"
    assert History(there).load("ada", key)
    assert (mode(there), mode(there.parent)) == (0o600, 0o700)


@as_root
def test_a_folder_that_another_user_planted_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "conversations"
    folder.mkdir(0o755)
    os.chown(folder, NOBODY, NOBODY)
    private_folder(folder)  # the system's own user may use it: the folders of a container are often another's
    assert mode(folder) == 0o700
    monkeypatch.setattr(private, "_user", lambda: 1000)
    with pytest.raises(DataError, match="belongs to another user"):
        private_folder(folder)


def test_users_and_their_keys_are_never_readable_by_others(tmp_path, monkeypatch):
    users = Users(tmp_path / "users.json")
    modes = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (modes.append(stat.S_IMODE(os.stat(a).st_mode)), replace(a, b)))
    users.add("ada", "long enough")
    assert modes == [0o600]
    users.path.chmod(0o644)
    assert Users(users.path).names() == ["ada"]
    assert mode(users.path) == 0o600
    users.path.write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        users.names()


def test_feedback_is_private_too(tmp_path):
    history = History(tmp_path / "conversations" / "a.sqlite")
    key = history.keep("ada", "", [turn("one?")])
    history.judge("ada", key, 1, True)
    output = tmp_path / "feedback.jsonl"
    output.touch(0o666)
    assert export_feedback(history, output) == 1
    assert mode(output) == 0o600
    assert json.loads(output.read_text())["question"] == "one?"


def test_what_is_written_goes_through_no_link_beside_it(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / "a.json.tmp").symlink_to(victim)
    write_private(tmp_path / "a.json", "ours")
    assert (victim.read_text(), (tmp_path / "a.json").read_text()) == ("theirs", "ours")
    assert not (tmp_path / "a.json").is_symlink()


def test_files_of_a_conversation_are_private_and_what_links_lead_to_stays(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not ours")
    outside.chmod(0o644)

    def add(paths, index, copies):
        copies.mkdir(parents=True)
        (copies / "a.txt").write_text("asked about")
        (copies / "link").symlink_to(outside)
        raise DataError("it cannot be read")

    made = Attachments(tmp_path / ".files", Indexing(add, lambda index: None, lambda index: None))
    made._root.mkdir(0o755)
    (made._root / ("a" * 32) / "index").mkdir(parents=True)
    (made._root / ("a" * 32) / "index" / "CURRENT").write_text("generation-1")
    (made._root / ("a" * 32) / "index" / "generation-1").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        made.add("a" * 32, [])
    found = {path.name: mode(path) for path in made._root.rglob("*") if not path.is_symlink()}
    assert found.pop("a.txt") == found.pop("CURRENT") == 0o600
    assert set(found.values()) == {0o700}
    assert (mode(made._root), mode(outside)) == (0o700, 0o644)


def test_what_is_not_there_needs_no_keeping(tmp_path):
    keep_private(tmp_path / "missing")
    assert not any(tmp_path.iterdir())
    private_file(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o600


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_home_that_cannot_be_written_keeps_no_conversations_and_says_so(tmp_path, monkeypatch, capsys, number):
    def refuse(*arguments, **named):
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(os, "open", refuse)
    assert open_history(tmp_path / "conversations" / "a.sqlite") is None
    said = capsys.readouterr().err
    assert said.startswith("conversations are not kept: ")
    assert said.endswith("set RAG_HOME elsewhere\n")


def test_a_full_disk_is_not_taken_for_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="No space"):
        open_history(tmp_path / "conversations" / "a.sqlite")


def test_uploads_wait_where_no_other_user_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    root = uploads_root.__wrapped__()
    assert root.parent == tmp_path.resolve()
    assert mode(root) == 0o700
