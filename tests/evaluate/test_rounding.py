"""A figure has as many decimals as its standard error leaves sure."""

import pytest

from rag.evaluate.rounding import decimals, n_of, percent, rounded


@pytest.mark.parametrize(
    ("value", "n", "wanted"),
    [
        (0.5, 4, 1),  # standard error 0.25
        (0.5, 24, 1),  # 0.102
        (0.5, 26, 2),  # 0.098
        (0.5, 2400, 2),  # 0.0102
        (0.5, 2600, 3),  # 0.0098
        (0.5, 10**12, 4),  # no more than four
        (0.5, 0, 1),
        (1.0, 10, 2),  # moved to 11 / 12: 0.0874
        (0.0, 10, 2),
        (-0.2, 10, 2),  # a cosine below 0 counts as 0
    ],
)
def test_the_last_decimal_is_the_first_that_the_standard_error_reaches(value, n, wanted):
    assert decimals(value, n) == wanted


def test_figures_and_shares_are_written_by_the_rule():
    assert [rounded(0.51664, n) for n in (4, 100, 10_000, None)] == ["0.5", "0.52", "0.517", "0.5166"]
    assert [percent(0.51664, n) for n in (4, 100, 10_000)] == ["52 %", "52 %", "51.7 %"]
    assert (rounded(None, 10), percent(None, 10)) == ("–", "–")


def test_a_figure_of_answers_counts_the_questions_that_it_is_a_mean_of():
    counts = {"answerable_answered": 5, "answerable_refused": 3, "unanswerable_answered": 1, "unanswerable_refused": 4}
    answer = {"n": 13, "n_answerable": 8, "n_cited_with_gold_in_context": 2, "n_gold_in_context": 7}
    metrics = {"answer": answer, "abstention": {"counts": counts}}
    names = (
        "right",
        "f1",
        "abstain_recall",
        "cited",
        "citation_recall",
        "abstain_precision",
        "cos_sim_gold_in_context",
    )
    assert [n_of(metrics, name) for name in names] == [13, 8, 5, 6, 2, 7, 7]
