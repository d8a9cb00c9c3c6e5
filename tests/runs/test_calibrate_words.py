"""What `rag calibrate` says of what it chose: in words, with intervals, and never silently at an extreme."""

import json

import pytest

from rag.build.serving import serving_over
from rag.data.questions import Question
from rag.evaluate.calibration import calibrate
from rag.evaluate.calibration_words import choice_in_words, too_few
from rag.evaluate.evidence import calibrate_by
from rag.evaluate.significance import share_interval
from rag.evidence import EvidenceModel
from rag.index.calibration import CALIBRATION_FILE
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.runs.calibrate import make_calibration
from rag.types import CANNOTANSWER
from tests.fakes.training import NOUNS

LIMITS = {"min_precision": 0.5, "max_wrong_refusals": 0.15}


def record(answerable, unanswerable, **limits):
    """The calibration of these scores of answerable and unanswerable questions."""
    scores = [*answerable, *unanswerable]
    return calibrate(scores, [n < len(answerable) for n in range(len(scores))], **{**LIMITS, **limits})


def test_the_interval_of_a_share_is_wilsons():
    # 8 of 100 by the formula: (.08 + 3.8415/200 ± 1.96 √(.08 · .92/100 + 3.8415/40000)) / (1 + .038415)
    found = share_interval(8, 100)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0411, 0.1500)
    assert (round(share_interval(0, 10).low, 4), round(share_interval(0, 10).high, 4)) == (0.0, 0.2775)
    assert share_interval(10, 10).high == pytest.approx(1.0)
    assert round(share_interval(10, 10).low, 4) == 0.7225


def test_what_is_chosen_is_said_for_a_hundred_questions_of_each_kind():
    # 50 answerable of which 4 score below 1; 50 unanswerable of which 30 do: 8 and 60 of 100.
    answerable = [0.0] * 4 + [5.0] * 46
    unanswerable = [0.0] * 30 + [5.0] * 20
    result = record(answerable, unanswerable)
    (said,) = choice_in_words(result)
    assert said.startswith("refuses a question when its best rerank score is below ")
    assert "of 100 answerable questions like these about 8 (95 %: 3 to 19) would be refused" in said
    assert said.endswith("of 100 unanswerable about 60 (95 %: 46 to 72)")
    assert 0.0 < result["threshold"] <= 5.0


def test_a_score_by_all_evidence_is_called_so():
    model = EvidenceModel(("rerank",), (0.0,), (1.0,), (1.0,), 0.0)
    features = [{"rerank": score} for score in [5.0] * 20 + [-5.0] * 20]
    result = calibrate_by(model, features, [True] * 20 + [False] * 20, **LIMITS)
    assert choice_in_words(result)[0].startswith("refuses a question when its score by all evidence is below ")


@pytest.mark.parametrize(
    ("answerable", "unanswerable"),
    [
        ([-5.0] * 20, [5.0] * 20),  # the wrong way round
        ([1.0] * 20, [1.0] * 20),  # nothing tells them apart
        ([0.0, 1.0] * 20, [2.0] * 20),
    ],
)
def test_no_threshold_is_said_in_plain_words(answerable, unanswerable):
    result = record(answerable, unanswerable)
    assert result["threshold"] is None
    (said,) = choice_in_words(result)
    assert said.startswith("refuses no question by its score: ")
    assert "--max-wrong-refusals" in said


@pytest.mark.parametrize(
    ("answerable", "unanswerable", "kind"), [([1.0], [], "unanswerable"), ([], [1.0], "answerable")]
)
def test_questions_of_one_kind_choose_nothing_and_that_is_said(answerable, unanswerable, kind):
    (said,) = choice_in_words(record(answerable, unanswerable))
    assert said == f"refuses no question by its score: there is no {kind} question to choose a threshold with"


def test_a_threshold_that_refuses_nearly_everything_is_a_warning():
    spread = [float(n) for n in range(40)]
    result = record(spread, spread, min_precision=0.0, max_wrong_refusals=1.0)
    _, warning = choice_in_words(result)
    assert warning.startswith("warning: this refuses nearly every question (78 of 80), answerable or not")
    assert "--max-wrong-refusals" in warning


def test_a_threshold_that_refuses_hardly_anything_is_a_warning():
    # One unanswerable question of 40 stands apart; to refuse another one, answerable ones would have to be refused.
    result = record([0.0] * 40, [-5.0] + [1.0] * 39, max_wrong_refusals=0.0)
    _, warning = choice_in_words(result)
    assert warning.startswith("warning: this refuses hardly any question (1 of 40 unanswerable)")


@pytest.mark.parametrize(
    ("n_answerable", "n_unanswerable", "few"),
    [
        (20, 20, None),
        (19, 20, "only 19 answerable questions"),
        (100, 19, "only 19 unanswerable questions"),
        (3, 0, "only 3 answerable and 0 unanswerable questions"),
    ],
)
def test_fewer_than_twenty_of_a_kind_are_warned_of(n_answerable, n_unanswerable, few):
    result = {"n": n_answerable + n_unanswerable, "n_unanswerable": n_unanswerable}
    lines = too_few(result, "ask more")
    assert lines == [] if few is None else few in lines[0]
    assert all(line.startswith("warning: ") and line.endswith(": ask more") for line in lines)


@pytest.fixture
def calibrated(data, monkeypatch):
    """The lines of a calibration on n questions, every third of them unanswerable, told apart by their scores."""
    settings, folder = data

    def score(self, pairs, **options):
        return [-4.0 if int(query.split()[-1]) % 3 == 0 else 4.0 for query, _ in pairs]

    monkeypatch.setattr(CrossEncoderReranker, "score", score)

    def lines(n, **abstain):
        questions = [
            Question(f"q{k}", "q", f"who built the {NOUNS[k % 30]} {k}", CANNOTANSWER if k % 3 == 0 else NOUNS[k % 30])
            for k in range(n)
        ]
        chosen = settings.model_copy(update={"abstain": settings.abstain.model_copy(update=abstain)})
        serving = serving_over(chosen, folder / "index")
        return make_calibration(serving, "dev.txt", questions, None, **LIMITS), serving.index_folder

    return lines


def test_the_command_warns_of_few_questions_and_says_what_it_chose(calibrated):
    lines, index = calibrated(30)
    assert lines[0].startswith("warning: only 10 unanswerable questions; with fewer than about 20 of each kind")
    assert lines[0].endswith("add questions to dev.txt and calibrate again")
    (said,) = (line for line in lines if line.startswith("refuses a question when"))
    assert "about 0 (95 %: 0 to 16) would be refused, of 100 unanswerable about 100 (95 %: 72 to 100)" in said
    stored = json.loads((index / CALIBRATION_FILE).read_text("utf-8"))
    assert f"is below {stored['threshold']:.2f}" in said


def test_with_enough_questions_there_is_no_warning(calibrated):
    lines, _ = calibrated(60)
    assert not [line for line in lines if line.startswith("warning")]


def test_a_setting_that_goes_before_the_calibration_is_named(calibrated):
    lines, _ = calibrated(60, rerank_threshold=1.5)
    assert "abstain.rerank_threshold = 1.5 in your settings goes before it" in lines
