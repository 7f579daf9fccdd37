"""The face at rest: 3-D places of the landmarks, and how the three schemes read them.

Convention: head frame, x to the right of the image, y down, z towards the viewer, origin between the eyes; one unit is
half the width of the face (about 68 mm). "Left" is the left of the image. The proportions are our own, after common
anthropometry: pupils 0.92 apart, eyes 0.44 wide, tip of the nose 0.64 and chin 1.72 below the eyes.

The model has 106 points: 0..97 in WFLW order, 98..105 the lid points that only the 68-point scheme has. Points of all
schemes are points of the model or means of a few of them, so that the schemes agree exactly.
"""

from __future__ import annotations

import numpy as np

from facegraph.errors import ConfigError
from facegraph.landmarks import SCHEMES, WFLW98, LandmarkScheme

NUM_POINTS = 106
JAW = slice(0, 33)
LEFT_BROW = list(range(33, 42))
LEFT_EYE = list(range(60, 68))
NOSE = list(range(51, 60))
OUTER_LIPS = list(range(76, 88))
INNER_LIPS = list(range(88, 96))
LEFT_PUPIL, RIGHT_PUPIL = 96, 97

MIRROR = (*WFLW98.flip, 102, 103, 104, 105, 98, 99, 100, 101)
RIGHT_BROW = [MIRROR[i] for i in LEFT_BROW]
RIGHT_EYE = [MIRROR[i] for i in LEFT_EYE]
LEFT_LIDS_68 = [98, 99, 100, 101]
RIGHT_LIDS_68 = [102, 103, 104, 105]

# Position of each eye point along its lid, 0 = outer corner, 1 = inner corner, and whether it is on the upper lid.
LID_POSITION = np.array([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 1 / 3, 2 / 3, 2 / 3, 1 / 3])
LID_IS_UPPER = np.array([1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0], dtype=bool)

LEFT_BROW_XYZ = np.array(
    [
        [-0.84, -0.27, -0.40],
        [-0.71, -0.42, -0.22],
        [-0.54, -0.475, -0.09],
        [-0.36, -0.455, -0.02],
        [-0.18, -0.40, 0.03],
        [-0.18, -0.295, 0.03],
        [-0.36, -0.345, -0.02],
        [-0.54, -0.37, -0.09],
        [-0.71, -0.335, -0.22],
    ]
)

NOSE_XYZ = np.array(
    [
        [0.0, 0.04, 0.02],
        [0.0, 0.24, 0.12],
        [0.0, 0.44, 0.23],
        [0.0, 0.64, 0.33],
        [-0.225, 0.74, 0.03],
        [-0.115, 0.79, 0.12],
        [0.0, 0.82, 0.18],
        [0.115, 0.79, 0.12],
        [0.225, 0.74, 0.03],
    ]
)

# Lips: x and y relative to the middle of the mouth, z of the surface of the face.
OUTER_LIPS_XYZ = np.array(
    [
        [-0.38, 0.0, -0.10],
        [-0.23, -0.085, 0.04],
        [-0.085, -0.135, 0.11],
        [0.0, -0.115, 0.12],
        [0.085, -0.135, 0.11],
        [0.23, -0.085, 0.04],
        [0.38, 0.0, -0.10],
        [0.24, 0.105, 0.04],
        [0.12, 0.15, 0.09],
        [0.0, 0.165, 0.10],
        [-0.12, 0.15, 0.09],
        [-0.24, 0.105, 0.04],
    ]
)

INNER_LIPS_XYZ = np.array(
    [
        [-0.33, 0.0, -0.07],
        [-0.16, -0.005, 0.05],
        [0.0, 0.005, 0.09],
        [0.16, -0.005, 0.05],
        [0.33, 0.0, -0.07],
        [0.16, 0.01, 0.05],
        [0.0, 0.015, 0.08],
        [-0.16, 0.01, 0.05],
    ]
)

MOUTH_Y = 1.12
CHIN_Y = 1.72

# Angle of each jaw point on the half ellipse from ear to ear; bunched so that neighbours are about equally far apart.
_STEPS = np.linspace(-1, 1, 33)
JAW_ANGLE = np.pi / 2 * (1 + _STEPS) + 0.16 * np.sin(np.pi * _STEPS)
# Depth of the face in front of each jaw point: where the far contour of a turned head passes.
JAW_FRONT = 0.14 + 0.04 * np.sin(JAW_ANGLE) ** 2 - 0.18 * np.sin(JAW_ANGLE) ** 8

_POINTS_68: tuple[tuple[int, ...], ...] = (
    *((i,) for i in range(0, 33, 2)),
    (33,), (34, 41), (35, 40), (36, 39), (37, 38),
    (42, 50), (43, 49), (44, 48), (45, 47), (46,),
    *((i,) for i in range(51, 60)),
    (60,), (98,), (99,), (64,), (100,), (101,),
    (68,), (103,), (102,), (72,), (105,), (104,),
    *((i,) for i in range(76, 96)),
)  # fmt: skip

_POINTS_29: tuple[tuple[int, ...], ...] = (
    (33,), (46,), (37, 38), (42, 50), (35,), (40,), (44,), (48,),
    (60,), (72,), (64,), (68,), (62,), (66,), (70,), (74,), (96,), (97,),
    (55,), (59,), (54,), (57,), (76,), (82,), (79,), (90,), (94,), (85,), (16,),
)  # fmt: skip

_SCHEME_POINTS: dict[int, tuple[tuple[int, ...], ...]] = {
    98: tuple((i,) for i in range(98)),
    68: _POINTS_68,
    29: _POINTS_29,
}


def scheme_weights(scheme: LandmarkScheme) -> np.ndarray:
    """Weights (N, 106) that turn model points into the landmarks of a scheme; each row sums to 1.

    68 points: jaw every second of WFLW's, brows the middle line of the drawn brow, lids at thirds of the eye.
    29 points: corners, lids and lips as in WFLW; inner brow end the middle of the drawn brow's blunt end.

    Raises:
        ConfigError: the scheme has none of the known numbers of landmarks.
    """
    if scheme.num_landmarks not in _SCHEME_POINTS:
        known = sorted(s.name for s in SCHEMES.values() if s.num_landmarks in _SCHEME_POINTS)
        raise ConfigError(
            f"scheme '{scheme.name}' has {scheme.num_landmarks} landmarks; synthetic faces know "
            f"{sorted(_SCHEME_POINTS)} ({', '.join(known)}). Choose one of these schemes, or describe the new "
            "landmarks in facegraph/data/synthetic/template.py."
        )
    groups = _SCHEME_POINTS[scheme.num_landmarks]
    weights = np.zeros((len(groups), NUM_POINTS))
    for row, group in enumerate(groups):
        weights[row, list(group)] = 1 / len(group)
    return weights
