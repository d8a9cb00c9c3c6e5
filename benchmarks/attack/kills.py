"""Commands killed at random moments, and started again: nothing lost, nothing half, nothing to clean up by hand.

Half of the kills come just before a change to a file, drawn among all of them; the others at a moment, a third of these
by SIGTERM. Then what stood there before is looked at, and the same command is run again to its end.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import random
import shutil
import signal
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome
from benchmarks.attack.forks import Ended, Kill, load_everything, make_models
from benchmarks.attack.place import INDEX, INGEST, NOUNS, Command, Place, index_state, write_files
from benchmarks.attack.shared_folders import read_only, two_at_once

SHORT_TRAINING = ("epochs=1", "batch_size=4", "warmup_steps=1", "evaluations=3", "freeze_embeddings=false")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command that is killed: the commands that come before it, and what stands there afterwards.

    `result` gives what the command made, for comparison; `standing` what can be used at any time, one of the two
    states before and after. Both are called in a process of their own, in the scenario's folder.
    """

    name: str
    command: Command
    result: Callable[[], object]
    before: tuple[Command, ...] = ()
    standing: Callable[[], object] | None = None
    change: Callable[[], None] = lambda: None
    times: int = 4
    again_may_go_back: bool = False


def predictions() -> object:
    rows = [json.loads(line) for line in Path("run/predictions.jsonl").read_text().splitlines()]
    kept = ("qid", "answer", "raw", "citations", "contexts", "reranked", "retrieved")
    return [{name: row.get(name) for name in kept} for row in rows]


def calibration() -> object:
    from rag.index.calibration import read_calibration

    found = read_calibration("index")
    return found and {name: found.get(name) for name in ("index", "threshold", "reranker_model", "n")}


def lines_of(path: str) -> object:
    return Path(path).read_text().splitlines() if Path(path).exists() else None


def trained(kind: str) -> object:
    """Whether the model of the run loads, and how far its log goes."""
    if kind == "retriever":
        from sentence_transformers import SentenceTransformer

        SentenceTransformer("run/model")
    else:
        from transformers import AutoModelForSequenceClassification

        AutoModelForSequenceClassification.from_pretrained("run/model")
    return max(json.loads(line).get("step", 0) for line in Path("run/log.jsonl").read_text().splitlines())


def users() -> object:
    from rag.serve.users import Users

    return Users("users.json").names()


def change_documents() -> None:
    Path("docs/river.txt").write_text("The river is 99 km long and nobody built it.\n")
    Path("docs/lake.txt").unlink()
    Path("docs/new.txt").write_text("The new tower is blue.\n")


def judge() -> None:
    """Conversations with judgements, as the chat keeps them."""
    from rag.models.resolve import rag_home
    from rag.serve.history import History, history_path

    history = History(history_path(rag_home(), "index"))
    for n in range(8):
        key = history.keep("ada", "", [_turn(f"who built the {NOUNS[n]}", NOUNS[n])])
        history.judge("ada", key, 1, n % 2 == 0, "why not")


def _turn(question: str, text: str):
    from rag.serve.turns import Turn
    from rag.types import Answer, Hit, Passage, Query, Response

    hits = (Hit(Passage("a@0", f"the {text}", "t"), 1.0),)
    return Turn(
        question, response=Response(Query("c", question), (), hits, hits, Answer(text, ("a@0",), text)), done=True
    )


TRAIN = ("train.txt", "-i", "index", "-o", "run", "--dev", "dev.txt", "--negatives", "negatives.jsonl", "--no-gate")
MINE: Command = ("mine", "train.txt", "-i", "index", "-o", "negatives.jsonl")
ADD_FIRST: Command = ("user", "add", "ada", "users.json", "--password", "long enough")
ADD_USER: Command = ("user", "add", "bob", "users.json", "--password", "long enough")


def training(kind: str) -> Scenario:
    short = tuple(word for each in SHORT_TRAINING for word in ("--set", f"training.{kind}.{each}"))
    recipe = ("--recipe", "mined" if kind == "retriever" else "lambda")
    words = ("train", kind, *TRAIN, *recipe, *short)
    return Scenario(f"train {kind}", words, functools.partial(trained, kind), (INDEX, MINE), times=6)


