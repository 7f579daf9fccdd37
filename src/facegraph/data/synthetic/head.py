"""Neck, shoulders, skull, ears and the skin of the face; the outline of the face runs through the jaw landmarks."""

from __future__ import annotations

import numpy as np

from facegraph.data.synthetic.canvas import curve, mix
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
    """Neck and shoulders hang from the head and stay upright whatever the pose."""
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
    upper = curve(scene.hairline(scene.look.hair.hairline))
    return np.concatenate([curve(scene.jaw()), upper])


def draw_face(scene: Scene) -> None:
    look = scene.look
    scene.canvas.fill(face_outline(scene), look.skin)
    scene.canvas.stroke(curve(scene.jaw()), 0.035 * scene.unit, mix(look.skin, look.skin_shadow, 0.8))


def draw_creases(scene: Scene) -> None:
    """Folds from the nose to the corners of the mouth."""
    strength = scene.look.creases
    if strength < 0.15:
        return
    paint = mix(scene.look.skin, scene.look.skin_shadow, 0.75 * strength)
    for side, corner, wing in ((-1, 76, 55), (1, 82, 59)):
        outside = scene.camera.rotation[:2, 0] * (side * scene.unit)
        start, end = scene.points[wing], scene.points[corner]
        line = np.stack([start + 0.08 * outside, (start + end) / 2 + 0.13 * outside, end + 0.13 * outside])
        scene.canvas.stroke(curve(line), 0.03 * scene.unit, paint)


def draw_blush(scene: Scene) -> None:
    share = scene.look.makeup.blush_share
    if share < 0.05:
        return
    rosy = scene.look.skin * np.array([1.0, 0.55, 0.6, 1.0])
    ring = np.array(
        [[0.2, 0], [0.14, 0.11], [0, 0.15], [-0.14, 0.11], [-0.2, 0], [-0.14, -0.11], [0, -0.15], [0.14, -0.11]]
    )
    for side in (-1, 1):
        cheek = np.concatenate([ring + np.array([side * 0.58, 0.60]), np.full((8, 1), -0.2)], axis=1)
        scene.canvas.soft_fill(scene.place(cheek), rosy, share, 0.07 * scene.unit)
