"""Commands that messages name can be pasted into a shell as they are."""

import shlex

import pytest

from rag import fixes
from rag.errors import IndexMismatchError


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (fixes.index_corpus("my corpus.txt", "my index"), ["rag", "index", "my corpus.txt", "-o", "my index"]),
        (fixes.remake("my index", "it's.txt"), ["rag", "index", "it's.txt", "-o", "my index"]),
        (fixes.remake("my index", ""), ["rag", "ingest", "-i", "my index"]),
        (fixes.encode_again("my index"), ["rag", "index", "--rebuild", "-o", "my index"]),
        (
            fixes.ingest("i", ["a b", "c"], forget=["d e"], settings=["index.factory=IVF64,Flat"]),
            ["rag", "ingest", "a b", "c", "-i", "i", "--forget", "d e", "--set", "index.factory=IVF64,Flat"],
        ),
        (fixes.roll_back("my index"), ["rag", "rollback", "my index"]),
        (fixes.calibrate("my index"), ["rag", "calibrate", "DEV", "-i", "my index"]),
        (fixes.calibrate("my index", written=True), ["rag", "calibrate", "--written", "-i", "my index"]),
        (
            fixes.start_again("my index"),
            ["rm", "-r", "my index", "&&", "rag", "ingest", "PATH", "-i", "my index"],
        ),
    ],
)
def test_a_shell_reads_the_words_that_are_meant(command, words):
    assert shlex.split(command) == words


def test_an_error_says_what_is_wrong_and_the_command_and_keeps_them_apart():
    error = IndexMismatchError("i holds 2 vectors for 3 passages", fixes.encode_again("i"))
    assert str(error) == "i holds 2 vectors for 3 passages; rebuild it: rag index --rebuild -o i"
    assert (error.what, error.fix) == ("i holds 2 vectors for 3 passages", "rag index --rebuild -o i")
    assert str(IndexMismatchError("i is busy")) == "i is busy"
