"""Names, passages and arguments that hold orders to a terminal, in every command that shows them, in three locales.

What holds: no byte leaves that a terminal obeys, no traceback, and JSON that holds every text exactly.
"""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.attack.attempt import Attack, Outcome

SECONDS = 300
ORDERS = (
    "\x1b]0;title\x07 \x1b]52;c;ZWNobw==\x07 \x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\ \x9b31m \x1b[2J over"
    "\rwritten \b\b\x7f \u202etxt.exe\u202c \u2066x\u2069 z\u200bw \u2028line"
)
NAMES = (
    b"plain.txt",
    b"not utf-8 \xff\xfe.txt",
    b"colour \x1b[31m.txt",
    b"line end\nleft out: forged.txt",
    b"over\rwritten.html",
    b"-rf $(reboot).txt",
    "c1 \x9b2J.md".encode(),
    "bidi \u202etxt.md".encode(),
    "separator \u2028.txt".encode(),
)
BROKEN = (b"broken \x1b]0;x\x07\xff.pdf", b"broken \n left out: \x1b[2J.docx")
LOCALES: tuple[Mapping[str, str], ...] = (
    {"LC_ALL": "C"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C.UTF-8"},
)
_OBEYED = re.compile(
    rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa6-\xaf]|\xef\xbb\xbf"
)


def write_documents(folder: Path) -> None:
    """Documents whose names and texts are hostile; two of them cannot be read."""
    folder.mkdir()
    for n, name in enumerate(NAMES):
        text = f"# Lighthouse {n} {ORDERS}\n\nLighthouse number {n} of Tern Island was built in 18{70 + n} {ORDERS}.\n"
        (folder / os.fsdecode(name)).write_text(text, "utf-8")
    for name in BROKEN:
        (folder / os.fsdecode(name)).write_bytes(b"%PDF-1.4 " + ORDERS.encode())
    row = {"title": f"row {ORDERS}\ud800", "text": f"The dataset says that the ferry sails at nine {ORDERS}."}
    (folder / "rows \x1b[31m.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "text": 3}) + "\n{\n")


def run(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rag", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, env=env, cwd=folder, timeout=SECONDS, check=False)


def problem_of(shown: bytes, *, as_json: bool, encoding: str = "utf-8") -> str:
    """What is wrong with what a command printed; "" for nothing."""
    if found := _OBEYED.search(shown if encoding != "latin-1" else shown.decode("latin-1").encode()):
        around = shown[max(found.start() - 30, 0) : found.end() + 30]
        return f"{around!r} reached the terminal"
    if b"Traceback" in shown:
        return shown[-200:].decode("utf-8", "replace")
    if as_json:
        try:
            json.loads(shown.decode(encoding))
        except ValueError as error:
            return f"no JSON: {error}"
    return ""


def shown_by_commands(folder: Path) -> Outcome:
    """Every command that shows names or passages."""
    write_documents(folder / "do\x1b[31mcs \udcff")
    docs, question = "do\x1b[31mcs \udcff", f"When was lighthouse number 3 built? {ORDERS} \udcff".replace("\0", "")
    tries: list[list[str]] = [["ingest", docs, "-i", "index"]]
    tries += [[words, question, "-i", "index", *more] for words in ("search", "ask") for more in ([], ["--json"])]
    tries += [["doctor", "index"], ["audit", "index"], ["audit", "index", "--json"]]
    tries += [["ingest", "-i", "index", "--forget", f"{docs}/{os.fsdecode(NAMES[1])}", "--json"], ["doctor", "index"]]
    tries += [["ask", question, "-i", f"missing {ORDERS}\udcff"], ["ask", f"--{ORDERS}"], [ORDERS], ["ingest", ORDERS]]
    tries += [["batch", f"no {ORDERS}", "-i", "index", "-o", "run"], ["report", f"r {ORDERS}", "-o", "r.html"]]
    tries += [["ask", "x", "--set", f"{ORDERS}={ORDERS}"], ["ask", "x", "--config", f"{ORDERS}.toml"]]
    problems = []
    for n, words in enumerate(tries):
        environment = LOCALES[n % len(LOCALES)]
        encoding = "latin-1" if environment.get("PYTHONIOENCODING") == "latin-1" else "utf-8"
        ended = run(words, environment, folder)
        for shown, is_json in ((ended.stdout, "--json" in words), (ended.stderr, False)):
            if problem := problem_of(shown, as_json=is_json and ended.returncode in (0, 3), encoding=encoding):
                problems.append(f"rag {words[0][:20]!r} {dict(environment)}: {problem}")
    return Outcome(len(tries), len(tries) - len({each.split(":")[0] for each in problems}), "; ".join(problems)[:500])


def shown_on_a_terminal(folder: Path) -> Outcome:
    """The same on a terminal, where bars and colours are drawn: nothing of the documents among the orders."""
    write_documents(folder / "docs")
    problems = []
    tries = (["ingest", "docs", "-i", "index"], ["ask", f"When? {ORDERS}", "-i", "index"], ["ask", "x", f"--{ORDERS}"])
    for words in tries:
        shown = _on_a_terminal(words, folder)
        # Titles, the clipboard, links, a cleared screen, one-byte orders and letters reordered are no bar of ours.
        for order in (b"\x1b]", b"\x1b[2J", b"\xc2\x9b", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\x08", b"\x7f", b"\x07"):
            if order in shown:
                problems.append(f"rag {words[0]}: {order!r} reached the terminal")
    return Outcome(len(tries), len(tries) - len({each.split(":")[0] for each in problems}), "; ".join(problems)[:500])


def _on_a_terminal(words: Sequence[str], folder: Path) -> bytes:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rag", *words]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(ours)
    process.wait()
    return shown


def private(folder: Path) -> Outcome:
    """Files of conversations, users and feedback under the loosest umask, new ones and ones that stood open."""
    os.umask(0)
    from rag.errors import RagError
    from rag.serve.export import export_feedback
    from rag.serve.history import History
    from rag.serve.users import Users

    conversations = folder / "home" / "conversations"
    checks: dict[str, bool] = {}
    for name in ("new", "open before"):
        history = History(conversations / "a.sqlite")
        users = Users(folder / "users.json")
        users.add("ada", "long enough")
        export_feedback(history, folder / "feedback.jsonl")
        for path in (conversations / "a.sqlite", folder / "users.json", folder / "feedback.jsonl"):
            checks[f"{name} {path.name}"] = stat.S_IMODE(path.stat().st_mode) == 0o600
            path.chmod(0o666)
        checks[f"{name} folder"] = stat.S_IMODE(conversations.stat().st_mode) == 0o700
        conversations.chmod(0o777)
    victim = folder / "victim"
    victim.write_text("theirs")
    victim.chmod(0o644)
    for name in ("b.sqlite", "c.sqlite"):
        (conversations / name).symlink_to(victim)
        os.lchown(conversations / name, 65534, 65534)
        try:
            History(conversations / name)
            checks[f"link {name}"] = False
        except RagError:
            checks[f"link {name}"] = victim.read_text() == "theirs" and stat.S_IMODE(victim.stat().st_mode) == 0o644
    failed = [name for name, held in checks.items() if not held]
    return Outcome(len(checks), len(checks) - len(failed), ", ".join(failed))


ATTACKS = (
    Attack("terminal", "orders to it in names, passages, rows, arguments", "shown, not obeyed", shown_by_commands),
    Attack("terminal", "the same where bars and colours are drawn", "shown, not obeyed", shown_on_a_terminal),
    Attack("files", "conversations and users, open to others or linked", "closed; no link followed", private),
)
