"""Nothing that others wrote reaches a terminal as an order to it, and no name ends a report."""

import ast
import io
import json
import logging
import os
import subprocess
import sys
import threading
import unicodedata
import warnings
from pathlib import Path

import pytest

import rag
from rag import fixes, progress, terminal
from rag.cli.lines import hit_lines, response_lines
from rag.documents.collection import Ingested
from rag.documents.ingested_lines import ingested_lines, update_line
from rag.evaluate.report.answers import plain
from rag.evaluate.report.figures import Dot, dots_figure
from rag.index.audit import Suspicion, suspicion_lines
from rag.index.doctor import Finding, finding_lines
from rag.serve.export import as_markdown
from rag.serve.turns import Turn
from rag.terminal import guarded, json_text, one_line, plain_logger, shell_word, show, show_json, shown_lines, tell
from rag.types import Answer, Hit, Passage, Query, Response

# A title, the clipboard, a link, colour by one byte, a cleared screen, a line overwritten, and letters reordered.
HOSTILE = (
    "\x1b]0;title\x07 \x1b]52;c;ZWNobw==\x07 \x1b]8;;http://evil\x1b\\link \x9b31m \x1b[2J \rover \b\b\x7f "
    "\u202etxt.exe \u2066x\u2069 z\u200bw \u2028line \ud800 \udcff"
)
PRINTED = {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x600, 0x606)}  # of the category Cf, and visible
OF_CONTROL = [
    chr(code)
    for code in range(0x110000)
    if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Cs") and code not in PRINTED
]


