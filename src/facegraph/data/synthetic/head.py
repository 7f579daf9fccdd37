"""Hair, neck, shoulders, ears, the skin of the face, whose outline runs through the jaw landmarks; what covers it."""

from __future__ import annotations

import numpy as np

from facegraph.data.synthetic.canvas import curve, mix, pigment
from facegraph.data.synthetic.look import muted
from facegraph.data.synthetic.scene import Scene

_EAR_XYZ = np.array(
    [
        [0.99, -0.16, -0.98],
        [1.06, -0.26, -1.08],
        [1.16, -0.22, -1.24],
        [1.15, 0.06, -1.26],
        [1.06, 0.30, -1.14],
        [1.00, 0.46, -1.00],
        [0.96, 0.40, -0.92],
    ]
)
_NECK = np.array(
    [[-0.45, -0.9], [-0.57, 0.2], [-0.66, 0.8], [-0.9, 1.3], [0.9, 1.3], [0.66, 0.8], [0.57, 0.2], [0.45, -0.9]]
)
_SHOULDERS = np.array(
    [
        [-2.7, 2.0],
        [-2.3, 1.4],
        [-1.5, 1.08],
        [-0.7, 0.80],
        [0.0, 1.02],
        [0.7, 0.80],
        [1.5, 1.08],
        [2.3, 1.4],
        [2.7, 2.0],
    ]
)


def draw_body(scene: Scene) -> None:
    """Hair, and neck and shoulders, which hang from the head and stay upright whatever the pose."""
    scene.canvas.fill(scene.skull(1.04), scene.look.hair)
    top = scene.place(np.array([[0.0, 1.0, -0.95]]))[0]
    sizes = scene.unit * np.array([scene.width, 1.0])
    scene.canvas.fill(top + _NECK * sizes, mix(scene.look.skin, scene.look.skin_shadow, 0.7))
    cloth = np.concatenate([curve(top + _SHOULDERS * sizes), top + np.array([[2.7, 5.0], [-2.7, 5.0]]) * sizes])
    scene.canvas.fill(cloth, scene.look.cloth)


def draw_ears(scene: Scene) -> None:
    """The far ear of a turned head ends up behind the face, which is drawn later."""
    for side in (-1, 1):
        ear = scene.place(_EAR_XYZ * np.array([side, 1, 1]))
        scene.canvas.fill(curve(ear, closed=True), mix(scene.look.skin, scene.look.skin_shadow, 0.25))
        inner = ear.mean(axis=0) + 0.5 * (ear - ear.mean(axis=0))
        scene.canvas.fill(inner, mix(scene.look.skin, scene.look.skin_shadow, 0.7))


def face_outline(scene: Scene) -> np.ndarray:
    """Closed outline (K, 2): along the jaw landmarks from the left to the right ear and back over the hairline."""
    upper = curve(scene.hairline())
    return np.concatenate([curve(scene.jaw()), upper])


def draw_face(scene: Scene) -> None:
    look = scene.look
    scene.canvas.fill(face_outline(scene), look.skin)
    scene.canvas.stroke(curve(scene.jaw()), 0.035 * scene.unit, mix(look.skin, look.skin_shadow, 0.8))


def draw_board(scene: Scene) -> None:
    """A book, phone or shoulder: a plain quadrangle over a part of the face."""
    rng = scene.rng
    target = scene.points[rng.choice([4, 28, 85, 62, 70, 40, 48])]
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    half = rng.uniform(0.38, 0.6, 2) * scene.unit
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn + target
    # dark enough to be told from an over-exposed face
    scene.canvas.fill(corners, pigment(0.6 * muted(rng, 0.7), 60))
    inner = target + 0.8 * (corners - target)
    scene.canvas.stroke(inner, 0.04 * scene.unit, pigment(muted(rng, 0.7), 60), closed=True)
