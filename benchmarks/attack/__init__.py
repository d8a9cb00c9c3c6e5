"""What a hostile user, a hostile document and a failing machine were tried with, tried again.

Each module of `MODULES` has its attacks in `ATTACKS`. Each attack runs in a process of its own, in a folder of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome

MODULES = ("expressions", "documents", "requests", "load", "damage", "terminal", "kills", "interfaces")
BEGIN, END = "<!-- attacks -->", "<!-- end of attacks -->"
LONGEST_SECONDS = 1_800


def attacks_of(module: str) -> tuple[Attack, ...]:
    """The attacks of one module of `MODULES`."""
    return importlib.import_module(f"benchmarks.attack.{module}").ATTACKS


def run_here(module: str, number: int) -> Outcome:
    """Try one attack in this process. An exception of the attack itself counts as one that did not hold."""
    attack = attacks_of(module)[number]
    with tempfile.TemporaryDirectory(prefix="rag-attack-") as scratch:
        return attack.run(Path(scratch))


def run_apart(module: str, number: int) -> tuple[Outcome, float]:
    """Try one attack in a process of its own; its outcome, and the seconds that it took."""
    command = [sys.executable, "-m", "benchmarks", "attack", "--here", module, str(number)]
    started = time.perf_counter()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(1, 0, f"did not end within {LONGEST_SECONDS} s"), time.perf_counter() - started
    seconds = time.perf_counter() - started
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or not lines:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Outcome(1, 0, f"the attempt itself failed: {last}"), seconds
    return Outcome(**json.loads(lines[-1])), seconds


def row(attack: Attack, outcome: Outcome) -> str:
    """One line of the table in docs/security.md."""
    what_happened = f"{outcome.held} of {outcome.tried} held" + (f": {outcome.said}" if outcome.said else "")
    return f"| {attack.area} | {attack.what} | {attack.expected} | {what_happened} |"


def write_table(path: Path, rows: list[str]) -> None:
    """Put the rows between the marks of the page, under the table's head."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    head = ["| where | what was tried | what has to happen | what happened |", "|---|---|---|---|"]
    path.write_text(before + "\n".join([BEGIN, "", *head, *rows, "", END]) + after, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`python -m benchmarks attack [MODULE …] [--write docs/security.md]`; 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks attack", description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"any of: {', '.join(MODULES)}; all by default")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its marks")
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.here:
        outcome = run_here(given.here[0], int(given.here[1]))
        print(json.dumps({"tried": outcome.tried, "held": outcome.held, "said": outcome.said}))
        return 0
    rows, everything_held = [], True
    for module in given.modules or MODULES:
        for number, attack in enumerate(attacks_of(module)):
            outcome, seconds = run_apart(module, number)
            everything_held &= outcome.held == outcome.tried
            rows.append(row(attack, outcome))
            print(f"{rows[-1]} ({seconds:.0f} s)", flush=True)
    if given.write:
        write_table(given.write, rows)
    return 0 if everything_held else 1
