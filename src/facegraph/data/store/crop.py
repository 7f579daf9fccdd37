"""Where a face is cut out of its photograph, and whether it can be."""

from __future__ import annotations

import numpy as np

from facegraph.data.entries import FaceEntry
from facegraph.data.formats.bounds import COORDINATE_LIMIT, out_of_range, without_extent
from facegraph.data.store.layout import CropPolicy
from facegraph.geometry.affine import landmark_box, square_crop
from facegraph.landmarks import LandmarkScheme


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


def landmark_fault(face: FaceEntry, scheme: LandmarkScheme) -> str | None:
    """Why the landmarks of a face cannot be trained on or scored, in words; None if they can."""
    landmarks = face.landmarks
    if landmarks.shape != (scheme.num_landmarks, 2):
        return f"it has landmarks of shape {landmarks.shape}; scheme '{scheme.name}' has ({scheme.num_landmarks}, 2)"
    bad = np.flatnonzero(~np.isfinite(landmarks).all(axis=1))
    if len(bad):
        return f"landmark {bad[0]} is {landmarks[bad[0]].tolist()}; finite numbers are needed"
    width, height = np.ptp(landmarks, axis=0)
    if not (width > 0 and height > 0 and np.isfinite(width * height)):
        return f"its landmarks span {width:g} x {height:g} px; width and height must be positive"
    for name in scheme.normalisers:
        if not scheme.distance(name, landmarks) > 0:
            return f"the distance '{name}' of landmarks {scheme.normalisers[name]} is 0, no error can be divided by it"
    return None


def place_fault(matrix: np.ndarray, crop: CropPolicy, width: int, height: int) -> str | None:
    """Why nothing would be seen of a face under photograph_to_stored (3, 3), in words; None if something is."""
    scale, shift = matrix[0, 0], matrix[:2, 2]
    first, last = scale * np.array([-0.5, -0.5]) + shift, scale * np.array([width - 0.5, height - 0.5]) + shift
    if (last > -0.5).all() and (first < crop.side - 0.5).all():
        return None
    return f"its crop lies entirely outside the photograph of {width} x {height} px"
