"""A watched index follows its folders; no test waits for a clock where a look can be called."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag.build.indexes import _making, _reading, ingest_documents, watch_documents
from rag.config import load_settings
from rag.documents.ingested_lines import update_line
from rag.errors import DataError
from rag.index.folder import read_current
from rag.index.read import open_index
from rag.index.watch import _Watcher
from tests.fakes.documents import SETTINGS, texts


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "manuals"
    root.mkdir()
    write(root / "a.txt", "The harbour opens at six.")
    write(root / "b.txt", "The harbour closes at ten.")
    return root


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def watcher(folder, index, encoder):
    made = _Watcher(index, _reading(SETTINGS), _making(SETTINGS, None))
    made.begin([folder], [], None)
    return made


A, B, C = "The harbour opens at six.", "The harbour closes at ten.", "The harbour cat is Graz."


def write(path, text, seconds_ago=100):
    """A file as it was written some time ago."""
    path.write_text(text, "utf-8")
    then = time.time() - seconds_ago
    os.utime(path, (then, then))


def looks(watcher, n):
    """What n looks find, one after the other."""
    return [watcher.has_changed() for _ in range(n)]


def test_nothing_changes_and_nothing_is_read_again(watcher, folder, monkeypatch):
    monkeypatch.setattr("rag.index.watch.look_now", lambda *arguments: pytest.fail("a file was read"))
    assert looks(watcher, 3) == [False, False, False]


def test_a_new_file_is_taken_once_it_is_quiet(watcher, folder, index):
    write(folder / "c.txt", "The harbour c", 3)
    assert watcher.has_changed() is False
    write(folder / "c.txt", "The harbour cat i", 2)
    assert watcher.has_changed() is False
    write(folder / "c.txt", C, 1)
    assert looks(watcher, 2) == [False, True]
    result = watcher.update(visits=False)
    assert (result.added, result.removed, result.kept) == (1, 0, 2)
    assert texts(index) == [C, B, A]
    assert looks(watcher, 3) == [False, False, False]


def test_a_file_being_written_keeps_its_former_state_while_others_are_taken(watcher, folder, index):
    write(folder / "c.txt", C)
    for n in range(4):
        write(folder / "a.txt", "The harbour opens" + " later" * n, 50 - n)
        if watcher.has_changed():
            watcher.update(visits=False)
    assert texts(index) == [C, B, A]
    assert looks(watcher, 2) == [True, True]
    watcher.update(visits=False)
    assert texts(index) == [C, B, "The harbour opens later later later"]


def test_a_change_of_the_same_length_is_seen(watcher, folder, index):
    before = (folder / "a.txt").stat()
    (folder / "a.txt").write_text(A.replace("six", "two"), "utf-8")
    os.utime(folder / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))  # as some programs do
    assert looks(watcher, 2) == [False, True]
    watcher.update(visits=False)
    assert texts(index) == [B, A.replace("six", "two")]


def test_a_file_that_is_only_touched_makes_no_update(watcher, folder):
    os.utime(folder / "a.txt")
    assert looks(watcher, 4) == [False] * 4


def test_a_file_written_just_before_the_first_update_is_read_again(folder, index, encoder):
    (folder / "a.txt").write_text(A, "utf-8")
    status = (folder / "a.txt").stat()
    watcher = _Watcher(index, _reading(SETTINGS), _making(SETTINGS, None))
    watcher.begin([folder], [], None)
    # Written within the same tick of the clock: nothing but the content tells.
    real = Path.stat

    class Same:
        st_ino, st_size, st_mode = status.st_ino, status.st_size, status.st_mode
        st_mtime, st_mtime_ns, st_ctime_ns = status.st_mtime, status.st_mtime_ns, status.st_ctime_ns

    (folder / "a.txt").write_text(A.replace("six", "two"), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", lambda self, **how: Same if self.name == "a.txt" else real(self, **how))
        assert looks(watcher, 2)[-1] is True
        watcher.update(visits=False)
    assert A.replace("six", "two") in texts(index)


def test_deleted_and_renamed_files_are_followed_at_the_second_look(watcher, folder, index):
    (folder / "a.txt").unlink()
    (folder / "b.txt").rename(folder / "z.txt")
    assert looks(watcher, 2) == [False, True]
    result = watcher.update(visits=False)
    assert (result.added, result.removed, result.kept) == (0, 1, 1)
    assert [passage.source for passage in open_index(index).corpus] == ["manuals/z.txt"]


def test_a_file_that_is_replaced_is_never_missing(watcher, folder, index):
    (folder / "a.txt").unlink()  # as editors do when they save
    assert watcher.has_changed() is False
    write(folder / "a.txt", C)
    assert looks(watcher, 3) == [False, True, True]
    watcher.update(visits=False)
    assert texts(index) == [C, B]


def test_the_last_file_of_a_folder_may_go_and_others_come(watcher, folder, index):
    for path in folder.iterdir():
        path.unlink()
    assert looks(watcher, 2) == [False, True]
    assert watcher.update(visits=False).n_passages == 0
    write(folder / "c.txt", C)
    assert looks(watcher, 2) == [False, True]
    watcher.update(visits=False)
    assert texts(index) == [C]


def test_a_drive_that_is_not_mounted_takes_nothing_away(watcher, folder, index):
    drive = folder.rename(folder.with_name("drive"))
    with pytest.raises(DataError, match="manuals was ingested before and is gone"):
        watcher.has_changed()
    folder.mkdir()  # the place where it is mounted
    assert looks(watcher, 2)[-1] is True
    with pytest.raises(DataError, match=r"nothing to read in .*manuals, which held documents before"):
        watcher.update(visits=False)
    assert texts(index) == [B, A]
    folder.rmdir()
    drive.rename(folder)
    assert looks(watcher, 2) == [False, False]


def test_a_drive_that_is_mounted_later_is_known_apart_from_its_place(folder, index, encoder):
    place = folder.with_name("place")
    place.mkdir()
    watcher = _Watcher(index, _reading(SETTINGS), _making(SETTINGS, None))
    watcher.begin([folder, place], [], None)
    empty = place.rename(place.with_name("empty"))
    place.mkdir()
    write(place / "c.txt", C)
    looks(watcher, 2)
    watcher.update(visits=False)
    place.rename(place.with_name("drive"))
    empty.rename(place)
    looks(watcher, 3)
    with pytest.raises(DataError, match="place, which held documents before"):
        watcher.update(visits=False)
    assert texts(index) == [C, B, A]


def test_what_another_command_adds_or_forgets_is_followed(watcher, folder, index):
    other = folder.with_name("c.txt")
    write(other, C)
    ingest_documents(SETTINGS, [other], index, forget=[folder / "a.txt"])
    assert looks(watcher, 2)[-1] is True
    watcher.update(visits=False)
    assert texts(index) == [C, B]
    write(other, "The harbour cat is Linz.")
    looks(watcher, 2)
    watcher.update(visits=False)
    assert texts(index) == ["The harbour cat is Linz.", B]


def watched(folder, index, on_update, **changes):
    """Watch in a thread with short pauses, until `on_update` says stop."""
    stop = threading.Event()
    updates = []

    def take(update):
        updates.append(update)
        on_update(updates, stop)

    settings = load_settings(None, ["documents.chunk_tokens=40", "documents.watch_seconds=0.02"])
    thread = threading.Timer(60, stop.set)
    thread.start()
    try:
        watch_documents(settings, [folder], index, on_update=take, stop=stop, **changes)
    finally:
        thread.cancel()
    return updates


def test_errors_of_one_update_do_not_end_it_and_are_told_once(folder, index, encoder, monkeypatch):
    from rag.index import watch

    right, n_wrong = watch.ingest, []

    def ingest(*arguments, **options):
        if index.exists() and read_current(index) is not None and len(n_wrong) < 2:
            n_wrong.append(1)
            raise OSError(28, "No space left on device", "index")
        return right(*arguments, **options)

    monkeypatch.setattr(watch, "ingest", ingest)

    def on_update(updates, stop):
        if len(updates) == 1:
            write(folder / "c.txt", C)
        if len(updates) == 3:
            stop.set()

    updates = watched(folder, index, on_update)
    assert [update.problem for update in updates] == ["", "index: No space left on device", ""]
    assert len(n_wrong) == 2
    assert texts(index) == [C, B, A]


def test_a_problem_that_was_over_is_told_again(folder, index, encoder):
    away = folder.with_name("away")

    def on_update(updates, stop):
        if updates[-1].problem:
            away.rename(folder)  # back again, as it was
            if len(updates) == 3:
                stop.set()
            else:
                threading.Timer(0.5, lambda: folder.rename(away)).start()
        else:
            folder.rename(away)

    updates = watched(folder, index, on_update)
    assert ["is gone" in update.problem for update in updates] == [False, True, True]


@pytest.mark.parametrize(("look_seconds", "pause"), [(0.001, 2.0), (1.0, 9.0), (1000.0, 300.0)])
def test_looking_costs_a_tenth_of_a_processor_at_most(look_seconds, pause, monkeypatch):
    from rag.index import watch

    clock, pauses = [0.0], []

    class Watcher:
        def __init__(self, *arguments):
            self.begin = lambda *arguments: None
            self.follows_pages = lambda: False

        def has_changed(self):
            clock[0] += look_seconds
            return False

    def wait(seconds):
        pauses.append(seconds)
        return len(pauses) == 2

    monkeypatch.setattr(watch, "_Watcher", Watcher)
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    stop = SimpleNamespace(wait=wait, is_set=lambda: False)
    watch.watch([], "", None, None, on_update=lambda update: None, stop=stop, seconds=2.0, web_seconds=1e9)
    assert pauses == [2.0, pause]


def test_the_first_update_says_what_is_wrong_as_a_single_ingest_does(folder, index, encoder):
    with pytest.raises(DataError, match="does not exist"):
        watched(folder / "absent", index, lambda updates, stop: None)


def test_an_update_is_one_line(watcher, folder):
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    looks(watcher, 3)
    line = update_line(watcher.update(visits=False), Path("my.index"), "12:00:00")
    assert line.startswith("12:00:00 my.index: 0 added, 0 removed, 2 kept; 2 documents, 2 passages; left out: ")
    assert "bad.pdf (damaged" in line
    assert "\n" not in line


WATCHING = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    from rag.build import indexes
    from rag.cli.main import main
    from tests.fakes.documents import WordEncoder

    indexes.make_encoder = lambda settings, lazy: WordEncoder()
    sys.argv = ["rag", "ingest", sys.argv[2], "-i", sys.argv[3], "--watch", *sys.argv[4:]]
    main()
    """
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_follows_a_folder_until_a_signal_ends_it_with_status_0(folder, index, tmp_path, number):
    script = tmp_path / "watching.py"
    script.write_text(WATCHING, "utf-8")
    command = [sys.executable, script, Path(__file__).parents[2], folder, index, "--json"]
    command += ["--set", "documents.chunk_tokens=40", "--set", "documents.watch_seconds=0.05"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert json.loads(process.stdout.readline())["added"] == 2
        write(folder / "c.txt", C)
        assert json.loads(process.stdout.readline())["added"] == 1
        (folder / "a.txt").unlink()
        assert json.loads(process.stdout.readline())["removed"] == 1
        process.send_signal(number)
        out, problems = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert "ending after what is under way" in problems
    assert "Traceback" not in problems
    assert texts(index) == [C, B]
