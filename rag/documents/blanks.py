"""Long runs of blanks are made short: nobody reads them, and whatever reads the text after the parser would."""

from __future__ import annotations

import re

MAX_BLANKS = 100
"""A run of blanks and line ends that is longer becomes one blank; at the beginning of a line, so much indentation."""

_LONG = re.compile(rf"\s\s{{{MAX_BLANKS},}}+")


def without_long_blanks(text: str) -> str:
    """The text with every run of more than `MAX_BLANKS` blanks and line ends made short.

    A run without line ends becomes one space, a run of line ends an empty line. The indentation behind it stays, up to
    `MAX_BLANKS`.
    """
    return _LONG.sub(_shortened, text)


def _shortened(run: re.Match[str]) -> str:
    line_ends, line_end, indentation = run[0].rpartition("\n")
    if line_end:
        return ("\n\n" if "\n" in line_ends else "\n") + indentation[:MAX_BLANKS]
    return run[0][:MAX_BLANKS] if run.start() == 0 else " "
