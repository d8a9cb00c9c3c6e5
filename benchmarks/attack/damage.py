"""A failing disk: every file of an index damaged in every way, real commands over it, and a disk without room.

What holds: the answer that the sound index gives, or one sentence that names a command; never a traceback, never
another answer.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome

TEXTS = {
    "ferry": "The ferry to Tern Island leaves twice a day from Port Hale. It takes forty minutes. Dogs travel free.",
    "lighthouse": "Tern Island has a lighthouse, built in 1874. Its keeper was Ada Brook until 1931.",
    "harbour": "Port Hale has three quays. The harbour master is Clara Voss, who studied in Graz.",
    "bread": "Bread dough rises because yeast turns sugar into carbon dioxide. Rye has less gluten than wheat.",
}
QUESTIONS = ("When was the lighthouse built?", "Who is the harbour master?", "Why does dough rise?")
COMMANDS = ("rag ", "rm -r ", "mv ")
FLIPS = 12
SECONDS = 300


def rag(*arguments: str | Path, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """A real `rag` command; `limit_bytes` is the size that none of its files may pass."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", "rag", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit, check=False)


def made(folder: Path, *, words: str = "") -> Path:
    """An index of the little documents, with windows; `words` makes other documents of them."""
    manuals = folder / "manuals"
    manuals.mkdir(parents=True)
    for name, text in TEXTS.items():
        (manuals / f"{name}.txt").write_text(f"{text} {words}", "utf-8")
    ended = rag("ingest", manuals, "-i", folder / "index", "--set", "index.window_sentences=1")
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return folder / "index"


def files_of(index: Path) -> list[str]:
    """Every file of an index but its locks, by its path; `GENERATION` stands for the generation's folder."""
    own = generation_of(index)
    names = (path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file())
    return sorted(name.replace(own, "GENERATION") for name in names if not name.startswith((".lock", "documents/")))


def generation_of(index: Path) -> str:
    return next(path.name for path in index.glob("generation-*"))


def at(index: Path, name: str) -> Path:
    return index / name.replace("GENERATION", generation_of(index))


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def as_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def other_type(path: Path, chance: random.Random) -> None:
    """Another value under one of the keys, where the file is JSON; bytes too many where it is none."""
    if path.suffix not in (".json", ".jsonl"):
        path.write_bytes(path.read_bytes() + chance.randbytes(8))
        return
    first, *rest = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    stored = json.loads(first)
    stored[chance.choice(sorted(stored))] = chance.choice([None, [], 10**400, float("nan"), "seven", {"a": 1}])
    path.write_text("\n".join([json.dumps(stored), *rest, ""]), "utf-8")


Damage = Callable[[Path, random.Random], object]
KINDS: dict[str, Damage] = {
    "truncated": lambda path, chance: os.truncate(path, chance.randrange(path.stat().st_size)),
    "one byte short": lambda path, chance: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path, chance: os.truncate(path, 0),
    "zeros": lambda path, chance: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path, chance: path.write_bytes(chance.randbytes(path.stat().st_size)),
    "removed": lambda path, chance: path.unlink(),
    "a folder": as_folder,
    "other types": other_type,
    **{f"flipped {n}": flip for n in range(FLIPS)},
}


