"""Landmarks that an annotation lacks: by which marks they are known, and what becomes of their faces."""

from __future__ import annotations

import numpy as np

from facegraph.geometry.completion import labelled_points

REFUSE, LEAVE_OUT, MASK = "refuse", "leave_out", "mask"
"""What may become of a face that lacks landmarks: it is an error, it is left out, or the others count without them."""
_NAMED = 4


def without_marked(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (..., N, 2) with NaN for those that are marked as missing, as annotation tools do.

    The marks: exactly (0, 0), one negative number twice such as (-1, -1), or no number twice. Half a mark is none: it
    stays and is refused as a coordinate.
    """
    x, y = landmarks[..., 0], landmarks[..., 1]
    marked = (np.isnan(x) & np.isnan(y)) | ((x == y) & (x <= 0))
    return np.where(marked[..., None], np.nan, landmarks)


def lacking(landmarks: np.ndarray) -> np.ndarray:
    """(M,) bool, which faces (M, N, 2) lack a landmark."""
    return np.asarray(~labelled_points(landmarks).all(axis=-1))


def missing_text(landmarks: np.ndarray) -> str:
    """Which landmarks a face (N, 2) lacks, in words."""
    numbers = np.flatnonzero(~labelled_points(landmarks))
    named = ", ".join(str(number) for number in numbers[:_NAMED])
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{len(numbers)} of {len(landmarks)} landmarks are marked as missing ({named}{more})"
