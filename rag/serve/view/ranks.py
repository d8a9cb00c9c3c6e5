"""How well a passage matches its question, in a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rag.evidence import USUAL_SCALE, MatchScale
from rag.types import Hit, Response

Rank = Literal["strong", "likely", "weak"]
_STRONG, _LIKELY, _UNKNOWN = "strong_from", "likely_from", "scale_unknown"


def rank_of(hit: Hit, response: Response | None, scale: MatchScale | None, *, is_cited: bool) -> Rank | None:
    """The word by the scale of the reranker that scored the passage; None where that has no known scale.

    What is cited, or where a reader sees an answer, is not weak.
    """
    if scale is None:
        return None
    if hit.evidence >= scale.strong:
        return "strong"
    span = response.spans.get(hit.passage.id) if response else None
    is_seen = span is not None and span.is_seen
    return "likely" if hit.evidence >= scale.likely or is_cited or is_seen else "weak"


def about_scale(scale: MatchScale | None) -> dict[str, float]:
    """A scale as it is kept beside a turn: another reranker may serve when the turn is opened again."""
    return {_UNKNOWN: 1} if scale is None else {_STRONG: scale.strong, _LIKELY: scale.likely}


def scale_about(about: Mapping[str, object]) -> MatchScale | None:
    """The scale that is kept beside a turn; the usual one for a turn of a version that kept none."""
    strong, likely = about.get(_STRONG), about.get(_LIKELY)
    if isinstance(strong, int | float) and isinstance(likely, int | float):
        return MatchScale(float(strong), float(likely))
    return None if _UNKNOWN in about else USUAL_SCALE