class Searching:
    """A process that searches whatever index it is told, with the real encoder; begun again where it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def answers(self, index: Path) -> str:
        """What it found, as JSON: {"found": …}, {"sentence": …}, or {"traceback": …}, also where it died."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "benchmarks.attack.damage"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{index}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip() or json.dumps({"traceback": "the process died"})

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def search_what_is_told() -> None:
    """The other side of `Searching`: a line of paths in, a line of JSON out."""
    from rag.build.parts import make_encoder
    from rag.build.retrievers import Retrievers
    from rag.build.serving import serving_over
    from rag.config import load_settings
    from rag.errors import RagError
    from rag.lazy import Lazy

    settings = load_settings(None, [])
    encoder = make_encoder(settings)
    for line in sys.stdin:
        folder = Path(line.strip())
        try:
            serving = serving_over(settings, folder)
            retrievers = Retrievers(settings, folder, Lazy.of(encoder))
            hits = retrievers.get("hybrid").retrieve(QUESTIONS, 5)
            found = [[[hit.passage.id, hit.passage.content, round(hit.score, 5)] for hit in own] for own in hits]
            said = {"found": [found, sorted(retrievers.collections()), repr(serving.rerank_threshold)]}
        except RagError as error:
            said = {"sentence": str(error)}
        except Exception as error:  # what is counted as a traceback
            said = {"traceback": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


def class_of(said: str, wanted: str) -> str:
    """`same`, `sentence`, `wrong`, or `traceback`."""
    if said == wanted:
        return "same"
    answer = json.loads(said)
    if "sentence" in answer:
        is_one = "\n" not in answer["sentence"] and any(command in answer["sentence"] for command in COMMANDS)
        return "sentence" if is_one else "traceback"
    return "traceback" if "traceback" in answer else "wrong"


def summary(classes: Sequence[str]) -> Outcome:
    counted = Counter(classes)
    words = {"same": "the same answer", "sentence": "a sentence", "wrong": "another answer", "traceback": "a traceback"}
    said = ", ".join(f"{counted[name]} {text}" for name, text in words.items())
    return Outcome(len(classes), counted["same"] + counted["sentence"], said)


def every_file(scratch: Path) -> Outcome:
    """Every file in every way, and another index's in its place; the index is opened and searched for real."""
    index, other = made(scratch / "one"), made(scratch / "two", words="None of this is true.")
    searching, classes = Searching(), []
    wanted = searching.answers(index)
    if "found" not in json.loads(wanted):
        raise RuntimeError(wanted)
    for name in files_of(index):
        kinds = dict(KINDS)
        if at(index, name).read_bytes() != at(other, name).read_bytes():
            kinds["another's"] = lambda path, chance, name=name: shutil.copyfile(at(other, name), path)
        for kind, damage in kinds.items():
            copy = scratch / "copy"
            shutil.copytree(index, copy)
            damage(at(copy, name), random.Random(f"{name} {kind}"))
            said = searching.answers(copy)
            classes.append(class_of(said, wanted))
            if classes[-1] in ("wrong", "traceback"):
                print(f"{name}, {kind}: {said[:300]}", file=sys.stderr)
            shutil.rmtree(copy)
    searching.close()
    return summary(classes)


ASKED = ("GENERATION/vectors.faiss", "GENERATION/passages.jsonl", "GENERATION/bm25/vocab.index.json", "CURRENT")


def asked(index: Path) -> tuple[int, str, str]:
    """(exit status, the answer's text, what was said on stderr) of `rag ask --json`."""
    ended = rag("ask", QUESTIONS[0], "-i", index, "--json", "--set", "reranker.depth=5")
    text = json.loads(ended.stdout)["answer"] if ended.returncode == 0 else ""
    return ended.returncode, json.dumps(text), ended.stderr


def real_commands(scratch: Path) -> Outcome:
    """`rag ask --json` over damaged parts, then `rag doctor`, then the command that it names, then the answer again."""
    index = made(scratch / "one")
    _, wanted, _ = asked(index)
    tried, held, missed = 0, 0, []
    for name in ASKED:
        flip(at(index, name), random.Random(name))
        status, answer, said = asked(index)
        is_sentence = status == 1 and said.strip().splitlines()[-1].startswith("rag: ") and "Traceback" not in said
        findings = json.loads(rag("doctor", index, "--json").stdout)
        mend = findings[0]["mend"].split() if findings else []
        repaired = bool(mend) and rag(*mend[1:]).returncode == 0 and asked(index)[1] == wanted
        for what, holds in (("ask", answer == wanted or is_sentence), ("doctor", bool(findings)), ("repair", repaired)):
            tried, held = tried + 1, held + holds
            missed += [] if holds else [f"{name}: {what}"]
    return Outcome(tried, held, "; ".join(missed) or "each named, found by rag doctor, and repaired by its command")


def no_room(scratch: Path) -> Outcome:
    """`rag ingest` of a new document where no file may grow past a limit, which ends writes as a full disk does."""
    index = made(scratch / "one")
    searching = Searching()
    wanted = searching.answers(index)
    (scratch / "one" / "manuals" / "new.txt").write_text("Gulls nest on the north cliff. " * 40, "utf-8")
    tried, held, missed = 0, 0, []
    for limit in (300, 1_500, 6_000, 12_000, 20_000):
        ended = rag("ingest", "-i", index, limit_bytes=limit)
        lines = ended.stderr.strip().splitlines() or [""]
        is_sentence = ended.returncode == 1 and lines[-1].startswith("rag: ") and "Traceback" not in ended.stderr
        tried, held = tried + 1, held + (is_sentence and searching.answers(index) == wanted)
        missed += [] if is_sentence else [f"at {limit} bytes: {lines[-1][:120]}"]
    ended = rag("ingest", "-i", index)
    tried, held = tried + 1, held + (ended.returncode == 0 and searching.answers(index) != wanted)
    searching.close()
    return Outcome(tried, held, "; ".join(missed) or "the old index answered each time, and the same command went on")


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "damage",
        f"every file of an index flipped ({FLIPS} times), cut, emptied, zeroed, made noise, removed, made a folder, "
        "given other types, replaced by another index's; opened and searched",
        "the same answer or a sentence with a command",
        every_file,
    ),
    Attack(
        "damage",
        "a byte flipped in vectors, passages, BM25, the pointer; `rag ask --json`, `rag doctor`, the command named",
        "a sentence, a finding, the same answer again",
        real_commands,
    ),
    Attack(
        "full disk",
        "`rag ingest` where no file may grow past a limit, at five limits",
        "a sentence; the old index answers; the same command goes on",
        no_room,
    ),
)

if __name__ == "__main__":
    search_what_is_told()