SCENARIOS = (
    Scenario("index", INDEX, index_state, times=6),
    Scenario("ingest of changes", ("ingest", "-i", "index"), index_state, (INGEST,), index_state, change_documents, 8),
    Scenario("forget", ("ingest", "-i", "index", "--forget", "docs/tower.txt"), index_state, (INGEST,), index_state),
    Scenario(
        "rollback",
        ("rollback", "index"),
        index_state,
        (INGEST, ("ingest", "-i", "index", "--forget", "docs/tower.txt")),
        index_state,
        again_may_go_back=True,
    ),
    Scenario("batch", ("batch", "all.txt", "-i", "index", "-o", "run"), predictions, (INDEX,), times=8),
    Scenario("calibrate", ("calibrate", "dev.txt", "-i", "index"), calibration, (INDEX,), calibration, times=6),
    Scenario("mine", MINE, functools.partial(lines_of, "negatives.jsonl"), (INDEX,)),
    training("retriever"),
    training("reranker"),
    Scenario(
        "feedback",
        ("feedback", "-i", "index", "-o", "feedback.jsonl"),
        functools.partial(lines_of, "feedback.jsonl"),
        (INDEX,),
        functools.partial(lines_of, "feedback.jsonl"),
        judge,
        6,
    ),
    Scenario(
        "user add",
        ADD_USER,
        users,
        (("user", "add", "ada", "users.json", "--password", "long enough"),),
        users,
        times=6,
    ),
)


def kill_of(ended: Ended, number: int, draw: random.Random) -> Kill:
    """When the `number`-th kill comes, of a command that ended so when nobody killed it."""
    if number % 2 == 0 and ended.changes:
        return Kill(change=draw.randint(1, ended.changes))
    how = signal.SIGTERM if number % 3 == 0 else signal.SIGKILL
    return Kill(seconds=draw.uniform(0.02, ended.seconds), signal=how)


def try_scenario(scenario: Scenario, root: Path, settings: list[str], times: int | None = None) -> Outcome:
    """Kill one scenario's command again and again; what went wrong first is said."""
    place, saved = Place(root / "place", settings), root / "saved"
    for folder in (place.folder, saved, root / "home" / "conversations"):
        shutil.rmtree(folder, ignore_errors=True)
    write_files(place.folder)
    for words in scenario.before:
        if (ended := place.run(words)).status:
            raise RuntimeError(f"{words}: {ended.printed}")
    old = place.value(scenario.standing) if scenario.standing else None
    place.start(scenario.change).wait()
    shutil.copytree(place.folder, saved, symlinks=True)
    clean = place.run(scenario.command)
    new = place.value(scenario.result)
    if clean.status or str(new).startswith("failed"):
        raise RuntimeError(f"{scenario.name}: {clean.printed} {new}")
    draw = random.Random(zlib.crc32(scenario.name.encode()))
    tried = held = 0
    problems: list[str] = []
    for number in range(2 * (times or scenario.times)):
        if tried == (times or scenario.times):
            break
        shutil.rmtree(place.folder)
        shutil.copytree(saved, place.folder, symlinks=True)
        kill = kill_of(clean, number, draw)
        if place.run(scenario.command, kill).status == 0:
            continue  # it had ended already
        tried += 1
        problem = _problem(scenario, place, old, new)
        held += not problem
        if problem:
            problems.append(f"{scenario.name}, {kill}: {problem}")
    return Outcome(tried, held, "; ".join(problems)[:600])


def _problem(scenario: Scenario, place: Place, old: object, new: object) -> str:
    """What is wrong after a kill; "" for nothing."""
    if scenario.standing:
        standing = place.value(scenario.standing)
        if standing not in (old, new):
            return f"afterwards there stood {standing}"
    again = place.run(scenario.command)
    if again.status:
        return f"run again it ended with {again.status}: {again.printed[-300:]}"
    result = place.value(scenario.result)
    if result != new and not (scenario.again_may_go_back and result == old):
        return f"run again it made {str(result)[:200]} in the place of {str(new)[:200]}"
    return ""


