"""Shapes with missing points, completed by what the other shapes of a set look like; float64 numpy."""

from __future__ import annotations

import numpy as np

from facegraph.geometry.affine import landmark_box
from facegraph.geometry.procrustes import procrustes

_ROUNDS = 5


def labelled_points(landmarks: np.ndarray) -> np.ndarray:
    """(..., N) bool, which points of landmarks (..., N, 2) are there; a missing one is NaN."""
    return np.isfinite(landmarks).all(axis=-1)


def complete_shapes(landmarks: np.ndarray) -> np.ndarray:
    """Stand-ins for missing points: where the mean shape has them, fitted to the face's own points by a similarity.

    For what needs a whole face and is not judged by these points: mean shapes, correlations, the pose of a face. The
    mean starts from the positions within the landmark boxes and is refined with the completed shapes.

    Args:
        landmarks: (M, N, 2) in any unit, a missing point NaN; a face has at least two different points.

    Returns:
        (M, N, 2), the same array where nothing is missing. A point that no face has stands in the middle of each.
    """
    known = labelled_points(landmarks)
    if known.all() or not len(landmarks):
        return landmarks
    boxes = landmark_box(landmarks)
    centre, side = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, np.ptp(boxes.reshape(-1, 2, 2), axis=1).max(axis=-1)
    in_box = np.where(known[..., None], (landmarks - centre) / side[:, None, None], 0.0)
    mean = in_box.sum(axis=0) / np.maximum(known.sum(axis=0), 1)[:, None]
    partial = np.flatnonzero(~known.all(axis=1))
    completed = landmarks.copy()
    for _ in range(_ROUNDS):
        fitted = _fit(mean, landmarks[partial], known[partial])
        completed[partial] = np.where(known[partial][..., None], landmarks[partial], fitted)
        mean = procrustes(completed)[1]
    return completed


def _fit(shape: np.ndarray, faces: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The shape (N, 2) moved, turned and scaled onto the known (K, N) points of faces (K, N, 2): (K, N, 2)."""
    weight = known / known.sum(axis=1, keepdims=True)
    source = np.broadcast_to(shape[:, 0] + 1j * shape[:, 1], known.shape)
    target = np.where(known, faces[..., 0] + 1j * faces[..., 1], 0.0)
    from_centre = (weight * source).sum(axis=1, keepdims=True)
    to_centre = (weight * target).sum(axis=1, keepdims=True)
    centred = source - from_centre
    size = (weight * np.abs(centred) ** 2).sum(axis=1, keepdims=True)
    factor = (weight * centred.conj() * (target - to_centre)).sum(axis=1, keepdims=True) / np.maximum(size, 1e-12)
    placed = factor * centred + to_centre
    return np.stack([placed.real, placed.imag], axis=-1)