def is_clean(text, *, line_ends=False):
    return not any(ch in text for ch in OF_CONTROL if not (line_ends and ch == "\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – é 漢字 👍", "plain – é 漢字 👍"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b2J\x7f\b", r"\x9b2J\x7f\x08"),
        ("\u202efdp.exe\u2069", r"\u202efdp.exe\u2069"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("bad\udcff\udc80name", r"bad\xff\x80name"),
        ("half \ud83d", r"half \ud83d"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("so\u00adft, می\u200cشود, \ufeff\u200fz\u200bw", "soft, میشود, zw"),
        ("سنة \u0601 ١٩٨٠", "سنة \u0601 ١٩٨٠"),
    ],
)
def test_orders_to_a_terminal_are_shown_as_escapes(text, shown):
    assert one_line(text) == shown


def test_no_character_of_control_is_left():
    assert len(OF_CONTROL) > 2_000
    assert is_clean(one_line("".join(OF_CONTROL)))


def test_the_lines_of_a_text_stay_lines_and_tabs_become_spaces():
    assert shown_lines("if x:\n\treturn\x1b[2J\r\nlast\u2028end") == ["if x:", r"    return\x1b[2J", "last", "end"]


def test_json_holds_the_exact_text_and_nothing_that_a_terminal_obeys():
    value = {"text": HOSTILE + "é" + " ".join(OF_CONTROL)}
    text = json_text(value)
    assert json.loads(text) == value
    assert is_clean(text, line_ends=True)
    assert "é" in text


@pytest.mark.parametrize("name", ["it's", "a b", "x\x1b[2J'\\\n", "\udcffz", "zero\u200bwidth", "-rf", "$(reboot)`x`"])
def test_a_command_names_the_file_that_is_meant(name):
    word = shell_word(name)
    assert is_clean(word)
    shown = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert shown.stdout == os.fsencode(name)
    assert is_clean(fixes.ingest(name, [name], forget=[name]))


def stream_of(encoding, *, is_terminal=False):
    class Stream(io.TextIOWrapper):
        def isatty(self):
            return is_terminal

    return Stream(io.BytesIO(), encoding=encoding, newline="")


def written(stream):
    stream.flush()
    return stream.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_an_encoding_lacks_does_not_end_a_report(monkeypatch, encoding):
    out, err = stream_of(encoding), stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    show("漢 \udcff", "second")
    tell("漢 \udcff")
    assert written(out) == b"\\u6f22 \\xff\nsecond\n"
    assert written(err) == b"\\u6f22 \\xff\n"
    monkeypatch.setattr(sys, "stdout", again := stream_of(encoding))
    show_json({"name": "漢é\udcff"})
    assert json.loads(written(again)) == {"name": "漢é\udcff"}


def response(answer, passage):
    hit = Hit(passage, 1.0)
    return Response(Query("q", HOSTILE), (hit,), (hit,), (hit,), Answer(answer, (passage.id,), answer))


def test_answers_sources_and_summaries_leave_clean(capsys):
    passage = Passage("d@0", f"{HOSTILE} a passage", f"{HOSTILE}\n[9] a forged source", f"{HOSTILE}\n")
    show(*response_lines(response(f"Yes. {HOSTILE}\nAnd more.", passage)))
    show(*hit_lines(Hit(passage, 1.0), 1).split("\n"))
    name = f"{HOSTILE}\nleft out: nothing"
    result = Ingested(
        fingerprint="",
        n_passages=0,
        documents=[],
        left_out={name: HOSTILE},
        other_kinds={HOSTILE: 2},
        added=0,
        removed=0,
        kept=0,
        not_updated={name: HOSTILE},
        passed_over={HOSTILE: 1},
    )
    show(*ingested_lines(result, Path(name)), update_line(result, Path(name), "12:00:00"))
    show(*suspicion_lines([Suspicion(HOSTILE, name, name, HOSTILE)], Path(name)))
    show(*finding_lines([Finding("broken", name, fixes.ingest(name))], Path(name)))
    out = capsys.readouterr().out
    assert is_clean(out, line_ends=True)
    lines = out.split("\n")
    assert "And more. [1]" in lines
    assert not any(line.startswith(("[9]", "left out: nothing")) for line in lines)


def test_a_bar_shows_its_label_as_it_is(monkeypatch):
    stream = stream_of("utf-8", is_terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    with guarded(), progress.progress(f"[link=http://evil]{HOSTILE}", 3, "files") as bar:
        bar.advance()
    shown = written(stream)
    assert b"[link=http://evil]" in shown
    for order in (b"\x1b]", b"\x1b[2J ", b"\xc2\x9b", "\u202e".encode()):
        assert order not in shown


def test_a_line_of_progress_is_clean(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)
    with progress.progress(f"Reading {HOSTILE}\n", 3, "files") as bar:
        bar.advance()
    shown = capsys.readouterr().err
    assert shown.startswith(r"Reading \x1b]0;title")
    assert is_clean(shown.removesuffix("\n"))


def stderr_of_ours(monkeypatch):
    """What stderr is from now on; set in the test itself, since pytest sets its own before each."""
    stream = stream_of("utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_name_begins_no_line_of_a_log(monkeypatch):
    err = stderr_of_ours(monkeypatch)
    with guarded():
        handler = logging.StreamHandler()
        log = logging.getLogger("some.library")
        log.addHandler(handler)
        try:
            log.warning("cannot read %s", f"{HOSTILE}\nCRITICAL all is lost")
            try:
                raise ValueError(f"{HOSTILE}\nCRITICAL all is lost")
            except ValueError:
                log.exception("failed\n")
        finally:
            log.removeHandler(handler)
    lines = written(err).decode().split("\n")
    assert is_clean("".join(lines))
    assert lines[0].startswith("cannot read ")
    assert lines[1:3] == ["failed", "Traceback (most recent call last):"]
    assert not any(line.startswith("CRITICAL") for line in lines)


def test_our_own_logs_are_clean_wherever_they_go(caplog):
    log = plain_logger("rag.tests.terminal")
    assert plain_logger("rag.tests.terminal").filters == log.filters
    log.warning("%s has changed", f"my\n{HOSTILE}")
    (record,) = caplog.records
    assert record.getMessage().startswith(r"my\n\x1b]0;")
    assert is_clean(record.getMessage())
    for module in ("rag.serve.chat", "rag.serve.shelf", "rag.serve.answering"):
        __import__(module)
        assert logging.getLogger(module).filters


def test_what_libraries_print_and_warn_of_is_clean(monkeypatch):
    err = stderr_of_ours(monkeypatch)
    with guarded(), warnings.catch_warnings():
        print(f"a library says {HOSTILE}\nand goes on", file=sys.stderr)
        warnings.simplefilter("always")
        # As outside tests: a recorded one would not be printed.
        warnings.showwarning = lambda *shown: sys.stderr.write(warnings.formatwarning(*shown[:4]))
        warnings.warn(f"{HOSTILE}\nwarning: all is lost", stacklevel=1)
        thread = threading.Thread(target=lambda: int(f"{HOSTILE}\nCRITICAL"))
        thread.start()
        thread.join()
        try:
            raise ValueError(f"{HOSTILE}\nCRITICAL")
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)
    shown = written(err).decode()
    assert is_clean(shown, line_ends=True)
    lines = shown.split("\n")
    assert "and goes on" in lines
    assert len([line for line in lines if line.startswith("ValueError: ")]) == 2
    assert not any(line.startswith(("CRITICAL", "warning: ")) for line in lines)


def test_help_keeps_its_colours_and_bars_their_moves_on_a_terminal_alone(monkeypatch):
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    for is_terminal, shown in ((True, b"\x1b[1mUsage\x1b[0m\r 3%\\x1b[2J\\r"), (False, b"\\x1b[1mUsage")):
        stream = stream_of("utf-8", is_terminal=is_terminal)
        monkeypatch.setattr(sys, "stdout", stream)
        with guarded():
            sys.stdout.write("\x1b[1mUsage\x1b[0m")
            sys.stdout.write("\r 3%\x1b[2J\r")
        assert sys.stdout is stream
        assert written(stream).startswith(shown)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "rag", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment})


@pytest.mark.parametrize("arguments", [["ask", "x", "-i", "no\x1b[31m\nsuch\udcff"], ["ask", "x", "--\x1b[2J\udcff"]])
def test_errors_show_what_was_typed_and_do_not_obey_it(arguments):
    result = run(*arguments, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert result.returncode in (1, 2)
    assert b"Traceback" not in result.stderr
    assert rb"\x1b[" in result.stderr
    assert is_clean(result.stderr.decode("ascii"), line_ends=True)


def test_names_that_are_no_text_are_ingested_and_reported_in_any_locale(tmp_path, tiny_encoder_folder):
    docs = os.fsencode(tmp_path) + b"/do\x1b[31mcs\xff"
    os.mkdir(docs)
    for name in (b"bad\xff\xfe.txt", b"new\nleft out: line.txt", "bidi\u202e.md".encode(), b"broken\x1b]0;x\x07.pdf"):
        text = "%PDF-1.7 broken" if name.endswith(b"pdf") else "the ferry and the lighthouse\n"
        Path(os.fsdecode(docs + b"/" + name)).write_text(text)
    index = os.fsdecode(docs) + ".index"
    model = ["--set", f"encoder.model={tiny_encoder_folder}"]
    home = str(tmp_path / "home")
    said = run("ingest", os.fsdecode(docs), "-i", index, *model, LC_ALL="C", PYTHONIOENCODING="ascii", RAG_HOME=home)
    assert said.returncode == 3, said.stderr
    assert is_clean((said.stdout + said.stderr).decode("ascii"), line_ends=True)
    assert said.stdout.count(b"\nleft out: ") == 1
    told = run("ingest", "-i", index, "--json", *model, PYTHONIOENCODING="latin-1", RAG_HOME=home)
    documents = json.loads(told.stdout.decode("latin-1"))["documents"]
    names = {place["path"] for document in documents for place in document["paths"]}
    assert names >= {"bad\udcff\udcfe.txt", "new\nleft out: line.txt"}
    checked = run("doctor", index, *model, LC_ALL="C", RAG_HOME=home)
    assert is_clean((checked.stdout + checked.stderr).decode(), line_ends=True)
    assert b"is sound" in checked.stdout, checked.stderr


def test_names_of_runs_mean_nothing_in_markdown_and_can_be_drawn():
    name = f"<img src=x onerror=y>|# {HOSTILE}\n## forged"
    assert "\n" not in plain(name)
    assert as_markdown(name, [Turn(name)]).count("\x1b") == 0
    assert as_markdown("می\u200cشود", []) == "# می\u200cشود\n"
    assert plain("<b>|\n# x_y\x1b[2J") == r"\<b\>\| \# x\_y\\x1b\[2J"
    svg = dots_figure([name], {f"$\\frac{{{name}": [Dot(0.5)], "_b": [Dot(0.1)]}, "x")
    assert "<img" not in svg
    assert is_clean(svg.replace("\u200b", ""), line_ends=True)


WAYS_PAST = {"print", "echo", "secho", "print_exc", "print_exception", "print_stack", "pprint", "Console"}


def past_the_terminal(source):
    """The lines that write to stdout or stderr in another way than by rag.terminal."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in WAYS_PAST or (name == "getLogger" and ast.unparse(node).endswith("(__name__)")):
                found.append(node.lineno)
        name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if name in ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.__stdout__", "sys.__stderr__"):
            found.append(node.lineno)
        if isinstance(node, ast.keyword) and ast.unparse(node) in ("file=sys.stdout", "file=sys.stderr"):
            found.append(node.value.lineno)
    return found


def test_nothing_is_printed_past_the_one_way_out():
    root = Path(rag.__file__).parent
    places = {
        str(path.relative_to(root)): lines
        for path in root.rglob("*.py")
        if path != Path(terminal.__file__) and (lines := past_the_terminal(path.read_text("utf-8")))
    }
    assert list(places) == ["progress.py"]  # the bar, with a clean label
    assert len(places["progress.py"]) == 1


@pytest.mark.parametrize(
    "source",
    ["print('x')", "sys.stderr.write('x')", "typer.echo('x')", "logging.getLogger(__name__)", "f(x, file=sys.stderr)"],
)
def test_a_way_past_it_is_found(source):
    assert len(past_the_terminal(source)) == 1
