"""What the support of answers is worth: AUC of right against wrong, by hand."""

import numpy as np
import pytest

from rag.cli.metric_lines import metrics_lines
from rag.data.questions import Question
from rag.evaluate.evaluation import evaluate
from rag.evaluate.support import auc_interval, support_figures
from rag.types import CANNOTANSWER


def row(right, support, *, gold=True, logit=None, agreement=None, best=0.0, word_for_word=True):
    return {
        "right": right,
        "support": support,
        "support_logit": support if logit is None else logit,
        "support_agreement": agreement,
        "best_score": best,
        "word_for_word": word_for_word,
        "gold_in_context": gold,
    }


def test_auc_is_the_share_of_pairs_in_which_the_right_answer_scores_higher():
    rows = [row(True, 5.0), row(True, 1.0), row(False, 3.0), row(False, 0.0), row(False, 9.0, gold=False)]
    figures = support_figures(rows)
    # 5 above 3 and 0, 1 above 0 alone: three of four; with the 9 of an answer without gold three of six.
    assert figures["gold_in_context"]["auc"]["support"] == 0.75
    assert figures["all_answers"]["auc"]["support"] == 0.5
    assert (figures["gold_in_context"]["n_right"], figures["gold_in_context"]["n_wrong"]) == (2, 2)
    assert (figures["all_answers"]["n_right"], figures["all_answers"]["n_wrong"]) == (2, 3)
    assert figures["all_answers"]["auc"]["best passage"] == 0.5  # all scores are equal


def test_reranker_and_reader_are_scored_by_themselves_where_there_is_one():
    rows = [row(True, 5.0, logit=1.0, agreement=0.4), row(False, 3.0, logit=2.0, agreement=0.1)]
    assert support_figures(rows)["all_answers"]["auc"] == {
        "support": 1.0,
        "reranker": 0.0,
        "reader": 1.0,
        "best passage": 0.5,
    }
    unread = support_figures([row(True, 5.0), row(False, 3.0)])
    assert unread["all_answers"]["auc"]["reader"] is None


def test_answers_of_one_kind_have_no_auc_and_unchecked_ones_no_figures():
    figures = support_figures([row(True, 5.0), row(True, 1.0)])
    assert (figures["all_answers"]["auc"]["support"], figures["all_answers"]["interval"]) == (None, None)
    assert support_figures([{"right": True}, {"support": 1.0}]) is None


def test_of_the_quarter_of_least_support_it_is_said_how_many_are_wrong():
    rows = [row(n != 0 and n != 7, float(n), word_for_word=n < 2) for n in range(8)]
    figures = support_figures(rows)
    assert figures["lowest"] == {"n": 2, "wrong": 0.5, "wrong_of_all": 0.25}
    assert (figures["n"], figures["word_for_word"]) == (8, 0.25)


def test_an_interval_holds_the_auc_and_is_a_point_where_nothing_varies():
    assert auc_interval(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == [1.0, 1.0]
    low, high = auc_interval(np.array([1.0, 2.0, 4.0, 6.0]), np.array([0.0, 3.0, 5.0]))
    assert 0 <= low < 8 / 12 < high <= 1
    assert auc_interval(np.array([1.0]), np.array([0.0, 2.0])) is None


def prediction(qid, answer, **more):
    return {
        "qid": qid,
        "query": "who?",
        "source": "quac",
        "retrieved": [["a@0", 1.0]],
        "reranked": [["a@0", 1.0]],
        "contexts": ["a@0"],
        "dropped_contexts": 0,
        "raw": answer,
        "answer": answer,
        "citations": [],
        "abstained": answer == CANNOTANSWER,
        "abstained_by": None,
        "seconds": {},
        **more,
    }


def support(logit, agreement=None, words=()):
    score = logit + 10 * (agreement or 0)
    return {"support": {"word_for_word": list(words), "logit": logit, "agreement": agreement, "score": score}}


REFERENCES = {n: Question(n, "who?", "who?", answer) for n, answer in {"1": "Clara", "2": "Clara"}.items()}
QRELS = {"1": {"a@0": 1}, "2": {"a@0": 1}}


def test_an_evaluation_reads_the_support_of_predictions_and_shows_it():
    rows = [prediction("1", "Clara", **support(1.0, 1.0, ["a@0"])), prediction("2", "Graz", **support(2.0, 0.0))]
    metrics, scores = evaluate(rows, QRELS, REFERENCES)
    assert [score["support"] for score in scores] == [11.0, 2.0]
    found = metrics["support"]["gold_in_context"]
    assert found["auc"] == {"support": 1.0, "reranker": 0.0, "reader": 1.0, "best passage": 0.5}
    assert metrics["support"]["word_for_word"] == 0.5
    shown = "\n".join(metrics_lines(metrics))
    assert "gold in the context         1.0  (1 right, 1 wrong; alone: reranker 0.0, reader 1.0" in shown


@pytest.mark.parametrize("answer", ["Clara", CANNOTANSWER])
def test_a_run_without_checks_is_evaluated_and_shown_as_before(answer):
    metrics, scores = evaluate([prediction("1", answer)], QRELS, REFERENCES)
    assert metrics["support"] is None
    assert "support" not in scores[0]
    assert "support of answers" not in "\n".join(metrics_lines(metrics))
    del metrics["support"]  # as an older evaluation has it
    assert metrics_lines(metrics)
