"""Where the sentences of a text begin and end."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable

from rag.types import Span

SHORTEST_CHARACTERS = 4
MAX_SENTENCES = 64
END_BEFORE_SPACE = "[.!?…](?:[ \u00a0\u202f]»|[\"'”’“»«)\\]]{0,3})"
"""The end of a sentence where a space follows, quotes and brackets included; French sets a space before its quote."""
END_WITHOUT_SPACE = "(?:[。！？｡।॥؟۔։።។။]|．(?![0-9０-９]))+[\"'”’」』〉》】）)\\]»]{0,3}"
"""The end of a sentence in scripts that need no space behind it, quotes and brackets included."""
_SENTENCE_END = re.compile(rf"{END_BEFORE_SPACE}\s+|\n{{2,}}|{END_WITHOUT_SPACE}\s*")


def sentence_spans(text: str, stands_apart: Callable[[str], bool] | None = None) -> list[Span]:
    """(start, end) of each sentence, in characters; together they cover the text. Lists and tables stay in one piece.

    A piece that begins in lower case (“approx. nine”) or is very short belongs to the sentence before, unless it
    `stands_apart`. There are at most 64 pieces: of more, neighbours are joined.
    """
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    spans: list[Span] = []
    for start, end in itertools.pairwise(ends):
        piece = text[start:end].strip()
        belongs = piece[:1].islower() or len(piece) < SHORTEST_CHARACTERS
        if spans and belongs and not (stands_apart and stands_apart(piece)):
            spans[-1] = (spans[-1][0], end)
        elif piece:
            spans.append((start, end))
    at_once = max(math.ceil(len(spans) / MAX_SENTENCES), 1)
    joined = [spans[n : n + at_once] for n in range(0, len(spans), at_once)]
    return [(group[0][0], group[-1][1]) for group in joined]
