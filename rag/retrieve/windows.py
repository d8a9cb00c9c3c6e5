"""Windows of a passage: beside the vector of the whole passage, one vector for every few of its sentences.

An answer stands in a sentence or two, which the one vector of a passage blurs. So a passage is as near to a question as
the nearest of its vectors (MaxP, Dai and Callan 2019, https://arxiv.org/abs/1905.09217). A window alone would also find
sentences that read like the question in passages about something else. Therefore its vector is mixed with that of the
whole passage. The mixture is not scaled back to unit length: a window that says little about its passage stays shorter.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rag.sentences import sentence_spans
from rag.types import Passage

QUESTION_SHARE = 0.2
"""Of a question that was written about a passage: with more of it, dense retrieval finds fewer passages."""
WINDOW_SHARE = 0.7  # by MRR@10 on dev: .2, .3 and .5 of the whole passage are worth .026, .027 and .022


def window_contents(passage: Passage, n_sentences: int) -> list[str]:
    """The text to embed for each window of `n_sentences`: the passage's title, then the sentences.

    Each window begins with the last sentence of the one before. A passage of at most `n_sentences` has no windows: its
    own vector would be the same.
    """
    spans = sentence_spans(passage.text)
    if not n_sentences or len(spans) <= n_sentences:
        return []
    step = max(n_sentences - 1, 1)
    # The last window may be shorter; none starts where only the overlap would be left.
    starts = range(0, len(spans) - (n_sentences - step), step)
    windows = [spans[start : start + n_sentences] for start in starts]
    return [
        dataclasses.replace(passage, text=passage.text[window[0][0] : window[-1][1]].strip()).content
        for window in windows
    ]


def mix_windows(windows: np.ndarray, wholes: np.ndarray, share: float = WINDOW_SHARE) -> np.ndarray:
    """(m, d) vectors for the index from (m, d) of windows and (m, d) of their whole passages; of length at most 1.

    `share` is that of the windows, or of questions in their place.
    """
    return share * windows + (1 - share) * wholes
