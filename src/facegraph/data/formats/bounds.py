"""What a coordinate may be."""

from __future__ import annotations

import numpy as np

from facegraph.errors import DataError

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

    A writer judges them, see store.crop.box_fault; what is no number stays none.
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
