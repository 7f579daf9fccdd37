"""Resampling faces: against closed forms, against exact enumeration, and what a p-value must do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facegraph.errors import ConfigError, DataError
from facegraph.metrics.bootstrap import FEWEST_FACES, interval, intervals, paired_test, paired_tests, resampled_means
from facegraph.metrics.face_scores import face_scores, split_metric
from facegraph.metrics.functional import auc, failure_rate, mean_error

ERRORS = np.random.default_rng(0).lognormal(-3, 0.5, size=800)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    half = 1.96 * ERRORS.std() / np.sqrt(len(ERRORS))
    low, high = interval(ERRORS)
    # 4,000 resamples place an end to about 4 % of the standard error
    assert low == pytest.approx(ERRORS.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(ERRORS.mean() + half, abs=0.1 * half)


def test_the_interval_of_a_rate_is_that_of_the_binomial() -> None:
    scipy = pytest.importorskip("scipy.stats")
    scores = face_scores("fr@0.10", ERRORS)
    count, rate = len(ERRORS), scores.mean()
    assert 0.02 < rate < 0.2
    expected = scipy.binom.ppf([0.025, 0.975], count, rate) / count
    assert interval(scores) == pytest.approx(tuple(expected), abs=1.5 / count)


def test_means_of_three_faces_are_those_of_all_27_resamples() -> None:
    scores = np.array([0.0, 1.0, 5.0])
    exact = [np.mean(draw) for draw in itertools.product(scores, repeat=3)]
    drawn = resampled_means(scores, resamples=20_000)
    for value in set(exact):
        assert np.isclose(drawn, value).mean() == pytest.approx(np.isclose(exact, value).mean(), abs=0.01)


def test_intervals_cover_the_true_mean_19_times_out_of_20() -> None:
    rng = np.random.default_rng(3)
    inside = [
        low <= 1.0 <= high for low, high in (interval(rng.exponential(1.0, 200), resamples=500) for _ in range(400))
    ]
    assert 0.90 <= np.mean(inside) <= 0.98


def test_equal_columns_get_equal_intervals_and_the_seed_decides() -> None:
    both = intervals(np.stack([ERRORS, ERRORS, 2 * ERRORS], axis=1))
    np.testing.assert_allclose(both[0], both[1])
    np.testing.assert_allclose(2 * both[0], both[2])
    assert interval(ERRORS) == interval(ERRORS.copy())
    assert interval(ERRORS, seed=1) != interval(ERRORS, seed=2)


def test_a_wider_level_holds_a_narrower_one() -> None:
    (low, high), (inner_low, inner_high) = interval(ERRORS, 0.99), interval(ERRORS, 0.9)
    assert low < inner_low < inner_high < high


def test_p_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(5)
    base = rng.lognormal(-3, 0.5, 300)
    drawn = base[:, None] + rng.normal(0, 0.01, (300, 600))
    p = np.array([t.p for t in paired_tests(drawn, base, resamples=1000)])
    for level in (0.05, 0.25, 0.5, 0.75):
        # four standard deviations of a share among 600
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 600))


def test_p_of_a_shift_is_that_of_the_normal_approximation() -> None:
    rng = np.random.default_rng(6)
    difference = rng.normal(0, 1, 2500)
    difference += 2.0 * difference.std() / 50 - difference.mean()  # two standard errors from zero
    found = paired_test(1 + difference, np.ones(2500))
    assert found.p == pytest.approx(0.0455, abs=0.012)
    assert found.difference == pytest.approx(difference.mean())
    assert found.faces == 2500
    assert found.low == pytest.approx(0, abs=0.3 * difference.mean())


def test_a_clear_shift_has_the_smallest_p_and_equal_methods_the_largest() -> None:
    assert paired_test(ERRORS + 0.01 + 0.001 * np.sin(np.arange(800)), ERRORS).p == 1 / 4001
    assert paired_test(ERRORS, ERRORS).p == 1
    forward, back = paired_test(1.02 * ERRORS, ERRORS), paired_test(ERRORS, 1.02 * ERRORS)
    assert (forward.difference, forward.p) == (-back.difference, back.p)


@pytest.mark.parametrize("count", [1, 3, 5, FEWEST_FACES - 1])
def test_a_few_faces_have_neither_interval_nor_p(count: int) -> None:
    found = paired_test(1.4 * ERRORS[:count], ERRORS[:count])
    assert found.difference == pytest.approx(0.4 * ERRORS[:count].mean())
    assert np.isnan([found.low, found.high, found.p, *interval(ERRORS[:count])]).all()
    assert found.faces == count


def test_enough_faces_err_seldom_under_the_null() -> None:
    rng = np.random.default_rng(11)
    drawn = rng.normal(0, 1, (FEWEST_FACES, 800))
    p = np.array([test.p for test in paired_tests(drawn, np.zeros(FEWEST_FACES), resamples=1000)])
    assert np.mean(p <= 0.05) < 0.13  # a tenth: the spread of ten faces is known roughly


def test_three_seeds_that_differ_more_than_faces_do_err_as_often_as_they_should() -> None:
    rng = np.random.default_rng(12)
    trials, faces = 600, 200
    drawn = rng.normal(0, 0.01, (3, 1, trials)) + rng.normal(0, 0.02, (3, faces, trials))
    base = np.zeros((3, faces))
    p = np.array([test.p for test in paired_tests(drawn, base, resamples=1000)])
    over_faces_alone = np.array([test.p for test in paired_tests(drawn.mean(axis=0), base[0], resamples=1000)])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / trials))
    assert np.mean(over_faces_alone <= 0.05) > 0.5  # what one p over faces made of several seeds
    # seeds resampled as faces are
    by_seed = resampled_means(drawn.transpose(1, 0, 2).reshape(faces, -1), 1000).reshape(1000, 3, trials)
    means = np.einsum("rs,rsk->rk", rng.multinomial(3, [1 / 3] * 3, 1000) / 3, by_seed)
    observed = drawn.mean(axis=(0, 1))
    assert np.mean((np.abs(means - observed) >= np.abs(observed)).mean(axis=0) <= 0.05) > 0.15


def test_seeds_that_agree_change_nothing() -> None:
    better = ERRORS - 0.0005 + np.random.default_rng(8).normal(0, 0.001, 800)
    one, three = paired_test(better, ERRORS), paired_tests(np.stack([better[:, None]] * 3), np.stack([ERRORS] * 3))[0]
    assert three == pytest.approx(one)


def test_seeds_and_faces_must_match() -> None:
    with pytest.raises(DataError, match=r"\(S, M, K\) and \(S, M\)"):
        paired_tests(np.ones((3, 20, 1)), np.ones((2, 20)))


def test_the_same_difference_on_every_face_has_no_p() -> None:
    found = paired_test(ERRORS + 0.01, ERRORS)
    assert found.difference == pytest.approx(0.01)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert paired_test(ERRORS + 1e-17, ERRORS).p == 1


def test_pairing_sees_what_two_intervals_do_not() -> None:
    better = ERRORS - 0.0005 + np.random.default_rng(8).normal(0, 0.001, 800)
    first, second = interval(better), interval(ERRORS)
    assert first.high > second.low  # the intervals overlap
    paired = paired_test(better, ERRORS)
    assert paired.high < 0
    assert paired.p < 0.001
    assert paired.high - paired.low < 0.2 * (second.high - second.low)


def test_a_face_without_an_error_spoils_its_column_only() -> None:
    spoilt = ERRORS.copy()
    spoilt[3] = np.nan
    found = intervals(np.stack([spoilt, ERRORS], axis=1))
    assert np.isnan(found[0]).all()
    assert tuple(found[1]) == pytest.approx(tuple(interval(ERRORS)))
    tests = paired_tests(np.stack([spoilt, 1.1 * ERRORS], axis=1), ERRORS)
    assert np.isnan(tests[0].p)
    assert tests[1].p < 0.01


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.sampled_from([0.05, 0.08, 0.10]))
def test_scores_per_face_have_the_measures_as_their_mean(errors: np.ndarray, threshold: float) -> None:
    errors[::7] = np.where(errors[::7] > 0.9, np.nan, errors[::7])
    assert face_scores(f"fr@{threshold}", errors).mean() == pytest.approx(failure_rate(errors, threshold))
    assert face_scores(f"auc@{threshold}", errors).mean() == pytest.approx(auc(errors, threshold))
    np.testing.assert_equal(face_scores("nme", errors).mean(), mean_error(errors))


@pytest.mark.parametrize("metric", ["fr", "fr@", "fr@x", "fr@0", "fr@-0.1", "fr@nan", "mae", "nme@0.1"])
def test_unknown_metrics_are_refused_by_name(metric: str) -> None:
    with pytest.raises(ConfigError, match=f"metric '{metric}' is unknown; name nme, fr@<t> or auc@<t>"):
        split_metric(metric)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(0,\)"):
        interval(np.zeros(0))
    with pytest.raises(DataError, match="same faces"):
        paired_test(np.zeros(3), np.zeros(4))
    with pytest.raises(ConfigError, match=r"level is 95"):
        interval(ERRORS, level=95)
    with pytest.raises(ConfigError, match="resamples is 0"):
        interval(ERRORS, resamples=0)
