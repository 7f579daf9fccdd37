"""The face at rest, how the three schemes read it, and identity and expression turned into 3-D points.

Convention: head frame, x to the right of the image, y down, z towards the viewer, origin between the eyes; one unit is
half the width of the face (about 68 mm). "Left" is the left of the image. The proportions are our own, after common
anthropometry: pupils 0.92 apart, eyes 0.44 wide, tip of the nose 0.64 and chin 1.72 below the eyes.

The model has 106 points: 0..97 in WFLW order, 98..105 the lid points that only the 68-point scheme has. Points of all
schemes are points of the model or means of a few of them, so that the schemes agree exactly.
"""

from __future__ import annotations

import numpy as np

from facegraph.data.synthetic.parameters import FaceParameters
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
            "landmarks in facegraph/data/synthetic/shape.py."
        )
    groups = _SCHEME_POINTS[scheme.num_landmarks]
    weights = np.zeros((len(groups), NUM_POINTS))
    for row, group in enumerate(groups):
        weights[row, list(group)] = 1 / len(group)
    return weights


def face_points(faces: FaceParameters) -> np.ndarray:
    """Model points (M, 106, 3) of M faces in the head frame, before the pose; NaN-free for every legal parameter.

    The jaw is given as on a frontal view; camera.turn_contour moves the far half of a turned head.
    """
    points = np.empty((len(faces), NUM_POINTS, 3))
    points[:, JAW] = _jaw(faces)
    for side, brow, eye, lids, pupil in (
        (-1, LEFT_BROW, LEFT_EYE, LEFT_LIDS_68, LEFT_PUPIL),
        (1, RIGHT_BROW, RIGHT_EYE, RIGHT_LIDS_68, RIGHT_PUPIL),
    ):
        points[:, brow] = _brow(faces, side)
        points[:, [*eye, *lids]] = _lids(faces, side)
        points[:, pupil] = _pupil(faces, side)
    points[:, NOSE] = _nose(faces)
    points[:, OUTER_LIPS] = _lips(faces, OUTER_LIPS_XYZ)
    points[:, INNER_LIPS] = _lips(faces, INNER_LIPS_XYZ)
    points[..., 0] *= faces.face_width[:, None]
    points[..., 1] *= faces.face_height[:, None]
    return points


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None]


def _jaw(faces: FaceParameters) -> np.ndarray:
    """A half super-ellipse from ear to ear: squarer with jaw_square, narrower below with jaw_taper."""
    # Rounded, so that the chin has no side: turn_contour would move it for a cosine of 6e-17.
    cosine, sine = np.cos(JAW_ANGLE).round(12), np.maximum(np.sin(JAW_ANGLE), 0)
    width = np.sign(-cosine) * np.abs(cosine) ** (0.86 / _column(faces.jaw_square))
    down = sine ** (0.95 / _column(faces.jaw_square))
    x = width * (1 - (0.06 + _column(faces.jaw_taper)) * down)
    drop = _column(0.42 * faces.mouth_open)
    y = -0.02 + (CHIN_Y * _column(faces.chin_length) + 0.02) * down + drop * down**2
    z = -0.92 * np.abs(cosine) ** 1.35 + 0 * x
    return np.stack([x, y, z], axis=-1)


def _brow(faces: FaceParameters, side: int) -> np.ndarray:
    rest = LEFT_BROW_XYZ
    x = rest[:, 0] * _column(0.5 + 0.5 * faces.eye_spacing)
    centre = np.array([-0.27, -0.378, -0.422, -0.4, -0.348, -0.348, -0.4, -0.422, -0.378])
    y = centre + (rest[:, 1] - centre) * _column(faces.brow_thickness)
    along = (rest[:, 0] + 0.5) / 0.35  # -1 outer end, 1 inner end
    y = y - _column(faces.brow_height) - 0.11 * _column(faces.brow_raise) - (1 - along**2) * _column(faces.brow_arch)
    y = y + 0.05 * along * _column(faces.brow_tilt)
    z = rest[:, 2] + 0 * y
    return np.stack([-side * x, y, z], axis=-1)


