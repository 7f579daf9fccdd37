"""Hair behind and in front of the face, beards and moustaches. A style is a pair of functions in STYLES."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facegraph.data.synthetic.canvas import Colour, curve, mix
from facegraph.data.synthetic.scene import Scene

Layer = Callable[[Scene], None]


def _bald_back(scene: Scene) -> None:
    scene.canvas.fill(scene.skull(0.99), scene.look.skin)


def _short_back(scene: Scene) -> None:
    scene.canvas.fill(scene.skull(1.04), scene.look.hair.paint)


def _full_back(scene: Scene) -> None:
    """Curls: an uneven outline well outside the skull."""
    ring = scene.skull(1.2)
    bumps = scene.rng.uniform(0.96, 1.1, (20, 1)).repeat(2, axis=0)
    middle = ring.mean(axis=0)
    scene.canvas.fill(curve(middle + (ring - middle) * bumps, closed=True, steps=2), scene.look.hair.paint)


def _long_back(scene: Scene) -> None:
    low = scene.look.hair.length
    tips = np.array([[1.12, 0.3, -1.1], [1.2, 0.5 + 0.5 * low, -1.3], [0.9, 0.6 + low, -1.5]])
    hanging = scene.place(np.concatenate([tips, tips * np.array([-1, 1, 1])]))
    hull = cv2.convexHull(np.concatenate([scene.skull(1.08), hanging]).astype(np.float32))[:, 0].astype(np.float64)
    scene.canvas.fill(hull, scene.look.hair.paint)
    clip = scene.canvas.inside(hull)
    if clip is None:
        return
    middle, down = scene.skull().mean(axis=0), scene.camera.rotation[:2, 1] * scene.unit
    for share in scene.rng.uniform(-1.1, 1.1, 6):
        top = middle - 1.3 * down + scene.unit * np.array([0.3 * share, 0.0])
        line = np.stack(
            [
                top,
                middle + scene.unit * np.array([share, 0.0]),
                middle + 2.8 * down + scene.unit * np.array([1.1 * share, 0]),
            ]
        )
        clip.stroke(curve(line), 0.05 * scene.unit, _strand(scene))
    clip.apply()


def _strand(scene: Scene) -> Colour:
    factor = scene.rng.uniform(0.75, 1.2)
    return np.minimum(scene.look.hair.paint * np.array([factor, factor, factor, 1.0]), 255)


def _no_front(scene: Scene) -> None:
    """Nothing hangs into the face."""


def _tousled_front(scene: Scene) -> None:
    """Short tufts over the hairline."""
    edge = scene.hairline(scene.look.hair.hairline)
    _edge_of_hair(scene, edge, scene.rng.uniform(0.0, 0.16, 7))


def _fringe_front(scene: Scene) -> None:
    """Straight fringe that ends above the brows."""
    edge = scene.hairline(scene.look.hair.hairline)
    _edge_of_hair(scene, edge, np.array([0.05, 0.2, 0.34, 0.36, 0.34, 0.2, 0.05]) * scene.rng.uniform(0.6, 1.0))


def _parted_front(scene: Scene) -> None:
    """A parting: hair falls over one temple."""
    edge = scene.hairline(scene.look.hair.hairline)
    drops = np.array([0.12, 0.3, 0.34, 0.16, 0.02, 0.04, 0.08])
    _edge_of_hair(scene, edge, drops if scene.rng.random() < 0.5 else drops[::-1])


def _edge_of_hair(scene: Scene, edge: np.ndarray, drops: np.ndarray) -> None:
    """Cover the forehead from outside the hairline (9, 2) down to drops (7,) units below its inner points."""
    down = scene.camera.rotation[:2, 1] * scene.unit
    lower = edge.copy()
    lower[1:-1] += drops[:, None] * down
    upper = edge - 0.12 * down
    scene.canvas.fill(np.concatenate([upper, curve(lower)[::-1]]), scene.look.hair.paint)


STYLES: tuple[tuple[Layer, Layer], ...] = (
    (_bald_back, _no_front),
    (_short_back, _no_front),
    (_short_back, _tousled_front),
    (_short_back, _fringe_front),
    (_full_back, _tousled_front),
    (_long_back, _no_front),
    (_long_back, _parted_front),
    (_long_back, _fringe_front),
)


def draw_beard(scene: Scene) -> None:
    """Under the mouth's layer: a soft tint of the cheeks and the chin, and the moustache."""
    hair, points = scene.look.hair, scene.points
    tone = mix(hair.paint + np.array([0, 0, 0, 55]), scene.look.skin, 0.15)
    up = -scene.camera.rotation[:2, 1] * scene.unit
    if hair.beard > 0:
        jaw = points[5:28]
        low_lip = points[[84, 85, 86]] - 0.05 * up
        cheeks = [points[76] - 0.02 * up, *low_lip[::-1], points[82] - 0.02 * up]
        area = np.concatenate([jaw, np.array(cheeks)[::-1]])
        scene.canvas.soft_fill(area, tone, hair.beard, 0.035 * scene.unit)
    if hair.moustache > 0:
        lip, base = points[76:83], points[55:60]
        area = np.concatenate([curve(lip, steps=2), (0.45 * base + 0.55 * lip[1:6])[::-1]])
        scene.canvas.soft_fill(area, tone, hair.moustache, 0.015 * scene.unit)
