"""Intervals that cover what they should, and tests that see what is there and nothing else."""

import numpy as np
import pytest

from rag.evaluate import significance
from rag.evaluate.significance import bootstrap_interval, holm, paired_difference


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(significance, "RESAMPLES", 300)


@pytest.mark.usefixtures("few_resamples")
def test_95_percent_intervals_cover_the_true_mean_about_that_often():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        interval = bootstrap_interval(rng.binomial(1, 0.3, 80), seed=seed)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.usefixtures("few_resamples")
def test_a_lower_level_gives_a_narrower_interval_that_covers_less():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        values = rng.normal(0, 1, 60)
        half, most = bootstrap_interval(values, level=0.5, seed=seed), bootstrap_interval(values, seed=seed)
        assert most.low < half.low < half.high < most.high
        covered += half.low <= 0 <= half.high
    assert 0.38 <= covered / 200 <= 0.62


def test_an_interval_narrows_with_the_square_root_of_n():
    rng = np.random.default_rng(2)
    widths = []
    for n in (100, 1600):
        interval = bootstrap_interval(rng.normal(0, 1, n))
        widths.append(interval.high - interval.low)
    assert 3 < widths[0] / widths[1] < 5.3
    assert widths[0] == pytest.approx(2 * 1.96 / 10, rel=0.25)


def test_an_interval_is_deterministic_and_needs_two_values():
    assert bootstrap_interval([0, 1, 1]) == bootstrap_interval([0, 1, 1])
    assert bootstrap_interval([]) is bootstrap_interval([1.0]) is None
    same = bootstrap_interval([0.5, 0.5])
    assert same.low == same.high == 0.5


def test_identical_systems_differ_by_nothing_with_p_one():
    values = list(np.random.default_rng(3).random(50))
    result = paired_difference(values, values)
    assert (result.difference, result.p_value, result.n) == (0.0, 1.0, 50)
    assert result.interval.low == result.interval.high == 0.0


def test_a_clear_difference_has_a_small_p_and_an_interval_off_zero():
    rng = np.random.default_rng(4)
    worse = rng.random(60)
    result = paired_difference(worse + 0.2 + rng.normal(0, 0.05, 60), worse)
    assert result.p_value < 0.002
    assert 0.15 < result.interval.low < result.difference < result.interval.high < 0.25


def test_the_sign_says_which_is_better():
    forth, back = paired_difference([1, 1, 1, 0], [0, 0, 1, 0]), paired_difference([0, 0, 1, 0], [1, 1, 1, 0])
    assert forth.difference == -back.difference == 0.5
    assert forth.p_value == back.p_value


def test_p_agrees_with_the_exact_sign_flip_distribution():
    # Four differences of +1: of the 16 sign patterns, only ++++ and ---- are as extreme: p = 2/16.
    assert paired_difference([1, 1, 1, 1], [0, 0, 0, 0]).p_value == pytest.approx(2 / 16, abs=0.03)


@pytest.mark.usefixtures("few_resamples")
def test_without_a_difference_p_is_spread_evenly():
    rng = np.random.default_rng(5)
    p_values = [paired_difference(rng.normal(0, 1, 30), rng.normal(0, 1, 30)).p_value for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.1
    assert 0.4 <= np.mean(np.array(p_values) <= 0.5) <= 0.6


def test_pairing_sees_what_the_spread_over_queries_hides():
    easy_and_hard = np.random.default_rng(6).random(40)
    result = paired_difference(easy_and_hard + 0.01, easy_and_hard)
    assert result.p_value < 0.01


def test_samples_of_different_length_are_not_paired():
    with pytest.raises(ValueError, match="3 and 2"):
        paired_difference([1, 2, 3], [1, 2])


def test_no_queries_are_no_difference():
    result = paired_difference([], [])
    assert (result.difference, result.interval, result.p_value, result.n) == (0.0, None, 1.0, 0)


def test_holm_by_hand():
    # smallest first: .01 * 3, then .03 * 2, then .04 * 1, never falling
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
