"""Features of a response and their one score, worked by hand."""

import dataclasses
import json

import pytest

from rag.evidence import EvidenceModel, EvidenceThreshold, features_of, is_below
from rag.types import Hit, Passage, Query, ReadSpan, Response

HITS = (Hit(Passage("a@0", "It sails."), 3.0), Hit(Passage("b@0", "It rests."), 1.0))
SPANS = {"a@0": ReadSpan(0, 2, 4.0, 5.5), "b@0": ReadSpan(3, 8, 7.0, 6.0)}
MODEL = EvidenceModel(("rerank", "reader"), (1.0, -1.0), (2.0, 4.0), (0.5, 3.0), 0.25)


def response(**more):
    return Response(Query("1", "does it sail"), reranked=HITS, **more)


def test_the_features_are_the_best_rerank_logit_and_the_largest_and_mean_margin():
    # The margins are 4 - 5.5 = -1.5 and 7 - 6 = 1.
    assert features_of(response(spans=SPANS)) == {"rerank": 3.0, "reader": 1.0, "reader_mean": -0.25}
    assert features_of(response()) == {"rerank": 3.0}
    assert features_of(Response(Query("1", "nothing"))) == {}


def test_the_score_is_the_weighted_sum_of_standardised_features():
    # .25 + .5 * (3 - 1) / 2 + 3 * (1 + 1) / 4 = .25 + .5 + 1.5
    assert MODEL.score({"rerank": 3.0, "reader": 1.0}) == pytest.approx(2.25)
    assert MODEL.score({"rerank": 3.0}) == pytest.approx(0.75)
    assert MODEL.score({}) == 0.25


def test_a_threshold_by_evidence_asks_the_model_and_a_number_the_rerank_logit():
    read = response(spans=SPANS)
    assert [is_below(EvidenceThreshold(value, MODEL), read) for value in (2.2, 2.3)] == [False, True]
    assert [is_below(value, read) for value in (3.0, 3.1)] == [False, True]


def test_a_model_is_read_from_the_calibration_that_stores_it():
    assert EvidenceModel.of(json.loads(json.dumps(dataclasses.asdict(MODEL))) | {"threshold": 1.0}) == MODEL
