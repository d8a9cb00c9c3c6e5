"""Metrics against figures worked by hand and against trec_eval's own code."""

import math
import random

import pytest
import pytrec_eval

from rag.evaluate.metrics import (
    RANKING_METRICS,
    exact_match,
    judged_queries,
    mean,
    ndcg,
    normalize_answer,
    pessimistic_ranks,
    pessimistic_scores,
    ranking,
    ranking_scores,
    recall,
    reciprocal_rank,
    success,
    token_f1,
)

RANKED = ["a", "b", "c", "d", "e"]
JUDGED = {"b": 1, "d": 2, "x": 1, "a": 0}


def test_recall_is_found_over_relevant():
    assert [recall(RANKED, JUDGED, k) for k in (1, 2, 3, 4, 5, 50)] == [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3]


def test_success_is_one_from_the_first_relevant_passage_on():
    assert [success(RANKED, JUDGED, k) for k in (1, 2, 5)] == [0, 1, 1]


def test_reciprocal_rank_is_cut():
    assert reciprocal_rank(RANKED, {"c": 1, "e": 1}, 10) == 1 / 3
    assert reciprocal_rank(RANKED, {"c": 1}, 2) == 0
    assert reciprocal_rank(RANKED, {"x": 1}, 10) == 0


def test_ndcg_divides_by_the_ideal_order_of_every_relevant_passage():
    gained = 1 / math.log2(3) + 2 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(RANKED, JUDGED, 10) == pytest.approx(gained / ideal)
    assert ndcg(RANKED, JUDGED, 2) == pytest.approx((1 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert ndcg(["d", "b", "x"], JUDGED, 10) == pytest.approx(1)


def test_ranking_breaks_ties_by_ascending_id():
    assert ranking({"b": 1.0, "a": 1.0, "c": 2.0, "d": -1.0}) == ["c", "a", "b", "d"]


def test_gold_comes_last_in_a_tie_where_a_model_is_judged():
    assert pessimistic_ranks([1.0, 3.0, 2.0], [True, False, True]) == [2, 3]
    assert pessimistic_ranks([1.0] * 5, [True, False, True, False, False]) == [4, 5]
    assert pessimistic_ranks([2.0, 2.0, 1.0, 1.0], [True, False, False, True]) == [2, 4]
    assert pessimistic_ranks([], []) == pessimistic_ranks([1.0], [False]) == []


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_ranks_nothing(odd):
    assert pessimistic_ranks([odd, 1.0], [False, True]) == []
    assert pessimistic_scores([odd, 1.0], [False, True], 1) == {"mrr@10": 0.0, "recall@10": 0.0}


def test_pessimistic_scores_are_cut_at_ten_and_count_gold_that_was_not_found():
    assert pessimistic_scores([2.0, 3.0, 1.0], [True, False, True], 4) == {"mrr@10": 1 / 2, "recall@10": 2 / 4}
    assert pessimistic_scores([6.0] * 9 + [5.0], [False] * 9 + [True], 1) == {"mrr@10": 1 / 10, "recall@10": 1.0}
    assert pessimistic_scores([5.0] * 11, [True] + [False] * 10, 1) == {"mrr@10": 0.0, "recall@10": 0.0}


def test_pessimistic_scores_are_those_of_the_run_where_nothing_ties():
    rng = random.Random(0)
    for _ in range(50):
        run = {f"d{n}": float(score) for n, score in enumerate(rng.sample(range(100), 30))}
        judged = dict.fromkeys(rng.sample([*run, "not found"], 3), 1)
        found = pessimistic_scores(list(run.values()), [pid in judged for pid in run], len(judged))
        wanted = ranking_scores({"q": run}, {"q": judged})
        assert found == {name: wanted[name]["q"] for name in found}


def test_only_queries_with_a_relevant_passage_are_judged():
    assert judged_queries({"q1": {"a": 1}, "q2": {"a": 0}, "q3": {}}) == ["q1"]


def test_a_judged_query_missing_from_the_run_scores_zero():
    scores = ranking_scores({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}})
    assert scores.keys() == RANKING_METRICS.keys()
    for name, per_query in scores.items():
        assert per_query == {"q1": 1.0, "q2": 0.0}, name


def test_a_run_of_unjudged_queries_alone_scores_nothing():
    assert all(values == {"q1": 0.0} for values in ranking_scores({"q9": {"a": 1.0}}, {"q1": {"a": 1}}).values())


def random_case(rng: random.Random, *, ties: bool):
    """(qrels, run): every query is judged, some are missing from the run; grades 0 to 3, some passages unjudged."""
    passages = [f"d{n}" for n in range(30)]
    qrels, run = {}, {}
    for q in range(12):
        judged = {pid: rng.randint(0, 3) for pid in rng.sample(passages, rng.randint(1, 8))}
        judged[rng.choice(sorted(judged))] = 1
        qrels[f"q{q}"] = judged
        if rng.random() < 0.85:
            found = rng.sample(passages, rng.randint(1, 30))
            # Quarters are exact in single precision, which is what trec_eval keeps.
            values = [rng.randint(0, 6) / 4 for _ in found] if ties else rng.sample(range(-50, 50), len(found))
            run[f"q{q}"] = {pid: float(value) for pid, value in zip(found, values, strict=True)}
    return qrels, run


def top(run, k=10):
    return {qid: {pid: scores[pid] for pid in ranking(scores)[:k]} for qid, scores in run.items()}


def assert_equal_to_trec_eval(scores, qrels, run, *, top_10):
    """Compare with pytrec_eval under our metrics' names; recip_rank sees the top 10 alone."""
    theirs = {
        **{f"recall@{k}": (f"recall_{k}", run) for k in (1, 5, 10, 50)},
        "success@10": ("success_10", run),
        "mrr@10": ("recip_rank", top_10),
        "ndcg@5": ("ndcg_cut_5", run),
        "ndcg@10": ("ndcg_cut_10", run),
    }
    assert scores.keys() == theirs.keys()
    for name, (measure, their_run) in theirs.items():
        wanted = measure if measure == "recip_rank" else "{}.{}".format(*measure.rsplit("_", 1))
        expected = pytrec_eval.RelevanceEvaluator(qrels, {wanted}).evaluate(their_run)
        assert scores[name].keys() == qrels.keys()
        for qid, value in scores[name].items():
            assert value == pytest.approx(expected[qid][measure] if qid in run else 0.0, abs=1e-9), (name, qid)


@pytest.mark.parametrize("seed", range(25))
def test_equal_to_trec_eval_on_runs_without_ties(seed):
    qrels, run = random_case(random.Random(seed), ties=False)
    assert_equal_to_trec_eval(ranking_scores(run, qrels), qrels, run, top_10=top(run))


def test_trec_eval_itself_breaks_ties_by_descending_id():
    tied = {"q": {"a": 1.0, "b": 1.0}}
    evaluate = pytrec_eval.RelevanceEvaluator({"q": {"b": 1}}, {"recip_rank"}).evaluate
    assert evaluate(tied)["q"]["recip_rank"] == 1.0
    assert ranking_scores(tied, {"q": {"b": 1}})["mrr@10"]["q"] == 0.5


@pytest.mark.parametrize("seed", range(25))
def test_equal_to_trec_eval_on_tied_runs_once_ids_are_mirrored(seed):
    """Names that sort the other way round turn trec_eval's descending ties into our ascending ones."""
    qrels, run = random_case(random.Random(seed), ties=True)
    assert any(len(set(row.values())) < len(row) for row in run.values())
    ordered = sorted({pid for table in (qrels, run) for row in table.values() for pid in row})
    mirror = dict(zip(ordered, (f"m{n:03}" for n in reversed(range(len(ordered)))), strict=True))
    scores = ranking_scores(run, qrels)
    assert_equal_to_trec_eval(scores, mirrored(qrels, mirror), mirrored(run, mirror), top_10=mirrored(top(run), mirror))


def mirrored(table, mirror):
    return {qid: {mirror[pid]: value for pid, value in row.items()} for qid, row in table.items()}


def test_normalisation_drops_case_punctuation_articles_and_spaces():
    assert normalize_answer("  The Eiffel-Tower, of  a\tcity! ") == "eiffeltower of city"
    assert normalize_answer("Another thesis") == "another thesis"


def test_exact_match_takes_any_reference():
    assert exact_match("the Amber Line.", ["Amber line"]) == 1
    assert exact_match("Amber", ["Amber line", "amber"]) == 1
    assert exact_match("Amber", ["Amber line"]) == 0
    assert exact_match("", []) == 0


def test_token_f1_by_hand():
    # 2 of 3 predicted words are right, and 2 of 4 wanted ones are there: 2 * (2/3 * 1/2) / (2/3 + 1/2) = 4/7
    assert token_f1("opened in 1931", ["it was opened 1931"]) == pytest.approx(4 / 7)
    # A word counts as often as both have it: precision 1/3, recall 1.
    assert token_f1("ship ship ship", ["ship"]) == pytest.approx(1 / 2)
    assert token_f1("train", ["ship"]) == 0


def test_token_f1_is_that_of_the_best_reference():
    assert token_f1("Clara Voss", ["the architect Voss", "clara voss"]) == 1
    assert token_f1("Clara Voss", []) == 0


def test_token_f1_of_nothing_is_one_only_against_nothing():
    assert token_f1("the", ["a"]) == 1
    assert token_f1("", ["ship"]) == token_f1("ship", ["the"]) == 0


def test_the_mean_of_nothing_is_absent():
    assert mean([]) is None
    assert mean([0.0, 1.0]) == 0.5
