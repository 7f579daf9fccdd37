"""A drawn face to measure on: at rest, in even light, sharp."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from facegraph.data.synthetic.canvas import colour
from facegraph.data.synthetic.look import Light, Look, Quality
from facegraph.data.synthetic.parameters import ATTRIBUTES, FaceParameters

_FACTORS = {"face_width", "face_height", "jaw_square", "chin_length", "eye_spacing", "eye_size", "eye_roundness",
            "brow_thickness", "nose_length", "nose_width", "nose_depth", "mouth_width", "mouth_height",
            "lip_thickness", "left_eye_open", "right_eye_open"}  # fmt: skip


def neutral_parameters(count: int = 1) -> FaceParameters:
    """The face at rest, looking straight ahead, upright, in the middle of the image, count times."""
    values = {f.name: np.full(count, float(f.name in _FACTORS)) for f in fields(FaceParameters)}
    values["size"] = np.full(count, 0.58)
    values["flags"] = np.zeros((count, len(ATTRIBUTES)), dtype=bool)
    return FaceParameters(**values)


def plain_look() -> Look:
    """Even light, mid skin, sharp and free of noise."""
    return Look(
        skin=colour(236, 194, 163),
        lips=colour(170, 80, 80),
        iris=colour(54, 34, 22),
        brow=colour(28, 22, 20),
        hair=colour(52, 36, 28, 200),
        cloth=colour(90, 90, 90),
        covered=False,
        light=Light(np.array([0.0, 0.0, 1.0]), 1.0, 0.0, 1.0, np.ones(3), np.zeros(2)),
        quality=Quality(0.0, np.zeros(2), 1, 0.0),
        seed=0,
    )
