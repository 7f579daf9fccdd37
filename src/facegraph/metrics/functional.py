"""Error measures as functions of numpy arrays or torch tensors; this file imports neither torch nor a device.

Convention: every value is a fraction, never a percentage: an NME of 0.04 is 4 % of the normalising distance. All
measures of a set of faces are functions of its per-face errors. A face whose error is NaN (no usable prediction) is
a failure at every threshold, so FR, AUC and CED always agree; the mean error of such a set is NaN. A true landmark
that is NaN is one that the annotation lacks: it counts nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from facegraph.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")


def point_errors(pred: Array, target: Array, norm: Array) -> Array:
    """Distance of each predicted landmark from the truth, over the face's normaliser.

    Args:
        pred, target: (B, N, 2) points in one unit, image px in this suite.
        norm: (B,) positive normalising distance of each face in the same unit.

    Returns:
        (B, N) fractions ||pred - target||_2 / norm; NaN where target has no point.

    Raises:
        DataError: shapes that do not fit, an empty batch, or a normaliser that is not above zero.
    """
    _check_faces(pred, target, norm)
    distance = ((pred - target) ** 2).sum(-1) ** 0.5
    return distance / norm[:, None]


def nme(pred: Array, target: Array, norm: Array) -> Array:
    """Normalised mean error of each face: the mean of `point_errors` over the landmarks that target has.

    Args:
        pred, target: (B, N, 2) points in one unit, image px in this suite.
        norm: (B,) positive normalising distance of each face in the same unit.

    Returns:
        (B,) per-face errors as fractions; the NME of a set is their mean.

    Raises:
        DataError: as `point_errors`.
    """
    return mean_where_true(point_errors(pred, target, norm), target, -1)


def mean_where_true(errors: Array, target: Array, axis: int) -> Array:
    """Mean along an axis of errors (B, N), of one landmark of a face each, over those that target (B, N, 2) has.

    NaN where target has none of them, and where one of them has no usable prediction.
    """
    there = (target == target).all(-1)  # False where NaN, in numpy and torch alike
    counted = errors + 0
    counted[~there] = 0
    count = there.sum(axis)
    mean = counted.sum(axis) / (count + (count == 0))
    mean[count == 0] = float("nan")
    return mean


def mean_error(errors: Array) -> Array:
    """NME of a set, the mean of per-face errors (M,), as a scalar of the same array type.

    Raises:
        DataError: errors is empty or not one-dimensional.
    """
    _check_errors(errors)
    return errors.mean()


def failure_rate(errors: Array, threshold: float) -> Array:
    """Share of faces whose error (M,) is strictly above threshold (or NaN), as a scalar of the same array type.

    Raises:
        DataError: errors is empty or not one-dimensional.
        ConfigError: threshold is not above zero.
    """
    _check_errors(errors)
    _check_threshold(threshold)
    return (~(errors <= threshold)).sum() / errors.shape[0]


def auc(errors: Array, threshold: float) -> Array:
    """Area under the cumulative error distribution from 0 to threshold, over threshold: 1 for perfect predictions.

    The integral of the step function is exact: mean(max(0, 1 - e / threshold)) over per-face errors (M,). Published
    scripts sample the curve at 20 to 1000 points and use the trapezoid rule; on realistic errors the difference is
    below 1e-4.

    Raises:
        DataError: errors is empty or not one-dimensional.
        ConfigError: threshold is not above zero.
    """
    _check_errors(errors)
    _check_threshold(threshold)
    inside = errors[errors < threshold]  # leaves NaN out
    return (1 - inside / threshold).sum() / errors.shape[0]


def _check_faces(pred: Array, target: Array, norm: Array) -> None:
    shape = tuple(pred.shape)
    if len(shape) != 3 or shape[-1] != 2 or shape != tuple(target.shape):
        raise DataError(
            f"predictions have shape {shape} and truths {tuple(target.shape)}; both must be (faces, landmarks, 2) "
            "with equal numbers. Check that model and data set share one landmark scheme."
        )
    if 0 in shape:
        raise DataError(f"predictions of shape {shape} hold no point; pass at least one face with one landmark.")
    if tuple(norm.shape) != shape[:1]:
        raise DataError(
            f"normalising distances have shape {tuple(norm.shape)} for {shape[0]} faces; it must be ({shape[0]},). "
            "Select one column of the normalisers."
        )
    usable = (norm > 0) & (norm < float("inf"))
    if not bool(usable.all()):
        row = [bool(ok) for ok in usable].index(False)
        raise DataError(
            f"the normalising distance of row {row} is {float(norm[row])}; it must be above zero and finite. Check the "
            "true landmarks of that face or choose another normaliser."
        )


def _check_errors(errors: Array) -> None:
    if errors.ndim != 1 or errors.shape[0] == 0:
        raise DataError(
            f"per-face errors have shape {tuple(errors.shape)}; one dimension with at least one face is needed. "
            "Compute them with facegraph.metrics.functional.nme."
        )


def _check_threshold(threshold: float) -> None:
    if not threshold > 0:
        raise ConfigError(
            f"threshold is {threshold}; it must be above zero, as a fraction of the normaliser. 0.10 stands for 10 %."
        )
