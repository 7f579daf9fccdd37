"""Where a face is cut out of its photograph, and whether it can be."""

from __future__ import annotations

import numpy as np

from facegraph.data.formats.bounds import COORDINATE_LIMIT, out_of_range, without_extent
from facegraph.data.store.layout import CropPolicy
from facegraph.geometry.affine import landmark_box, square_crop


def crop_box(landmarks: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Union (4,) of the tight box of landmarks (N, 2) and the official box (4,), where there is one."""
    tight = landmark_box(landmarks)
    if box is None:
        return tight
    return np.concatenate([np.minimum(tight[:2], box[:2]), np.maximum(tight[2:], box[2:])])


def photograph_to_stored(landmarks: np.ndarray, box: np.ndarray | None, crop: CropPolicy) -> np.ndarray:
    """(3, 3) matrix: px of the photograph -> px of the stored crop. Scale and shift only, the same along x and y."""
    return square_crop(crop_box(landmarks, box), crop.scale, crop.side)


def box_fault(box: np.ndarray | None) -> str | None:
    """What is wrong with an official box (4,), in words; None if nothing is."""
    if box is None:
        return None
    if np.shape(box) != (4,) or not np.isfinite(box).all():
        return f"its box is {np.asarray(box).tolist()}; four finite numbers x0, y0, x1, y1 are needed"
    if len(out_of_range(box[None])):
        return f"its box {np.asarray(box).tolist()} is beyond {COORDINATE_LIMIT:g} px"
    if len(without_extent(box[None])):
        return f"its box {np.asarray(box).tolist()} has no size; x0 < x1 and y0 < y1 are needed"
    return None


def place_fault(matrix: np.ndarray, crop: CropPolicy, width: int, height: int) -> str | None:
    """Why nothing would be seen of a face under photograph_to_stored (3, 3), in words; None if something is."""
    scale, shift = matrix[0, 0], matrix[:2, 2]
    first, last = scale * np.array([-0.5, -0.5]) + shift, scale * np.array([width - 0.5, height - 0.5]) + shift
    if (last > -0.5).all() and (first < crop.side - 0.5).all():
        return None
    return f"its crop lies entirely outside the photograph of {width} x {height} px."
