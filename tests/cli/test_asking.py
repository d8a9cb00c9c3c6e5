"""An answer on a terminal grows; in a pipe it is there at once, and plain."""

import io
import sys

import pytest

from rag import terminal
from rag.cli.asking import show_answer
from rag.generate.growing import Growing, growing
from rag.progress import Spinner
from rag.terminal import QUIET, USUAL, is_coloured, set_loudness, show, styled, tell
from rag.types import Answer, Hit, Passage, Query, Response

CONTEXTS = (Hit(Passage("a@0", "The old ferry leaves at noon from the southern harbour every day.", "Ferry"), 1.0),)
TEXT = "The ferry leaves at noon from the southern harbour every day."


def response(text=TEXT, citations=("a@0",), marks=(), raw=None):
    answer = None if text is None else Answer(text, citations, raw or text, marks)
    return Response(Query("q", "when?"), CONTEXTS, CONTEXTS, CONTEXTS, answer)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(steps, *, streams, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    show_answer((step for step in steps), as_json=False, streams=streams)
    return out.getvalue().split("\n")


def test_pieces_and_the_rest_make_one_answer(monkeypatch):
    steps = [Growing("searching"), Growing("writing", "The ferry"), Growing("writing", "The ferry leaves at")]
    lines = shown([*steps, Growing(response=response())], streams=True, monkeypatch=monkeypatch)
    assert lines[0] == f"{TEXT} [1]"
    assert lines == shown([Growing(response=response())], streams=False, monkeypatch=monkeypatch)


def test_an_answer_that_does_not_stay_is_shown_again(monkeypatch):
    steps = [Growing("writing", "Perhaps at"), Growing(response=response())]
    lines = shown(steps, streams=True, monkeypatch=monkeypatch)
    assert lines[:3] == ["Perhaps at", "", f"{TEXT} [1]"]


def test_what_is_written_comes_as_far_as_it_is_sure():
    pieces = [response(None, ()), *(response(TEXT[:n], (), raw=TEXT[:n]) for n in (10, 40, len(TEXT))), response()]
    steps = list(growing(pieces))
    assert steps[0].status == "writing"
    texts = [step.text for step in steps[1:-1]]
    assert all(TEXT.startswith(text) for text in texts)
    assert any(texts)
    assert steps[-1].response == pieces[-1]


def test_a_spinner_turns_on_a_terminal_alone_and_not_with_q(monkeypatch):
    def drawn(stream):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("rag.progress.LOOK_EVERY_SECONDS", 0.001)
        with Spinner("searching") as spinner:
            for _ in range(2000):
                if "reading" in stream.getvalue():
                    break
                spinner.say("reading")
                spinner._ended.wait(0.001)
        return stream.getvalue()

    assert "reading" in drawn(Terminal())
    assert drawn(io.StringIO()) == ""
    set_loudness(QUIET)
    try:
        assert drawn(Terminal()) == ""
    finally:
        set_loudness(USUAL)


def test_a_line_clears_the_one_that_is_drawn(monkeypatch):
    out, err = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    terminal.redraw("working")
    show("done")
    assert err.getvalue() == "\r\x1b[2Kworking\r\x1b[2K"
    assert out.getvalue() == "done\n"


@pytest.mark.parametrize(
    ("variables", "stream", "wanted"),
    [
        ({}, Terminal(), True),
        ({}, io.StringIO(), False),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"NO_COLOR": ""}, Terminal(), True),
        ({"TERM": "dumb"}, Terminal(), False),
    ],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, variables, stream, wanted):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_coloured(stream) is wanted
    monkeypatch.setattr(sys, "stdout", stream)
    show(styled("a\x1b[2J", "strong", " b"))
    assert stream.getvalue().endswith("\x1b[1ma\\x1b[2J\x1b[0m b\n" if wanted else "a\\x1b[2J b\n")


def test_q_keeps_notes_away_and_no_error(capsys):
    set_loudness(QUIET)
    try:
        tell("a note")
        tell("an error", level=QUIET)
    finally:
        set_loudness(USUAL)
    tell("a detail", level=terminal.VERBOSE)
    assert capsys.readouterr().err == "an error\n"
