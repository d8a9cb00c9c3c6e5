"""What speaks for an answer before one is written: the features of a response, and their one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.types import Response

RERANK, READER, READER_MEAN = "rerank", "reader", "reader_mean"
CARRIES_OVER = (RERANK, READER)
"""What means the same over other documents. The mean margin does not: in a small folder one passage is about the
question, and the others lower the mean; in a large one all may be."""


def features_of(response: Response) -> dict[str, float]:
    """The features of a response, by name, in logits; none where nothing was found.

    `rerank` is the best rerank logit. Where a reader read, `reader` is the largest margin of its spans, and
    `reader_mean` their mean: one passage of several often seems to answer what none does.
    """
    if not response.reranked:
        return {}
    found = {RERANK: best_evidence(response)}
    if response.spans:
        margins = [span.margin for span in response.spans.values()]
        found |= {READER: max(margins), READER_MEAN: sum(margins) / len(margins)}
    return found


def best_evidence(response: Response) -> float:
    """The best rerank logit of a response that found something, whatever else its passages are ordered by.

    Calibrations are of these logits.
    """
    best = response.reranked[0]
    return best.score if best.logit is None else max(hit.evidence for hit in response.reranked)


@dataclass(frozen=True, slots=True)
class EvidenceModel:
    """A logistic model: bias + sum of weight * (feature - mean) / scale, the logit of "this can be answered".

    Every tuple has an entry for each of `features`, by their names in `features_of`.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def score(self, features: Mapping[str, float]) -> float:
        """The logit; a feature that is missing counts as its mean."""
        terms = zip(self.features, self.mean, self.scale, self.weights, strict=True)
        return self.bias + sum(
            weight * (features[name] - mean) / scale for name, mean, scale, weight in terms if name in features
        )

    @classmethod
    def of(cls, record: Mapping) -> EvidenceModel:
        """The model that a calibration stores."""

        def numbers(name: str) -> tuple[float, ...]:
            values: Sequence[float] = record[name]
            return tuple(values)

        names = tuple(record["features"])
        return cls(names, numbers("mean"), numbers("scale"), numbers("weights"), record["bias"])


@dataclass(frozen=True, slots=True)
class EvidenceThreshold:
    """A question whose evidence, by `model`, scores below `value` is refused."""

    value: float
    model: EvidenceModel


@dataclass(frozen=True, slots=True)
class MatchScale:
    """The rerank logits from which on a passage is a strong match for its question, and a likely one."""

    strong: float
    likely: float


USUAL_SCALE = MatchScale(2.0, -1.0)
"""Of the untuned packaged reranker, where no calibration applies."""

Threshold = float | EvidenceThreshold
"""Below which a question is refused: a best rerank logit, or a score by all evidence."""


def is_below(threshold: Threshold, response: Response) -> bool:
    """Whether a response that found something is to be refused."""
    if isinstance(threshold, EvidenceThreshold):
        return threshold.model.score(features_of(response)) < threshold.value
    return best_evidence(response) < threshold