def _eye_corners(faces: FaceParameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x of the middle, half width and slant (outer corner above inner) of the eyes, each (M, 1), left side."""
    return -0.46 * _column(faces.eye_spacing), 0.22 * _column(faces.eye_size), _column(faces.eye_slant) + 0.01


def _eye_opening(faces: FaceParameters, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Heights (M, 1) of the upper lid above and the lower lid below the line between the corners."""
    opening = _column(faces.left_eye_open if side < 0 else faces.right_eye_open)
    size = _column(faces.eye_size * faces.eye_roundness)
    squint = 0.035 * np.maximum(_column(faces.smile), 0)
    # A shut eye is a line a little below the corners: the upper lid comes down to the lower one.
    lower = size * (0.035 + 0.055 * np.minimum(opening, 1.15)) - squint * np.minimum(opening, 1)
    upper = -lower + opening * (size * 0.205 - squint)
    return upper, lower


def _lids(faces: FaceParameters, side: int) -> np.ndarray:
    """Eight eye points from the outer corner over the upper lid and back, then the four lid points at thirds."""
    t = LID_POSITION
    middle, half, slant = _eye_corners(faces)
    upper, lower = _eye_opening(faces, side)
    bow = (4 * t * (1 - t)) ** 0.85
    x = middle + half * (2 * t - 1)
    y = 0.03 + slant * (2 * t - 1) + bow * np.where(LID_IS_UPPER, -upper, lower)
    z = -0.22 + 0.11 * t + 0.07 * bow + 0 * y
    return np.stack([-side * x, y, z], axis=-1)


def _pupil(faces: FaceParameters, side: int) -> np.ndarray:
    middle, half, _ = _eye_corners(faces)
    upper, lower = _eye_opening(faces, side)
    # Gaze is to the image's right for both eyes, while the x of an eye is given for the left one and mirrored.
    x = -side * middle + 0.3 * half * _column(faces.gaze_x)
    y = 0.03 + (lower - upper) / 2 + 0.2 * (lower + upper) * _column(faces.gaze_y)
    return np.concatenate([x, y, np.full_like(x, -0.12)], axis=-1)


def _nose(faces: FaceParameters) -> np.ndarray:
    rest = NOSE_XYZ
    x = rest[:, 0] * _column(faces.nose_width * (1 + 0.08 * np.maximum(faces.smile, 0)))
    y = rest[:, 1] * _column(faces.nose_length)
    z = rest[:, 2] * _column(faces.nose_depth)
    return np.stack([x, y, z], axis=-1)


def _lips(faces: FaceParameters, rest: np.ndarray) -> np.ndarray:
    """Lips from their place at rest: opened, drawn wide and up by a smile, narrowed and pushed out by a pucker."""
    across = rest[:, 0] / 0.38
    thick = _column(faces.lip_thickness * (1 - 0.22 * np.maximum(faces.smile, 0) + 0.25 * faces.pucker))
    opened, smile, pucker = _column(faces.mouth_open), _column(faces.smile), _column(faces.pucker)
    x = rest[:, 0] * _column(faces.mouth_width) * (1 + 0.20 * smile) * (1 - 0.38 * pucker) * (1 - 0.12 * opened)
    y = rest[:, 1] * thick
    is_lower = np.zeros(len(rest), dtype=bool)
    is_lower[len(rest) // 2 + 1 :] = True
    # The open mouth is a blunt oval, so the lips move by more than a parabola near the corners.
    span = np.maximum(1 - across**2, 0) ** 0.65
    y = y + np.where(is_lower, 0.44, -0.06) * opened * span + 0.08 * opened
    y = y - 0.13 * smile * across**2 + 0.03 * smile + _column(faces.mouth_skew) * across
    middle = MOUTH_Y * _column(faces.mouth_height * (0.7 + 0.3 * faces.nose_length))
    z = rest[:, 2] + 0.06 * pucker - 0.03 * opened * is_lower
    return np.stack([x, y + middle, z + 0 * y], axis=-1)
