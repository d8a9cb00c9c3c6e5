"""From which rerank logits on a passage is called a strong match, and a likely one."""

import pytest

from rag.build import serving as serving_module
from rag.build.serving import Serving
from rag.build.threshold import match_scale
from rag.config import load_settings
from rag.evidence import USUAL_SCALE, MatchScale
from rag.models.catalog import UNTUNED_RERANKER

# Unanswerable questions score 0.1, 0.2, 0.3, 0.4 and 0.8: four fifths of them lie below 0.6.
CURVE = [
    {"threshold": value, "abstain_recall": recall}
    for value, recall in ((0.1, 0.0), (0.25, 0.4), (0.45, 0.8), (0.6, 0.8), (0.9, 1.0))
]


def test_a_calibration_gives_both_ends():
    assert match_scale({"threshold": 0.25, "curve": CURVE}, "own") == MatchScale(0.45, 0.25)


def test_what_is_refused_is_never_a_strong_match():
    assert match_scale({"threshold": 0.7, "curve": CURVE}, "own") == MatchScale(0.7, 0.7)
    assert match_scale({"threshold": 0.25, "curve": CURVE[:2]}, "own") == MatchScale(0.25, 0.25)


@pytest.mark.parametrize("calibration", [None, {"threshold": None, "curve": CURVE}])
def test_without_one_the_scale_is_known_of_the_untuned_packaged_reranker_alone(calibration):
    assert match_scale(calibration, UNTUNED_RERANKER) == USUAL_SCALE
    assert match_scale(calibration, "own") is None
    assert match_scale(calibration, None) is None


def test_a_threshold_in_the_settings_hides_no_calibration(monkeypatch, tmp_path):
    asked = []

    def applying(settings, folder, manifest, reranker, reader):
        asked.append((settings.abstain.rerank_threshold, reranker, reader))
        return {"threshold": 0.25, "curve": CURVE}

    monkeypatch.setattr(serving_module, "applying_calibration", applying)
    settings = load_settings(None, ["abstain.rerank_threshold=3"])
    serving = Serving(settings, tmp_path, tmp_path, None, "e", "own", None, 3.0, "r")
    assert serving.match_scale(None) == MatchScale(0.45, 0.25)
    assert asked == [(None, "own", "r")]
