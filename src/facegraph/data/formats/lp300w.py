"""Annotations of 300W-LP: a .mat beside each picture, and a second one with the landmarks alone.

Coordinates are taken as MATLAB's, the centre of the first pixel being (1, 1), and 1 is subtracted. The publishers do
not say; most public readers leave the numbers as they are, a pixel off. Our reasons: the .pts files of 300-W, which the
set was made from, are 1-based; the authors' MATLAB code turns rows with height + 1 - y; and their port of it to Python
subtracts 1 (3DDFA_V2, similar_transform: "for Python compatibility"). Not checked against pixels, as no file of the set
was at hand.

The variable roi is not read: its meaning is not documented, it has negative numbers, and its author points who asks for
the box of the face to the landmarks (github.com/cleardusk/3DDFA, issue 201).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facegraph.data.formats.bounds import check_coordinates
from facegraph.data.formats.matlab import Value, numbers, read_variables
from facegraph.errors import DataError

NUM_LANDMARKS = 68
_MOST_DEGREES = 360.0


@dataclass(frozen=True)
class LpFace:
    """One picture of 300W-LP.

    Attributes:
        landmarks: (68, 2) float64 px of the picture, 0-based.
        pitch, yaw, roll: degrees, signs as in Pose_Para.
    """

    landmarks: np.ndarray
    pitch: float
    yaw: float
    roll: float


def read_300wlp(path: Path) -> LpFace:
    """Landmarks (pt2d) and head pose (Pose_Para, radians there) of the .mat beside a picture.

    Raises:
        DataError: not there or not readable, a variable is missing or has another shape, numbers that are not finite
            or out of range.
    """
    variables = read_variables(path, ("pt2d", "Pose_Para"))
    landmarks = _points(path, variables, "pt2d")
    pose = numbers(path, variables, "Pose_Para").reshape(-1)
    if not 3 <= len(pose) <= 7:
        raise DataError(
            f"{path}, variable Pose_Para: {len(pose)} numbers; 7 are expected (pitch, yaw, roll, shift, scale). Copy "
            "the file again from its source."
        )
    pitch, yaw, roll = (float(angle) for angle in np.degrees(pose[:3]))
    if not max(abs(pitch), abs(yaw), abs(roll)) <= _MOST_DEGREES or not np.isfinite([pitch, yaw, roll]).all():
        raise DataError(
            f"{path}, variable Pose_Para: pitch, yaw and roll are {pitch:g}, {yaw:g} and {roll:g} degrees; at most "
            f"{_MOST_DEGREES:g} are possible. Copy the file again from its source."
        )
    return LpFace(landmarks, pitch, yaw, roll)


def read_300wlp_points(path: Path, key: str = "pts_2d") -> np.ndarray:
    """(68, 2) float64 landmarks of landmarks/<set>/<picture>_pts.mat, px of the picture, 0-based.

    Args:
        path: the file.
        key: "pts_2d", or "pts_3d" for the projection of the 3D points.

    Raises:
        DataError: as read_300wlp.
    """
    return _points(path, read_variables(path, (key,)), key)


def _points(path: Path, variables: dict[str, Value], name: str) -> np.ndarray:
    points = numbers(path, variables, name)
    if points.shape == (2, NUM_LANDMARKS):
        points = points.T
    if points.shape != (NUM_LANDMARKS, 2):
        raise DataError(
            f"{path}, variable {name}: shape {points.shape}; ({NUM_LANDMARKS}, 2) or (2, {NUM_LANDMARKS}) is needed. "
            "Copy the file again from its source."
        )
    return check_coordinates(points, f"{path}, variable {name}", "point") - 1.0
