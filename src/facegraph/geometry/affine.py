"""3x3 matrices that map points (x, y) from a source to a target frame, in float64 numpy.

Convention: integer coordinates are pixel centres, so a frame of side S covers [-0.5, S - 0.5]. A matrix is named
source_to_target and composed right to left: image_to_augmented = crop_to_augmented @ image_to_crop.
"""

from __future__ import annotations

import numpy as np


def translation(dx: float, dy: float) -> np.ndarray:
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy], [0.0, 0.0, 1.0]])


def scaling(factor: float, centre: tuple[float, float]) -> np.ndarray:
    """Scale by factor about centre (x, y)."""
    x, y = centre
    return np.array([[factor, 0.0, x * (1 - factor)], [0.0, factor, y * (1 - factor)], [0.0, 0.0, 1.0]])


def rotation(degrees: float, centre: tuple[float, float]) -> np.ndarray:
    """Rotate about centre (x, y); positive turns x towards y, clockwise on the screen."""
    radians = np.deg2rad(degrees)
    c, s = np.cos(radians), np.sin(radians)
    x, y = centre
    return np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0.0, 0.0, 1.0]])


def horizontal_flip(width: int) -> np.ndarray:
    """Mirror a frame of width pixels: x -> width - 1 - x."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def square_crop(box: np.ndarray, margin: float, size: int, stretch: bool = False) -> np.ndarray:
    """image_to_crop matrix of the square around a box.

    Args:
        box: (4,) x0, y0, x1, y1 image px, edges as landmark positions.
        margin: side of the square over the longer side of the box.
        size: side of the crop in px.
        stretch: margin is over width and height by themselves, and what this cuts is stretched to the square.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    if not stretch:
        width = height = max(width, height)
    fx, fy = size / (width * margin), size / (height * margin)
    centre = (size - 1) / 2
    return np.array(
        [
            [fx, 0.0, centre - fx * (x0 + x1) / 2],
            [0.0, fy, centre - fy * (y0 + y1) / 2],
            [0.0, 0.0, 1.0],
        ]
    )


def transform_points(source_to_target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., 2) by a (3, 3) or (2, 3) matrix."""
    return points @ source_to_target[:2, :2].T + source_to_target[:2, 2]


def landmark_box(landmarks: np.ndarray) -> np.ndarray:
    """Tight box (..., 4) x0, y0, x1, y1 around landmarks (..., N, 2); a point that is NaN is none."""
    return np.concatenate([np.fmin.reduce(landmarks, axis=-2), np.fmax.reduce(landmarks, axis=-2)], axis=-1)
