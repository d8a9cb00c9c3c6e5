"""Folders that cannot be written, and a folder that two commands write at once; the first by a read-only mount."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.attack.attempt import Outcome
from benchmarks.attack.forks import command, load_everything, make_models
from benchmarks.attack.place import INGEST, Command, Place, index_state, write_files

CLONE_NEWNS = 0x20000  # of Linux
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
QUESTION = "who built the river"
READS: tuple[Command, ...] = (
    ("search", QUESTION, "-i", "index"),
    ("ask", QUESTION, "-i", "index"),
    ("doctor", "index"),
    ("audit", "index"),
)
WRITES: tuple[Command, ...] = (
    ("ingest", "-i", "index"),
    ("ingest", "docs", "-i", "index/inside"),
    ("calibrate", "dev.txt", "-i", "index"),
    ("rollback", "index"),
    ("index", "--rebuild", "-o", "index"),
    ("batch", "all.txt", "-i", "index", "-o", "run", "--no-generate"),
    ("feedback", "-i", "index", "-o", "feedback.jsonl"),
)


def over_a_read_only_folder(folder: Path, work: Callable[[], object]) -> Callable[[], object]:
    """The work done where the folder is mounted read-only, for that process alone. It takes the rights of root."""

    def done() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        name = str(folder).encode()
        mounts = (
            (b"none", b"/", None, MS_REC | MS_PRIVATE, None),
            (name, name, None, MS_BIND, None),
            (b"none", name, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None),
        )
        if libc.unshare(CLONE_NEWNS) or any(libc.mount(*each) for each in mounts):
            raise OSError(ctypes.get_errno(), "nothing can be mounted here")
        os.chdir(Path.cwd())  # the present folder would still be the one below the mount
        work()

    return done


def read_only(folder: Path) -> Outcome:
    """Commands over an index, and a RAG_HOME, that nobody may write: what reads works, what writes says a sentence."""
    load_everything()
    place = _made(folder)
    expected = {words: _answer(place.run(words).printed) for words in READS}
    problems = []
    n = 0
    for home in ("home", "empty home"):
        place.home = home
        (folder / home).mkdir(exist_ok=True)
        for words in (*READS, *WRITES):
            n += 1
            ended = place.start(
                over_a_read_only_folder(place.folder.parent, command(*words, *place.options(words)))
            ).wait()
            if problem := _problem(words, ended.status, ended.printed, expected.get(words)):
                problems.append(f"{home}: rag {words[0]}: {problem}")
        n += 1
        if problem := _chat(place):
            problems.append(f"{home}: rag chat: {problem}")
    return Outcome(n, n - len(problems), "; ".join(problems)[:800])


def _made(folder: Path) -> Place:
    place = Place(folder / "place", make_models(folder / "models"))
    write_files(place.folder)
    for words in (INGEST, ("ask", QUESTION, "-i", "index")):
        if (ended := place.run(words)).status:
            raise RuntimeError(ended.printed)
    return place


def _answer(printed: str) -> list[str]:
    """The lines without the seconds."""
    return [line for line in printed.splitlines() if not line.startswith("(") and " s)" not in line]


def _problem(words: Command, status: int, printed: str, expected: list[str] | None) -> str:
    if "Traceback" in printed:
        return printed[-300:]
    if expected is not None:
        lost = [line for line in expected if line not in printed.splitlines()]
        return f"status {status}, without {lost[:2]}: {printed[-300:]}" if status or lost else ""
    sentences = [line for line in printed.splitlines() if line.startswith("rag: ")]
    return "" if status == 1 and len(sentences) == 1 else f"status {status}: {printed[-300:]}"


def _chat(place: Place) -> str:
    """Start the chat and ask its API; "" where it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words: Command = ("chat", "-i", "index", "--port", str(port))
    chat = place.start(over_a_read_only_folder(place.folder.parent, command(*words, *place.options(words))))
    body = json.dumps({"model": "rag", "messages": [{"role": "user", "content": QUESTION}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"}
    )
    problem = "it did not start"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(request, timeout=60) as answered:
                problem = "" if json.load(answered)["choices"] else "no answer"
                break
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.read()[:200]!r}"
            break
        except OSError:
            if chat.has_ended():
                break
    printed = chat.end().printed
    return f"{problem}: {printed[-300:]}" if problem or "Traceback" in printed else ""


def two_at_once(folder: Path) -> Outcome:
    """Two commands that write one index at the same time: both end well, or one is told to wait; the index is whole."""
    load_everything()
    place = Place(folder / "place", make_models(folder / "models"))
    write_files(place.folder)
    pairs: tuple[tuple[Command, Command], ...] = (
        (INGEST, INGEST),
        (("ingest", "-i", "index", "--forget", "docs/river.txt"), ("ingest", "docs/river.txt", "-i", "index")),
        (("rollback", "index"), ("ingest", "docs", "-i", "index")),
        (("index", "--rebuild", "-o", "index"), ("ingest", "-i", "index", "--forget", "docs/lake.txt")),
        (("calibrate", "dev.txt", "-i", "index"), ("rollback", "index")),
        (("batch", "all.txt", "-i", "index", "-o", "run"), ("batch", "all.txt", "-i", "index", "-o", "run")),
    )
    problems = []
    for n, pair in enumerate(pairs):
        both = [
            place.start(command(*words, *place.options(words)), name=f"said {k}.txt") for k, words in enumerate(pair)
        ]
        for words, ended in zip(pair, [running.wait() for running in both], strict=True):
            told = ended.status == 1 and "is writing" in ended.printed and "wait until it has finished" in ended.printed
            if ended.status and not told:
                problems.append(f"{n} rag {words[0]}: {ended.status} {ended.printed[-300:]}")
        if isinstance(state := place.value(index_state), str):
            problems.append(f"{n} {pair[0][0]}: {state[-300:]}")
    return Outcome(
        len(pairs), len(pairs) - len({problem.split()[0] for problem in problems}), "; ".join(problems)[:800]
    )
