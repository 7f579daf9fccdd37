"""What hides a part of the face: glasses, hands, strands of hair, masks, microphones, boards.

OCCLUDERS are drawn only on faces flagged "occlusion", each one over several landmarks; clear glasses are worn by any.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facegraph.data.synthetic.canvas import circle_directions, colour, curve, mix, pigment
from facegraph.data.synthetic.look import muted
from facegraph.data.synthetic.scene import Scene


def _lens(scene: Scene, side: int, half: tuple[float, float]) -> np.ndarray:
    """Rounded rectangle (24, 2) in front of an eye."""
    ring = circle_directions(24)
    ring = np.sign(ring) * np.abs(ring) ** 0.7 * np.array(half)
    plane = np.concatenate([ring + np.array([side * 0.47, 0.05]), np.full((24, 1), 0.02)], axis=1)
    plane[:, 2] -= 0.25 * plane[:, 0] ** 2
    return scene.place(plane)


def _draw_frame(scene: Scene, width: float, paint: np.ndarray) -> None:
    scene.canvas.stroke(
        scene.place(np.array([[-0.17, 0.0, 0.06], [0.0, -0.04, 0.10], [0.17, 0.0, 0.06]])), width, paint
    )
    hinge = scene.near_side
    temple = scene.place(np.array([[0.76 * hinge, -0.02, -0.14], [1.0 * hinge, -0.06, -0.95]]))
    scene.canvas.stroke(temple, width, paint)


def draw_glasses(scene: Scene) -> None:
    """Clear glasses: rims only."""
    if scene.look.glasses == 0:
        return
    paint = mix(colour(30, 28, 30), scene.look.hair.paint, 1 - scene.look.glasses)
    width = 0.035 * scene.unit
    for side in (-1, 1):
        scene.canvas.stroke(_lens(scene, side, (0.31, 0.23)), width, paint, closed=True)
    _draw_frame(scene, width, paint)


def _sunglasses(scene: Scene) -> None:
    paint = pigment(scene.rng.uniform(8, 46, 3), 120)
    half = (0.33, scene.rng.uniform(0.23, 0.29))
    for side in (-1, 1):
        lens = _lens(scene, side, half)
        scene.canvas.fill(lens, paint)
        scene.canvas.soft_fill(lens.mean(axis=0) + 0.45 * (lens - lens.mean(axis=0)), colour(120, 130, 140, 60), 0.3,
                               0.06 * scene.unit)  # fmt: skip
    _draw_frame(scene, 0.05 * scene.unit, paint)


def _hand(scene: Scene) -> None:
    """Fingers across the mouth, a cheek or an eye."""
    rng, unit = scene.rng, scene.unit
    target = scene.points[rng.choice([85, 76, 82, 62, 70, 16])]
    angle = rng.uniform(-0.8, 0.8) + (0.0 if rng.random() < 0.7 else np.pi)
    along = np.array([np.sin(angle), -np.cos(angle)])
    across = np.array([-along[1], along[0]])
    skin = scene.look.skin * np.array([0.95, 0.93, 0.92, 1.0])
    edge = mix(skin, scene.look.skin_shadow, 0.8)
    palm = target - 0.75 * unit * along
    scene.canvas.fill(palm + circle_directions(24) @ (np.diag([0.52, 0.55]) * unit), skin)
    for k, reach in enumerate((0.30, 0.42, 0.38, 0.22)):
        root = palm + unit * ((k - 1.5) * 0.25 * across)
        tip = root + unit * (0.75 + reach) * along + unit * (k - 1.5) * 0.06 * across
        for width, paint in ((0.25, edge), (0.21, skin)):
            scene.canvas.stroke(np.stack([root, tip]), width * unit, paint)
            scene.canvas.disc(tip, width / 2 * unit, paint)


def _strands(scene: Scene) -> None:
    """Hair that falls over one eye and the cheek below it."""
    side = scene.rng.choice([-1.0, 1.0])
    low = scene.rng.uniform(0.35, 0.9)
    corner = np.array(
        [
            [-0.25, -1.12, -0.05],
            [0.35, -1.15, -0.1],
            [0.85, -0.95, -0.4],
            [1.06, -0.3, -0.7],
            [1.04, low + 0.1, -0.7],
            [0.75, low, -0.25],
            [0.42, 0.15, 0.05],
            [0.12, -0.5, 0.08],
        ]
    ) * np.array([side, 1, 1])
    outline = curve(scene.place(corner), closed=True)
    scene.canvas.fill(outline, scene.look.hair.paint)
    for share in (0.35, 0.6, 0.8):
        line = scene.place((1 - share) * corner[[1, 2, 3, 4]] + share * corner[[0, 7, 6, 5]])
        scene.canvas.stroke(curve(line), 0.03 * scene.unit, scene.look.hair.paint * np.array([0.75, 0.75, 0.75, 1.0]))


def _mask(scene: Scene) -> None:
    """A medical mask or scarf from the bridge of the nose to the chin; its lower edge hangs just below the jaw."""
    paint = pigment(
        scene.rng.choice(np.array([[196, 220, 232], [236, 236, 236], [34, 34, 38], [150, 60, 70], [70, 90, 60]]))
    )
    top = scene.points[[53]] + scene.rng.uniform(-0.2, 0.5) * (scene.points[[54]] - scene.points[[53]])
    down = scene.camera.rotation[:2, 1] * scene.unit
    jaw = scene.points[6:27].copy()
    jaw[3:-3] += 0.05 * down
    outline = np.concatenate(
        [jaw, (scene.points[[26]] + top) / 2 - 0.02 * down, top, (scene.points[[6]] + top) / 2 - 0.02 * down]
    )
    scene.canvas.fill(outline, paint)
    for share in (0.3, 0.5, 0.7):
        fold = np.stack([scene.points[9], (1 - share) * top[0] + share * scene.points[16], scene.points[23]])
        scene.canvas.stroke(curve(fold), 0.025 * scene.unit, paint * np.array([0.82, 0.82, 0.82, 1.0]))


def _microphone(scene: Scene) -> None:
    rng, unit = scene.rng, scene.unit
    head = scene.points[[85, 79, 94]][rng.integers(3)] + unit * np.array([rng.uniform(-0.25, 0.25), 0.12])
    foot = head + unit * np.array([rng.uniform(-1.0, 1.0), 2.6])
    scene.canvas.stroke(np.stack([head, foot]), 0.2 * unit, colour(28, 28, 32, 120))
    scene.canvas.disc(head, 0.30 * unit, colour(58, 58, 62, 160))
    scene.canvas.disc(head - 0.08 * unit, 0.14 * unit, colour(96, 96, 100, 160))


def _board(scene: Scene) -> None:
    """A book, phone or shoulder: a plain quadrangle over a part of the face."""
    rng = scene.rng
    target = scene.points[rng.choice([4, 28, 85, 62, 70, 40, 48])]
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    half = rng.uniform(0.38, 0.6, 2) * scene.unit
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn + target
    scene.canvas.fill(corners, pigment(muted(rng, 0.7), 60))
    inner = target + 0.8 * (corners - target)
    scene.canvas.stroke(inner, 0.04 * scene.unit, pigment(muted(rng, 0.7), 60), closed=True)


OCCLUDERS: tuple[Callable[[Scene], None], ...] = (_sunglasses, _hand, _strands, _mask, _microphone, _board)