def kill_commands(names: tuple[str, ...], folder: Path) -> Outcome:
    """The outcomes of several scenarios, added up."""
    load_everything()
    settings = make_models(folder / "models")
    outcomes = [try_scenario(scenario, folder, settings) for scenario in SCENARIOS if scenario.name in names]
    said = "; ".join(outcome.said for outcome in outcomes if outcome.said)
    return Outcome(sum(o.tried for o in outcomes), sum(o.held for o in outcomes), said)


def kill_history(folder: Path) -> Outcome:
    """A process that keeps conversations in four threads, killed; all that it said were kept are there, whole."""
    importlib.import_module("rag.serve.history")
    tried = held = 0
    problems = []
    place = Place(folder / "place")
    place.folder.mkdir(parents=True)
    draw = random.Random(3)
    kept_before: dict[str, int] = {}
    for _ in range(12):
        said = place.folder.parent / "kept.txt"
        said.unlink(missing_ok=True)
        kill = Kill(seconds=draw.uniform(0.3, 1.5), signal=draw.choice((signal.SIGKILL, signal.SIGTERM)))
        place.start(_keep_on, kill).wait()
        for line in said.read_text().splitlines() if said.exists() else ():
            if line.endswith("."):  # a line that was cut off was not said
                key, n = line[:-1].split()
                kept_before[key] = max(int(n), kept_before.get(key, 0))
        tried += 1
        found = place.value(_kept_now)
        lost = [key for key, n in kept_before.items() if not isinstance(found, dict) or found.get(key, 0) < n]
        held += not lost
        if lost:
            problems.append(f"{len(lost)} of {len(kept_before)} lost, {str(found)[:200]}")
    if not kept_before:
        raise RuntimeError("nothing was kept before the kills")
    return Outcome(tried, held, "; ".join(problems)[:400] or f"{len(kept_before):,} conversations kept, none lost")


def _keep_on() -> None:
    import threading

    from rag.serve.history import History

    history = History("conversations/a.sqlite")
    out = os.open("../kept.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work(person: str) -> None:
        while True:
            key, turns = "", []
            for n in range(1, 5):
                turns.append(_turn(f"question {n} of {person}", NOUNS[n] * 50))
                key = history.keep(person, key, turns)
                history.judge(person, key, n, True)
                os.write(out, f"{key} {n}.\n".encode())

    threads = [threading.Thread(target=work, args=(f"person {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join()


def _kept_now() -> object:
    import sqlite3

    from rag.serve.history import History

    history = History("conversations/a.sqlite")
    (sound,) = sqlite3.connect(history.path).execute("PRAGMA integrity_check").fetchone()
    assert sound == "ok"
    kept = {}
    for n in range(4):
        for each in history.find(f"person {n}", limit=10**6):
            turns = history.load(f"person {n}", each.id)
            assert [t.question for t in turns] == [f"question {k} of person {n}" for k in range(1, len(turns) + 1)]
            kept[each.id] = len(turns)
    return kept


DONE_AGAIN = "what stood there before, or the new state; the same command again ends well, with the same result"
GROUPS = (
    ("index, ingest, forget and rollback", ("index", "ingest of changes", "forget", "rollback")),
    ("batch, calibrate and mine", ("batch", "calibrate", "mine")),
    ("training of a retriever and a reranker", ("train retriever", "train reranker")),
    ("feedback and users", ("feedback", "user add")),
)
ATTACKS = (
    *(
        Attack("kills", f"{what} killed at random moments", DONE_AGAIN, functools.partial(kill_commands, names))
        for what, names in GROUPS
    ),
    Attack(
        "kills", "conversations being kept by four people, killed", "every one that was kept is there", kill_history
    ),
    Attack("shared folders", "two commands at once in one index", "both end well, or one is told to wait", two_at_once),
    Attack(
        "shared folders",
        "an index and a RAG_HOME that cannot be written",
        "asking works, writing is refused in a sentence",
        read_only,
    ),
)
