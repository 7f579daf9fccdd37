"""What a coordinate may be."""

from __future__ import annotations

import numpy as np

from facegraph.errors import DataError

COORDINATE_LIMIT = 1e6
"""px; no photograph is a tenth as large. A larger number is damage, and would overflow what is computed from it."""


def check_coordinates(values: np.ndarray, where: str, what: str) -> np.ndarray:
    """The values as given, if all are finite and within COORDINATE_LIMIT.

    Args:
        values: (M, K) float64 px.
        where: file and place within it, for the message.
        what: a row of values, for the message: "point", "box".

    Raises:
        DataError: names the first row that is out of range.
    """
    bad = np.argwhere(~(np.abs(values) <= COORDINATE_LIMIT))  # not '>', which NaN passes
    if len(bad):
        row, column = (int(i) for i in bad[0])
        whole = f"of {values[row].tolist()} " if values.shape[1] <= 4 else ""
        raise DataError(
            f"{where}: {what} {row + 1}, number {column + 1} {whole}is {values[row, column]:g}; coordinates must be "
            f"finite and within {COORDINATE_LIMIT:g} px. Copy the file again from its source, or correct it."
        )
    return values


def check_extent(boxes: np.ndarray, where: str) -> np.ndarray:
    """Boxes (M, 4) x0, y0, x1, y1 as given, if all are coordinates with x0 < x1 and y0 < y1.

    Raises:
        DataError: names the first box that is not.
    """
    check_coordinates(boxes, where, "box")
    flat = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if len(flat):
        row = int(flat[0])
        raise DataError(
            f"{where}: box {row + 1} is {boxes[row].tolist()}; x0 < x1 and y0 < y1 are needed. Copy the file again "
            "from its source, or correct it."
        )
    return boxes
