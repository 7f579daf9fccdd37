"""How unlike the other faces of a set a face's landmarks are: what no turn, scale or usual deformation explains.

Every face is brought into one pose (Procrustes) and described by the directions in which faces vary most (PCA). Three
things keep an outlier from explaining itself: a face is scored by a PCA of the other folds only, fitted to the faces
that a first PCA finds ordinary; it may follow a direction no further than _LIMIT standard deviations; and landmarks
that do not fit lose their weight in the fit of their own face, so that one stray landmark does not drag the others
along.

Measured on 2,566 faces of 300-W in 12 draws of 20 faces for each kind of error, counting for every spoilt face the
untouched ones with a larger score (median, 95 % quantile, most): left and right exchanged 0, 0, 0; one landmark moved
by 0.3 inter-ocular distances 0, 4, 10, and always the landmark that is named; any one mirror pair exchanged 0, 5, 199.
On the 1,966 hard test faces of WFLW, 98 points, 6 draws: 1, 3, 3; 14, 66, 263; 1, 50, 281; half profiles have short
inter-ocular distances and unusual shapes of their own.

One error on many faces is not found here: the same mirror pair exchanged on 40 of the 2,566 faces becomes a usual
deformation. doctor.checks_shape tests mirror pairs for themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facegraph.errors import DataError
from facegraph.geometry.procrustes import procrustes

FEWEST_FACES = 10
FOLDS = 5
ORDINARY_SHARE = 0.9
_REFITS = 4
_LIMIT = 4.0  # standard deviations; without it a turned face's direction explains exchanged left and right landmarks
_CHUNK = 128  # faces whose normal equations are solved at once


class ShapeResiduals(NamedTuple):
    """How unusual each face and landmark is.

    Attributes:
        score: (M,) the largest of the face's per_landmark; about 1 to 2 for ordinary faces, larger is more suspicious.
        per_landmark: (M, N) distance of each landmark from where the rest of its face puts it, divided by the distance
            that nine in ten faces of the set do not exceed at that landmark; no unit. Both are inf for a face that is
            not finite or all of whose landmarks coincide.
    """

    score: np.ndarray
    per_landmark: np.ndarray


def shape_residuals(landmarks: np.ndarray, keep_variance: float = 0.95) -> ShapeResiduals:
    """Score faces by what is left of their shape after Procrustes and PCA.

    Args:
        landmarks: (M, N, 2) points in any unit, each face in its own.
        keep_variance: share of the variance of ordinary faces that the PCA explains, in (0, 1).

    Returns:
        Scores and per-landmark residuals in the order of the faces; the same faces in the same order give the same
        numbers.

    Raises:
        DataError: fewer than FEWEST_FACES usable faces, another shape, or keep_variance out of range.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2 or not 0 < keep_variance < 1:
        raise DataError(
            f"shape residuals of landmarks of shape {landmarks.shape} with keep_variance {keep_variance} cannot be "
            "computed; (faces, points, 2) and a share in (0, 1) are needed."
        )
    usable = np.isfinite(landmarks).all(axis=(1, 2))
    usable[usable] = np.ptp(landmarks[usable], axis=1).max(axis=-1) > 0
    if usable.sum() < FEWEST_FACES:
        raise DataError(
            f"shape residuals compare a face with the others; {int(usable.sum())} of {len(landmarks)} faces have "
            f"landmarks to compare, at least {FEWEST_FACES} are needed."
        )
    distances = _held_out_distances(landmarks[usable], keep_variance)
    usual = np.quantile(distances, ORDINARY_SHARE, axis=0)
    per_landmark = np.full(landmarks.shape[:2], np.inf)
    per_landmark[usable] = distances / np.maximum(usual, 1e-9)
    return ShapeResiduals(per_landmark.max(axis=-1), per_landmark)


def _held_out_distances(landmarks: np.ndarray, keep_variance: float) -> np.ndarray:
    """(M, N) distances of the landmarks in their aligned, unit-norm frame, each face fitted by the other folds."""
    aligned, _ = procrustes(landmarks)
    fold = np.random.default_rng(0).permutation(len(aligned)) % FOLDS
    distances = np.empty(landmarks.shape[:2])
    for k in range(FOLDS):
        others = aligned[fold != k]
        mean, rows, limits = _shape_basis(others, keep_variance)
        spread = np.linalg.norm(_plain_residual(others.reshape(len(others), -1) - mean, rows, limits), axis=-1)
        ordinary = others[spread <= np.quantile(spread, ORDINARY_SHARE)]
        distances[fold == k] = _distances(aligned[fold == k], *_shape_basis(ordinary, keep_variance))
    return distances


def _shape_basis(aligned: np.ndarray, keep_variance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (2N,), orthonormal rows (K, 2N) and limits (K,): what pose and the usual deformations can do to a face.

    The first four rows are the remaining freedom of pose - shift along x and y, scale, small turns - so that the fit of
    a face can correct an alignment that a stray landmark has spoilt.
    """
    count, points, _ = aligned.shape
    mean = aligned.mean(axis=0)
    turned = np.stack([-mean[:, 1], mean[:, 0]], axis=-1)
    ones, zeros = np.ones(points), np.zeros(points)
    pose = [np.stack([ones, zeros], axis=-1), np.stack([zeros, ones], axis=-1), mean, turned]
    pose_rows = np.linalg.qr(np.reshape(pose, (4, -1)).T)[0].T
    centred = (aligned - mean).reshape(count, -1)
    centred -= centred @ pose_rows.T @ pose_rows
    variances, directions = np.linalg.eigh(centred.T @ centred)
    variances, directions = variances[::-1].clip(0), directions[:, ::-1]
    # a third of the faces at most: more directions than that would only remember the faces they come from
    enough = int(np.searchsorted(np.cumsum(variances), keep_variance * variances.sum())) + 1
    kept = min(enough, count // 3, points)
    rows = np.concatenate([pose_rows, directions[:, :kept].T])
    limits = _LIMIT * np.sqrt(variances[:kept] / count)
    return mean.reshape(-1), rows, np.concatenate([np.full(4, np.inf), limits])


def _distances(aligned: np.ndarray, mean: np.ndarray, rows: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(M, N) distances of landmarks from the robust fit of mean + coefficients @ rows to each face."""
    faces = aligned.reshape(len(aligned), -1) - mean
    chunks = [_robust_distances(faces[i : i + _CHUNK], rows, limits) for i in range(0, len(faces), _CHUNK)]
    return np.concatenate(chunks)


def _plain_residual(faces: np.ndarray, rows: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return faces - (faces @ rows.T).clip(-limits, limits) @ rows


def _robust_distances(faces: np.ndarray, rows: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Iteratively reweighted least squares; Cauchy weights of the distance over the face's median distance."""
    residual = _plain_residual(faces, rows, limits)
    distance = np.linalg.norm(residual.reshape(len(faces), -1, 2), axis=-1)
    for _ in range(_REFITS):
        scale = 2.4 * np.maximum(np.median(distance, axis=-1, keepdims=True), 1e-9)
        weight = np.repeat(1 / (1 + (distance / scale) ** 2), 2, axis=-1)
        weighted = rows[None] * weight[:, None]
        normal = weighted @ rows.T + 1e-6 * np.eye(len(rows))
        coefficients = np.linalg.solve(normal, weighted @ faces[..., None])[..., 0]
        residual = faces - coefficients.clip(-limits, limits) @ rows
        distance = np.linalg.norm(residual.reshape(len(faces), -1, 2), axis=-1)
    return distance
