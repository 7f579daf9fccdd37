"""What varies between faces before anything is drawn: identity, expression, pose, place in the image, flags.

Every face has its own random stream (seed, stream, index). A face's numbers do not depend on how many others are
drawn: the draws of a face are one row of uniform numbers, consumed column by column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ATTRIBUTES = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
# How many of the 2,500 WFLW test faces carry each flag.
ATTRIBUTE_RATES = tuple(n / 2500 for n in (326, 314, 698, 206, 736, 773))
# A face is flagged "pose" from these absolute angles on, and stays below the second pair otherwise (degrees).
LARGE_YAW, LARGE_PITCH = 35.0, 18.0
MAX_YAW, MAX_PITCH, MAX_ROLL = 60.0, 25.0, 30.0
USUAL_YAW, USUAL_PITCH = 30.0, 14.0

_COLUMNS = 224


@dataclass(frozen=True)
class FaceParameters:
    """Parameters of M faces, each field (M,) float64 unless noted. Factors are 1 and offsets 0 for the face at rest.

    Angles are degrees: yaw > 0 turns the nose to the right of the image, pitch > 0 down, roll > 0 clockwise on screen.

    Attributes:
        size: longer side of the landmark box over the image side.
        shift_x, shift_y: offset of its centre, same unit. eye openings: 1 is at rest, 0 shut.
        flags: (M, 6) bool in the order of ATTRIBUTES.
    """

    face_width: np.ndarray
    face_height: np.ndarray
    jaw_square: np.ndarray
    jaw_taper: np.ndarray
    chin_length: np.ndarray
    eye_spacing: np.ndarray
    eye_size: np.ndarray
    eye_roundness: np.ndarray
    eye_slant: np.ndarray
    brow_height: np.ndarray
    brow_thickness: np.ndarray
    brow_arch: np.ndarray
    nose_length: np.ndarray
    nose_width: np.ndarray
    nose_depth: np.ndarray
    mouth_width: np.ndarray
    mouth_height: np.ndarray
    lip_thickness: np.ndarray
    mouth_open: np.ndarray
    smile: np.ndarray
    pucker: np.ndarray
    mouth_skew: np.ndarray
    brow_raise: np.ndarray
    brow_tilt: np.ndarray
    left_eye_open: np.ndarray
    right_eye_open: np.ndarray
    gaze_x: np.ndarray
    gaze_y: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    size: np.ndarray
    shift_x: np.ndarray
    shift_y: np.ndarray
    flags: np.ndarray

    def __len__(self) -> int:
        return len(self.yaw)


class _Draws:
    """Uniform numbers (M, columns), taken column by column."""

    def __init__(self, uniform: np.ndarray) -> None:
        self._uniform = uniform
        self._next = 0

    def uniform(self, low: float, high: float) -> np.ndarray:
        self._next += 1
        return low + (high - low) * self._uniform[:, self._next - 1]

    def bell(self, mean: float, spread: float, limit: float = np.inf) -> np.ndarray:
        """Nearly normal: a sum of four uniform numbers; never beyond 3.5 spreads or the limit."""
        total = sum(self.uniform(-0.5, 0.5) for _ in range(4))
        return mean + np.clip(np.sqrt(3.0) * spread * total, -limit, limit)

    def sign(self) -> np.ndarray:
        return np.where(self.uniform(0, 1) < 0.5, -1.0, 1.0)


def sample_parameters(seed: int, stream: int, first: int, count: int) -> FaceParameters:
    """Parameters of the faces first .. first + count - 1 of a stream."""
    rows = [np.random.default_rng([seed, stream, i, 0]).random(_COLUMNS) for i in range(first, first + count)]
    draws = _Draws(np.stack(rows))
    flags = np.stack([draws.uniform(0, 1) < rate for rate in ATTRIBUTE_RATES], axis=-1)
    pose = _sample_pose(draws, flags[:, ATTRIBUTES.index("pose")])
    expression = _sample_expression(draws, flags[:, ATTRIBUTES.index("expression")])
    return FaceParameters(
        **_sample_identity(draws),
        **expression,
        **pose,
        size=draws.uniform(0.50, 0.65),
        shift_x=draws.uniform(-0.05, 0.05),
        shift_y=draws.uniform(-0.03, 0.07),
        flags=flags,
    )


def _sample_identity(draws: _Draws) -> dict[str, np.ndarray]:
    return {
        "face_width": draws.bell(1.0, 0.05),
        "face_height": draws.bell(1.0, 0.05),
        "jaw_square": draws.bell(1.0, 0.12, 0.3),
        "jaw_taper": draws.bell(0.0, 0.06, 0.15),
        "chin_length": draws.bell(1.0, 0.04, 0.08),
        "eye_spacing": draws.bell(1.0, 0.05, 0.12),
        "eye_size": draws.bell(1.0, 0.07, 0.16),
        "eye_roundness": draws.bell(1.0, 0.15, 0.35),
        "eye_slant": draws.bell(0.0, 0.022),
        "brow_height": draws.bell(0.0, 0.04, 0.09),
        "brow_thickness": draws.bell(1.0, 0.25, 0.5),
        "brow_arch": draws.bell(0.0, 0.03),
        "nose_length": draws.bell(1.0, 0.07, 0.17),
        "nose_width": draws.bell(1.0, 0.13, 0.3),
        "nose_depth": draws.bell(1.0, 0.15, 0.4),
        "mouth_width": draws.bell(1.0, 0.08, 0.2),
        "mouth_height": draws.bell(1.0, 0.025, 0.06),
        "lip_thickness": draws.bell(1.0, 0.22, 0.5),
    }


def _sample_expression(draws: _Draws, strong: np.ndarray) -> dict[str, np.ndarray]:
    """Mild by default; a strong face is one of: shout, laugh, eyes shut with a grimace, pout with a frown."""
    kind = draws.uniform(0, 1)
    shout, laugh = strong & (kind < 0.35), strong & (kind >= 0.35) & (kind < 0.65)
    shut, pout = strong & (kind >= 0.65) & (kind < 0.83), strong & (kind >= 0.83)
    kinds = [shout, laugh, shut, pout]

    def pick(usual: np.ndarray, *ranges: tuple[float, float]) -> np.ndarray:
        return np.select(kinds, [draws.uniform(*r) for r in ranges], usual)

    opening = draws.bell(1.0, 0.12, 0.3)
    same = (0.0, 0.10)
    left = pick(opening, (0.9, 1.35), (0.45, 0.8), same, (0.6, 1.0))
    right = pick(opening + draws.bell(0, 0.03), (0.9, 1.35), (0.45, 0.8), same, (0.6, 1.0))
    return {
        "mouth_open": pick(np.maximum(draws.uniform(-0.3, 0.22), 0), (0.6, 1.0), (0.2, 0.6), (0.0, 0.3), (0, 0.05)),
        "smile": pick(draws.bell(0.15, 0.25, 0.5), (-0.2, 0.3), (0.8, 1.1), (-0.9, 0.9), (-0.6, -0.2)),
        "pucker": pick(np.maximum(draws.uniform(-0.6, 0.2), 0), (0.0, 0.4), (0, 0), (0.0, 0.3), (0.75, 1.0)),
        "mouth_skew": pick(draws.bell(0, 0.02), (-0.04, 0.04), (-0.04, 0.04), (-0.07, 0.07), (-0.08, 0.08)),
        "brow_raise": pick(draws.bell(0, 0.25, 0.5), (0.4, 1.0), (-0.1, 0.4), (-0.9, 0.2), (-1.0, -0.4)),
        "brow_tilt": pick(draws.bell(0, 0.25, 0.5), (-0.5, 0.3), (-0.4, 0.2), (0.0, 0.9), (0.4, 1.0)),
        "left_eye_open": left,
        "right_eye_open": right,
        "gaze_x": draws.bell(0, 0.35, 0.9),
        "gaze_y": draws.bell(0, 0.25, 0.6),
    }


def _sample_pose(draws: _Draws, large: np.ndarray) -> dict[str, np.ndarray]:
    by_yaw = large & (draws.uniform(0, 1) < 0.8)
    by_pitch = large & ~by_yaw
    yaw = draws.bell(0, 13, USUAL_YAW)
    pitch = draws.bell(0, 6, USUAL_PITCH)
    return {
        "yaw": np.where(by_yaw, draws.sign() * draws.uniform(LARGE_YAW, MAX_YAW), yaw),
        "pitch": np.where(by_pitch, draws.sign() * draws.uniform(LARGE_PITCH, MAX_PITCH), pitch),
        "roll": draws.bell(0, 9, MAX_ROLL),
    }
