"""How sure a number over test faces is: percentile intervals and paired tests by resampling faces.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 13.3 (percentile interval) and 16.4
(test of a mean, with the differences shifted to mean zero). Faces are drawn with replacement.

Seeds: an interval is of the mean over a method's trainings and covers the choice of test faces only. A test of methods
with the same S >= 2 seeds covers both choices: to each resampled mean over faces a draw of the seeds' uncertainty is
added, their standard error times Student's t with S - 1 degrees of freedom. Seeds are not resampled as faces are,
because three of them show too little of their spread: of 600 tests of equal methods whose seeds differ more than their
faces, 77 % have p <= 0.05 over faces alone, 22 % where three seeds are resampled, 6 % as done here
(tests/metrics/test_bootstrap.py).

Exactness: with 4,000 resamples an end of a 95 % interval repeats to about 4 % of the standard error from one seed of
the resampling to the next, and a p-value near 0.05 to 0.0034. The seed is fixed: the same numbers give the same
interval. p is at least 1 / 4,001. The interval treats faces as independent; faces of one photograph are not quite.

Limit: a few faces resampled say less than they seem to. Under equal methods a tenth of the tests with 10 faces have
p <= 0.05, with 5 faces a sixth, with 2 faces half. Fewer than FEWEST_FACES faces give NaN instead of ends and p, and so
do differences that are the same on every face and not zero, whose spread is unknown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from facegraph.errors import ConfigError, DataError

RESAMPLES = 4000
LEVEL = 0.95
FEWEST_FACES = 10
SEED = 20200
_REMEMBERED = 8
_BLOCK = 500


class Interval(NamedTuple):
    """Ends of an interval, in the unit of the scores."""

    low: float
    high: float


class Paired(NamedTuple):
    """Difference of two methods on the same faces: mean(first - second), its interval, two-sided p, number of faces."""

    difference: float
    low: float
    high: float
    p: float
    faces: int


def resampled_means(scores: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Means over resampled faces.

    Columns are resampled together, so that differences between columns are paired.

    Args:
        scores: (M,) or (M, K) numbers of M faces.
        resamples: R.
        seed: of the drawing.

    Returns:
        (R,) or (R, K) float64 means, each over M faces drawn with replacement. A column that holds NaN gives NaN.

    Raises:
        DataError: no face, or more than two dimensions. ConfigError: resamples below 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim not in (1, 2) or scores.shape[0] == 0:
        raise DataError(
            f"scores have shape {scores.shape}; pass one number per face, (M,) or (M, K) with M above zero."
        )
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; it must be at least 1. {RESAMPLES} is the default.")
    count = len(scores)
    weights = _draws(count, resamples, seed)
    # the weights as floating-point numbers only by blocks: eight times the memory
    blocks = (weights[start : start + _BLOCK].astype(np.float64) for start in range(0, resamples, _BLOCK))
    with np.errstate(invalid="ignore"):
        return np.concatenate([block @ scores for block in blocks]) / count


def intervals(scores: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Percentile intervals (K, 2) of the means of scores (M, K); NaN for a column that holds NaN and for fewer than
    FEWEST_FACES faces.

    Raises:
        DataError: as `resampled_means`. ConfigError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; it must lie between 0 and 1, such as 0.95.")
    means = resampled_means(scores, resamples, seed)
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    found = np.quantile(means.reshape(resamples, -1), ends, axis=0).T
    return found if len(scores) >= FEWEST_FACES else np.full_like(found, np.nan)


def interval(scores: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Percentile interval of the mean of scores (M,). Raises as `intervals`."""
    low, high = intervals(scores, level, resamples, seed)[0]
    return Interval(float(low), float(high))


def paired_tests(
    first: np.ndarray, second: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Paired]:
    """Compare methods on the same faces, and over the same seeds where there are several.

    p is the share of draws of the mean difference, shifted to zero on average, that lie as far from zero as the one
    observed; under equal methods it is uniform. Methods that agree on every face have p = 1.

    Args:
        first: (M, K) or (S, M, K) scores of K methods on M faces, of S seeds.
        second: (M,) or (S, M) scores of the method they are compared with, the same faces and seeds in the same order.

    Returns:
        K comparisons; all numbers but faces are NaN for a column that holds NaN. Ends and p are NaN for fewer than
        FEWEST_FACES faces and for a difference that is the same on every face and not zero.

    Raises:
        DataError: different numbers of faces or seeds, no face. ConfigError: as `intervals`.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim not in (2, 3) or second.shape != first.shape[:-1]:
        raise DataError(
            f"scores have shapes {first.shape} and {second.shape}; the same faces are needed, (M, K) and (M,), or the "
            "same seeds and faces, (S, M, K) and (S, M). Match them by the id of the face."
        )
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; it must lie between 0 and 1, such as 0.95.")
    by_seed = first - second[..., None]
    by_seed = by_seed if by_seed.ndim == 3 else by_seed[None]
    differences, faces = by_seed.mean(axis=0), second.shape[-1]
    means = resampled_means(differences, resamples, seed)
    if len(by_seed) > 1:
        standard_error = by_seed.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(by_seed))
        draws = np.random.default_rng([seed, len(by_seed)]).standard_t(len(by_seed) - 1, (resamples, 1))
        means = means + draws * standard_error
    observed = differences.mean(axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    # rounding must not decide whether a resample is as far away as what was observed
    far = (np.abs(means - observed) >= np.abs(observed) * (1 - 1e-9) - 1e-15).sum(axis=0)
    p = np.where(np.isnan(observed), np.nan, (far + 1) / (resamples + 1))
    unknown = (np.abs(observed) > 1e-15) & (np.ptp(differences, axis=0) <= 1e-9 * np.abs(observed))
    unknown |= faces < FEWEST_FACES
    low, high, p = (np.where(unknown, np.nan, numbers) for numbers in (low, high, p))
    return [
        Paired(float(d), float(a), float(b), float(q), faces) for d, a, b, q in zip(observed, low, high, p, strict=True)
    ]


def paired_test(
    first: np.ndarray, second: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> Paired:
    """`paired_tests` of one method with another; scores (M,) each, the same faces in the same order."""
    return paired_tests(np.asarray(first)[:, None], second, level, resamples, seed)[0]


@lru_cache(maxsize=_REMEMBERED)
def _draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """(R, M) uint8, how often each resample drew each face; kept, because a report asks for the same faces again."""
    rng = np.random.default_rng([seed, count])
    weights = np.empty((resamples, count), dtype=np.uint8)
    for row in weights:
        # a byte is enough: a face is drawn once on average, 256 times never
        row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
    weights.flags.writeable = False
    return weights
