"""Identity and expression turned into 3-D points in the head frame of template.py."""

from __future__ import annotations

import numpy as np

from facegraph.data.synthetic import template
from facegraph.data.synthetic.parameters import FaceParameters
from facegraph.data.synthetic.template import CHIN_Y, MOUTH_Y


def face_points(faces: FaceParameters) -> np.ndarray:
    """Model points (M, 106, 3) of M faces in the head frame, before the pose; NaN-free for every legal parameter.

    The jaw is given as on a frontal view; camera.turn_contour moves the far half of a turned head.
    """
    points = np.empty((len(faces), template.NUM_POINTS, 3))
    points[:, template.JAW] = _jaw(faces)
    for side, brow, eye, lids, pupil in (
        (-1, template.LEFT_BROW, template.LEFT_EYE, template.LEFT_LIDS_68, template.LEFT_PUPIL),
        (1, template.RIGHT_BROW, template.RIGHT_EYE, template.RIGHT_LIDS_68, template.RIGHT_PUPIL),
    ):
        points[:, brow] = _brow(faces, side)
        points[:, [*eye, *lids]] = _lids(faces, side)
        points[:, pupil] = _pupil(faces, side)
    points[:, template.NOSE] = _nose(faces)
    points[:, template.OUTER_LIPS] = _lips(faces, template.OUTER_LIPS_XYZ)
    points[:, template.INNER_LIPS] = _lips(faces, template.INNER_LIPS_XYZ)
    points[..., 0] *= faces.face_width[:, None]
    points[..., 1] *= faces.face_height[:, None]
    return points


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None]


def _jaw(faces: FaceParameters) -> np.ndarray:
    """A half super-ellipse from ear to ear: squarer with jaw_square, narrower below with jaw_taper."""
    # Rounded, so that the chin has no side: turn_contour would move it for a cosine of 6e-17.
    cosine, sine = np.cos(template.JAW_ANGLE).round(12), np.maximum(np.sin(template.JAW_ANGLE), 0)
    width = np.sign(-cosine) * np.abs(cosine) ** (0.86 / _column(faces.jaw_square))
    down = sine ** (0.95 / _column(faces.jaw_square))
    x = width * (1 - (0.06 + _column(faces.jaw_taper)) * down)
    drop = _column(0.42 * faces.mouth_open)
    y = -0.02 + (CHIN_Y * _column(faces.chin_length) + 0.02) * down + drop * down**2
    z = -0.92 * np.abs(cosine) ** 1.35 + 0 * x
    return np.stack([x, y, z], axis=-1)


def _brow(faces: FaceParameters, side: int) -> np.ndarray:
    rest = template.LEFT_BROW_XYZ
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
    t = template.LID_POSITION
    middle, half, slant = _eye_corners(faces)
    upper, lower = _eye_opening(faces, side)
    bow = (4 * t * (1 - t)) ** 0.85
    x = middle + half * (2 * t - 1)
    y = 0.03 + slant * (2 * t - 1) + bow * np.where(template.LID_IS_UPPER, -upper, lower)
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
    rest = template.NOSE_XYZ
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
