"""How strongly two landmarks move together over a training set (SCC paper, section on the sparse graph).

C = (|Cx| + |Cy|) / 2 with Cx, Cy the Pearson correlations of the x and of the y coordinates. The paper does not say in
which frame the coordinates are taken. In the image every landmark follows the face's position, so all correlations are
near 1; the published lists are reproduced in the Procrustes frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facegraph.errors import ConfigError
from facegraph.geometry.affine import landmark_box
from facegraph.geometry.procrustes import procrustes

MIN_FACES = 3


def image_frame(landmarks: np.ndarray) -> np.ndarray:
    """Coordinates as stored."""
    return landmarks


def box_frame(landmarks: np.ndarray) -> np.ndarray:
    """Position within the tight landmark box, in units of its longer side."""
    boxes = landmark_box(landmarks)
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None, None]
    return (landmarks - centre) / side


def procrustes_frame(landmarks: np.ndarray) -> np.ndarray:
    """Shapes after generalised Procrustes analysis: no translation, scale or rotation left."""
    return procrustes(landmarks)[0]


FRAMES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "image": image_frame,
    "box": box_frame,
    "procrustes": procrustes_frame,
}


def landmark_correlation(landmarks: np.ndarray, frame: str = "procrustes") -> np.ndarray:
    """Symmetric (N, N) float64 matrix in [0, 1] with ones on the diagonal.

    Args:
        landmarks: (M, N, 2) training faces in image px.
        frame: 'image', 'box' or 'procrustes'.

    Raises:
        ConfigError: unknown frame, fewer than three faces, wrong shape.
    """
    if frame not in FRAMES:
        raise ConfigError(f"graph frame '{frame}' does not exist; choose one of {sorted(FRAMES)}.")
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2 or len(landmarks) < MIN_FACES:
        raise ConfigError(
            f"the graph needs landmarks of shape (faces, points, 2) with at least {MIN_FACES} faces, got "
            f"{landmarks.shape}; give it the landmarks of the training split."
        )
    points = FRAMES[frame](np.asarray(landmarks, dtype=np.float64))
    centred = points - points.mean(axis=0)
    # a coordinate that never varies correlates with nothing; the floor turns 0/0 into 0
    spread = np.maximum(np.sqrt((centred**2).sum(axis=0)), 1e-12)
    unit = centred / spread
    correlation = np.abs(np.einsum("mic,mjc->cij", unit, unit)).mean(axis=0)
    np.fill_diagonal(correlation, 1.0)
    return np.clip((correlation + correlation.T) / 2, 0.0, 1.0)
