"""What a coordinate may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box

COORDINATE_LIMIT = 1e6
"""px; no photograph is a tenth as large. A larger number is damage, and would overflow what is computed from it."""


def out_of_range(values: np.ndarray) -> np.ndarray:
    """(K, 2) row and column of the numbers of (M, C) that are not finite or beyond COORDINATE_LIMIT."""
    return np.argwhere(~(np.abs(values) <= COORDINATE_LIMIT))  # not '>', which NaN passes


def without_extent(boxes: np.ndarray) -> np.ndarray:
    """(K,) rows of boxes (M, 4) x0, y0, x1, y1 that lack width or height; NaN counts as neither."""
    return np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))


def boxes_of_corners(values: np.ndarray) -> np.ndarray:
    """(M, 4) x0, y0, x1, y1 of (M, 4) x, y, width, height. Not checked: a box that is none costs no face its points.

    A writer judges them, see store.shards.box_fault; what is no number stays none.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)


def check_coordinates(values: np.ndarray, where: str, what: str) -> np.ndarray:
    """The values as given, if all are finite and within COORDINATE_LIMIT.

    Args:
        values: (M, K) float64 px.
        where: file and place within it, for the message.
        what: a row of values, for the message: "point", "face".

    Raises:
        DataError: names the first row that is out of range.
    """
    bad = out_of_range(values)
    if len(bad):
        row, column = (int(i) for i in bad[0])
        whole = f"of {values[row].tolist()} " if values.shape[1] <= 4 else ""
        raise DataError(
            f"{where}: {what} {row + 1}, number {column + 1} {whole}is {values[row, column]:g}; coordinates must be "
            f"finite and within {COORDINATE_LIMIT:g} px. Copy the file again from its source, or correct it."
        )
    return values


CORNERS, SIZE = "x0, y0, x1, y1", "x, y, width, height"
_READINGS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    CORNERS: lambda values: values,
    SIZE: boxes_of_corners,
    "centre x, centre y, width, height": lambda values: boxes_of_corners(
        np.concatenate([values[:, :2] - values[:, 2:] / 2, values[:, 2:]], axis=1)
    ),
    "y0, x0, y1, x1": lambda values: values[:, [1, 0, 3, 2]],
}
"""What four numbers may say -> (M, 4) corners of (M, 4) of them."""
_FEWEST_BOXES, _WELL, _CLEARLY, _NEARLY_ALL = 3, 0.4, 0.1, 0.9


def check_reading(values: np.ndarray, landmarks: np.ndarray, stated: str, what: str, advice: str) -> None:
    """Raise if boxes say something else than they should: nearly all fit their landmarks so, and clearly better.

    How well a box fits is its intersection over union with the tight box of the landmarks.

    Args:
        values: (M, 4) as written.
        landmarks: (M, N, 2) in the same px. Faces without numbers in both are passed over.
        stated: what they should say, CORNERS or SIZE.
        what: file and boxes, for the message.
        advice: what to do, for the message.

    Raises:
        DataError: names the other reading.
    """
    known = np.isfinite(values).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
    values, tight = values[known], landmark_box(landmarks[known])
    if len(values) < _FEWEST_BOXES:
        return
    fit = {name: _overlap(read(values), tight) for name, read in _READINGS.items()}
    better = {name: int(((fit[name] > fit[stated] + _CLEARLY) & (fit[name] > _WELL)).sum()) for name in _READINGS}
    likely = max(better, key=lambda name: better[name])
    if better[likely] >= _NEARLY_ALL * len(values):
        raise DataError(
            f"{what} should be {stated}, but {better[likely]} of {len(values)} fit the landmarks as {likely}. {advice}"
        )


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M,) intersection over union of boxes (M, 4); 0 where one has no size."""
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
        common = sides.clip(0).prod(axis=1)
        union = sum((box[:, 2:] - box[:, :2]).clip(0).prod(axis=1) for box in (first, second)) - common
        return np.where(union > 0, common / np.where(union > 0, union, 1), 0.0)
