"""COFW-68: the test photographs of COFW annotated again with the 68 points of iBUG.

As released (github.com/golnazghiasi/cofw68-benchmark): test_annotations/<n>_points.mat with Points (68, 2) and Occ (68
flags), n from 1 in the order of COFW's test images, and cofw68_test_bboxes.mat with bboxes (507, 4) as x, y, w, h. The
release's own script draws both on the image without a shift, so both are 1-based, as MATLAB's pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facegraph.data.formats.bounds import boxes_of_corners, check_coordinates
from facegraph.data.formats.matlab import numbers, read_variables
from facegraph.errors import DataError

NUM_LANDMARKS = 68
_NEXT = "Copy the file again from its source."


def read_cofw68_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (68, 2) float64 px, 0-based, and which of them are hidden, (68,) bool.

    Raises:
        DataError: not there or not readable, a variable is missing or has another shape, coordinates that are not
            finite or beyond 1e6 px, flags other than 0 and 1.
    """
    variables = read_variables(path, ("Points", "Occ"))
    points = numbers(path, variables, "Points")
    if points.shape != (NUM_LANDMARKS, 2):
        raise DataError(f"{path}, variable Points: shape {points.shape}; ({NUM_LANDMARKS}, 2) is needed. {_NEXT}")
    check_coordinates(points, f"{path}, variable Points", "point")
    flags = numbers(path, variables, "Occ")
    if flags.size != NUM_LANDMARKS or not np.isin(flags, (0, 1)).all():
        raise DataError(
            f"{path}, variable Occ: shape {flags.shape}, values {np.unique(flags)[:5].tolist()}; {NUM_LANDMARKS} flags "
            f"0 or 1 are needed. {_NEXT}"
        )
    return points - 1.0, flags.reshape(-1) == 1


def read_cofw68_boxes(path: Path) -> np.ndarray:
    """(n, 4) float64 face boxes x0, y0, x1, y1, px, 0-based, in the order of COFW's test images; as written, unchecked.

    Raises:
        DataError: not there or not readable, or another shape.
    """
    where = f"{path}, variable bboxes"
    boxes = numbers(path, read_variables(path, ("bboxes",)), "bboxes")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise DataError(f"{where}: shape {boxes.shape}; (number of images, 4) is needed. {_NEXT}")
    return boxes_of_corners(boxes - np.array([1.0, 1.0, 0.0, 0.0]))
