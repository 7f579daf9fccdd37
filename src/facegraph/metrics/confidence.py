"""How well a model's confidence tells exact predictions from failed ones; numpy only.

Convention: errors (M,) are fractions of a normaliser, one per face; confidence (M,) is the higher the surer and only
its order matters. A face without a confidence (NaN) counts as less sure than any other. A face whose error is NaN has
no usable prediction: it is a failure at every threshold, and no mean that holds it is a number. Faces that are equally
sure are taken in random order: every number is the mean over such orders.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facegraph.errors import ConfigError, DataError


class RetentionAreas(NamedTuple):
    """Areas under error-retention curves (fractions of the normaliser) and what they say of a confidence.

    Args:
        area: by the confidence.
        oracle: faces ordered by their true error, the least possible.
        random: without any order, the mean error.
        score: (random - area) / (random - oracle), 1 for the oracle's order, 0 for a confidence that says nothing,
            below 0 for one that misleads; NaN where all faces have the same error.
    """

    area: float
    oracle: float
    random: float
    score: float


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two numbers per face (M,), in [-1, 1]; ties take their mean rank.

    Infinities are ranked. NaN with fewer than two faces, with a NaN among the numbers, or where all of one are equal.

    Raises:
        DataError: the two are not vectors of one length.
    """
    a, b = _vectors(a, b)
    if len(a) < 2 or np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    first, second = _mean_ranks(a), _mean_ranks(b)
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / spread) if spread > 0 else float("nan")


def failure_auroc(errors: np.ndarray, confidence: np.ndarray, threshold: float) -> float:
    """Probability in [0, 1] that a face that failed is less sure than one that did not; 0.5 is chance, ties half.

    A face failed if its error is above threshold, a fraction of the normaliser. This is the area under the ROC curve of
    finding failures by low confidence, and the Mann-Whitney statistic. NaN unless there are faces of both kinds.

    Raises:
        DataError: the two are not vectors of one length. ConfigError: threshold is not above zero.
    """
    if not threshold > 0:
        raise ConfigError(
            f"threshold is {threshold}; it must be above zero, a fraction of the normaliser: 0.10 is 10 %."
        )
    errors, confidence = _faces(errors, confidence)
    failed = ~(errors <= threshold)
    lost, kept = int(failed.sum()), int((~failed).sum())
    if lost == 0 or kept == 0:
        return float("nan")
    below = _mean_ranks(confidence)[~failed].sum() - kept * (kept + 1) / 2
    return float(below / (lost * kept))


def error_retention(errors: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What keeping only the surest faces gives.

    Returns:
        (M,) retained share k/M for k = 1..M, and (M,) mean error of the k surest faces, a fraction; the last one is the
        mean error of all. NaN from the first retained face on whose error is NaN.

    Raises:
        DataError: the two are not vectors of one length, or there is no face.
    """
    errors, confidence = _faces(errors, confidence)
    if len(errors) == 0:
        raise DataError("there is no face to retain; pass the errors and confidences of at least one.")
    order = np.argsort(-confidence, kind="stable")
    _, group, size = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    # the mean over all orders of equally sure faces: each of them contributes their mean
    expected = (np.bincount(group, weights=errors[order]) / size)[group]
    retained = np.arange(1, len(errors) + 1)
    return retained / len(errors), np.cumsum(expected) / retained


def retention_area(errors: np.ndarray, confidence: np.ndarray) -> float:
    """Area under the curve of `error_retention`: its mean over the retained shares, a fraction; lower is better.

    Raises as `error_retention`.
    """
    return float(error_retention(errors, confidence)[1].mean())


def retention_areas(errors: np.ndarray, confidence: np.ndarray) -> RetentionAreas:
    """The area under the error-retention curve, its bounds, and its place between them. Raises as `error_retention`."""
    errors = np.asarray(errors, dtype=np.float64)
    area, oracle = retention_area(errors, confidence), retention_area(errors, -errors)
    random = float(errors.mean())
    span = random - oracle
    # rounding of the two sums must not make a span out of equal errors
    score = (random - area) / span if span > 1e-12 * abs(random) else float("nan")
    return RetentionAreas(area, oracle, random, score)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """(M,) ranks from 1, equal values share their mean rank."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    return (last - (size - 1) / 2)[group]


def _faces(errors: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    errors, confidence = _vectors(errors, confidence)
    return errors, np.where(np.isnan(confidence), -np.inf, confidence)


def _vectors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(f"two numbers per face are needed, got the shapes {a.shape} and {b.shape}; pass (M,) and (M,).")
    return a, b
