"""Hostile documents: each is refused by name or read within its limits, and the index stays whole."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome
from benchmarks.attack.hostile_files import hostile_files, more_of_a_folder
from rag.documents.scan import readable

SECONDS_A_FILE = 20
MAIN_MIB = 700
"""What the main process may take more than it takes without any hostile file."""

LONG_ONCE_READ = {"columns.csv", "open-quote.csv", "long-key.json", "span.html", "quotations.md", "lists.md"}
LONG_ONCE_READ |= {"nested-objects.json", "brackets.md"}
"""Files of hundreds of passages, which would take long to encode: they are read and split alone."""

SECRET = "the-secret-of-this-machine-4711"
GOOD = "The harbour master of Tern Island is Clara Voss. Dogs are free on every ferry.\n"


def _limited(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rag", *arguments],
        cwd=folder,
        capture_output=True,
        timeout=1_500,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"},
    )


def _ingested(scratch: Path) -> Outcome:
    """All hostile files at once, beside a good one, by the real command."""
    folder = scratch / "documents"
    folder.mkdir()
    (scratch / "secret").write_text(SECRET)
    (folder / "good.txt").write_text(GOOD)
    made = {name: make for name, make in hostile_files(scratch / "secret").items() if name not in LONG_ONCE_READ}
    for name, make in made.items():
        (folder / name).write_bytes(make())
    names = [readable(name) for name in (*made, *more_of_a_folder(folder))]
    limit = f"documents.max_seconds_per_file={SECONDS_A_FILE}"
    ended = _limited("ingest", str(folder), "-i", "my.index", "--set", limit, folder=scratch)
    said = (ended.stdout + ended.stderr).decode("utf-8", "replace")
    doctor = _limited("doctor", "my.index", folder=scratch)
    records, passages = _kept(scratch / "my.index")
    read = {readable(place["path"]) for record in records for place in record["paths"]}
    named = {name for name in names if name in said}
    is_whole = ended.returncode in (0, 3) and doctor.returncode == 0 and "good.txt" in read
    is_silent = SECRET in said or any(SECRET in text for text in passages)
    held = sum(name in read or name in named for name in names) if is_whole and not is_silent else 0
    longest = max(map(len, passages), default=0)
    return Outcome(
        len(names),
        held,
        f"{len(read) - 1} were read and {len(names) - len(read) + 1} were not, each with its reason; "
        f"the longest passage has {longest:,} characters"
        if held == len(names)
        else f"ingest ended with {ended.returncode}, doctor with {doctor.returncode}; "
        f"not accounted for: {sorted(set(names) - read - named)[:5]}; {said[-300:]!r}",
    )


def _kept(index: Path) -> tuple[list[dict], list[str]]:
    """The rows of documents and the texts of passages that an index holds now."""
    from rag.index.read import kept_documents, open_index

    return list(kept_documents(index)), [passage.text for passage in open_index(index).corpus]


def _read_and_split(scratch: Path) -> Outcome:
    """Each file alone by the worker: within the time of a file, and the main process stays small."""
    from rag.documents.chunk import ChunkSettings
    from rag.documents.parsed import ParsedDocuments
    from rag.documents.worker import ParserProcess
    from rag.errors import UnreadableFile

    (scratch / "secret").write_text(SECRET)
    store = ParsedDocuments(scratch / "index")
    parser = ParserProcess(seconds=SECONDS_A_FILE)
    held, slow = 0, []
    made = {**hostile_files(scratch / "secret"), **_long_files()}
    largest_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n, (name, make) in enumerate(made.items()):
        path = scratch / name
        path.write_bytes(make())
        started = time.monotonic()
        try:
            store.write(f"{n:064x}", parser.parse(path))
            split = parser.split(store, f"{n:064x}", ChunkSettings(), lambda texts: [len(t.split()) for t in texts])
            is_safe = split is not None and not any(SECRET in chunk.text for chunk in split.chunks)
        except UnreadableFile:
            is_safe = True
        seconds = time.monotonic() - started
        path.unlink()
        # Reading and splitting have the time of a file each, and a process has to start.
        if is_safe and seconds < 2 * SECONDS_A_FILE + 30:
            held += 1
        else:
            slow.append(f"{name}: {seconds:.0f} s")
    parser.close()
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - largest_before) / 1024
    if grown_mib > MAIN_MIB:
        return Outcome(len(made), 0, f"the main process grew by {grown_mib:,.0f} MiB")
    return Outcome(len(made), held, "; ".join(slow) or f"the main process grew by {grown_mib:,.0f} MiB at most")


def _long_files() -> dict:
    """Documents that are only long: splitting them was quadratic once."""
    return {
        "rows.csv": lambda: b"number,word\n" + b"".join(b"%d,word\n" % n for n in range(50_000)),
        "wide.csv": lambda: (b",".join(b"c%d" % n for n in range(2_000)) + b"\n") * 100,
        "items.md": lambda: b"- an item\n" * 20_000,
        "sentence.txt": lambda: b"word " * 200_000,
        "word.txt": lambda: b"a" * 1_000_000,
        "lines.txt": lambda: b"a\n" * 500_000,
        "lines.json": lambda: b"".join(json.dumps({"id": n, "text": "words"}).encode() + b"\n" for n in range(20_000)),
        "headings.md": lambda: b"".join(b"# heading %d\n\nwords\n\n" % n for n in range(5_000)),
    }


ATTACKS = (
    Attack(
        "documents",
        "hostile files beside a good one: bombs of ZIP, gzip, XML, PDF; circles, deep nesting, far cells, pipes, names",
        "each is named with its reason or read; the good one is found; `rag doctor` finds nothing",
        _ingested,
    ),
    Attack(
        "documents",
        "the same and very long ones, each alone, read and split",
        "refused or done within the time of a file; the main process stays small",
        _read_and_split,
    ),
)
