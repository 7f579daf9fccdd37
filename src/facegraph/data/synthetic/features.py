"""Brows, eyes, nose and mouth: every drawn edge runs through its landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from facegraph.data.synthetic.canvas import ClippedCanvas, circle_directions, colour, curve, mix
from facegraph.data.synthetic.scene import Scene
from facegraph.data.synthetic.template import LEFT_BROW, LEFT_EYE, LEFT_PUPIL, RIGHT_BROW, RIGHT_EYE, RIGHT_PUPIL

_WHITE = colour(255, 255, 255)
_DARK = colour(24, 16, 16)
_TEETH = colour(238, 234, 222)
_SCLERA = colour(230, 226, 222)
_MOUTH = colour(62, 18, 22)
_TONGUE = colour(176, 78, 82)


def draw_brows(scene: Scene) -> None:
    for brow in (LEFT_BROW, RIGHT_BROW):
        scene.canvas.fill(curve(scene.points[brow], closed=True), scene.look.brow)


def draw_eyes(scene: Scene) -> None:
    for eye, pupil in ((LEFT_EYE, LEFT_PUPIL), (RIGHT_EYE, RIGHT_PUPIL)):
        points = scene.points[eye]
        upper, lower = curve(points[:5]), curve(points[[4, 5, 6, 7, 0]])
        _draw_lid(scene, upper)
        _draw_eyeball(scene, np.concatenate([upper, lower[1:-1]]), scene.points[pupil])
        shadow = mix(scene.look.skin_shadow, _DARK, 0.25)
        scene.canvas.stroke(lower, 0.016 * scene.unit, shadow)
        scene.canvas.stroke(upper, 0.03 * scene.unit, mix(scene.look.brow, _DARK, 0.6))


def _draw_lid(scene: Scene, upper: np.ndarray) -> None:
    up = -scene.camera.rotation[:2, 1] * scene.unit
    bow = np.sin(np.linspace(0, np.pi, len(upper)))[:, None]
    scene.canvas.stroke(upper + 0.065 * bow * up, 0.022 * scene.unit, mix(scene.look.skin, scene.look.skin_shadow, 0.8))


def _draw_eyeball(scene: Scene, outline: np.ndarray, pupil: np.ndarray) -> None:
    clip = scene.canvas.inside(outline)
    if clip is None:
        return
    clip.flood(_SCLERA)
    # Discs in the plane of the face, foreshortened with the head, so that their centre stays the pupil landmark.
    ring = circle_directions(24) @ (scene.camera.rotation[:2, :2].T * scene.unit)
    rim = scene.look.iris * np.array([0.5, 0.5, 0.5, 1.0])
    for radius, paint in ((0.128, rim), (0.108, scene.look.iris), (0.055, _DARK)):
        clip.fill(pupil + radius * ring, paint)
    if scene.look.light.diffuse == 0:
        clip.apply()
        return
    glint = pupil + scene.unit * np.array([0.035 * np.sign(scene.look.light.direction[0] + 1e-9), -0.04])
    clip.fill(glint + 0.02 * ring, _WHITE)
    clip.apply()


def draw_nose(scene: Scene) -> None:
    """On a turned head the nose is a body that hides the cheek behind it; its far edge runs along the ridge."""
    canvas, unit, look = scene.canvas, scene.unit, scene.look
    ridge, base = scene.points[51:55], scene.points[55:60]
    shade = mix(look.skin, look.skin_shadow, 0.85)
    yaw = np.degrees(scene.camera.yaw)
    if abs(yaw) > 12:
        near_root = scene.place(np.array([[0.10 * scene.near_side, 0.1, -0.02], [0.16 * scene.near_side, 0.5, 0.0]]))
        body = np.concatenate([ridge, base, near_root]).astype(np.float32)
        canvas.fill(cv2.convexHull(body)[:, 0].astype(np.float64), look.skin)
    if abs(yaw) > 22:
        canvas.stroke(curve(np.concatenate([ridge, base[2:3]])), 0.03 * unit, shade)
    _draw_ridge(scene, ridge)
    _draw_nostrils(scene, base)
    canvas.stroke(curve(base), 0.032 * unit, shade)
    up, right = -scene.camera.rotation[:2, 1] * unit, scene.camera.rotation[:2, 0] * unit
    for side, wing in ((-1, base[0]), (1, base[4])):
        if side == -scene.near_side and abs(yaw) > 30:
            continue
        edge = np.stack([wing, wing + 0.04 * side * right + 0.07 * up, wing + 0.02 * side * right + 0.15 * up])
        canvas.stroke(curve(edge), 0.028 * unit, shade)


def _draw_ridge(scene: Scene, ridge: np.ndarray) -> None:
    # In profile the ridge is an edge, and a highlight would glow beyond it.
    strength = float(np.clip((55 - abs(np.degrees(scene.camera.yaw))) / 20, 0, 1))
    if strength == 0:
        return
    line = curve(ridge)
    across = scene.camera.rotation[:2, 0] * (0.026 * scene.unit)
    light = np.minimum(scene.look.skin * np.array([1.16, 1.18, 1.2, 1.0]) + colour(10, 10, 10, 0), 255)
    scene.canvas.soft_fill(
        np.concatenate([line - across, (line + across)[::-1]]), light, 0.6 * strength, 0.012 * scene.unit
    )
    scene.canvas.soft_fill(
        ridge[3] + 0.055 * scene.unit * circle_directions(24), light, 0.75 * strength, 0.015 * scene.unit
    )


def _draw_nostrils(scene: Scene, base: np.ndarray) -> None:
    ring = circle_directions(24) @ (np.array([[0.055, 0.0], [0.0, 0.032]]) @ scene.camera.rotation[:2, :2].T)
    up = -scene.camera.rotation[:2, 1]
    paint = mix(scene.look.skin_shadow, _DARK, 0.6)
    for index, side in ((1, -1), (3, 1)):
        if side == -scene.near_side and abs(scene.camera.yaw) > np.radians(30):
            continue
        scene.canvas.fill(base[index] + scene.unit * (0.02 * up + ring), paint)


def draw_mouth(scene: Scene) -> None:
    points, look, canvas = scene.points, scene.look, scene.canvas
    outer_upper, outer_lower = curve(points[76:83]), curve(points[[82, 83, 84, 85, 86, 87, 76]])
    inner_upper, inner_lower = curve(points[88:93]), curve(points[[92, 93, 94, 95, 88]])
    # Each lip on its own: an edge painted twice would grow.
    canvas.fill(np.concatenate([outer_lower, inner_lower[::-1]]), look.lips)
    canvas.fill(np.concatenate([outer_upper, inner_upper[::-1]]), look.lips * np.array([0.84, 0.8, 0.8, 1.0]))
    opening = np.concatenate([inner_upper, inner_lower[1:-1]])
    clip = canvas.inside(opening)
    if clip is not None:
        _draw_inside(scene, clip, inner_upper, inner_lower)
        clip.apply()
    line = mix(look.lips, _DARK, 0.6)
    canvas.stroke(inner_lower, 0.018 * scene.unit, mix(look.lips, _DARK, 0.3))
    canvas.stroke(np.concatenate([points[76:77], inner_upper, points[82:83]]), 0.026 * scene.unit, line)


def _draw_inside(scene: Scene, clip: ClippedCanvas, upper: np.ndarray, lower: np.ndarray) -> None:
    down = scene.camera.rotation[:2, 1] * scene.unit
    clip.flood(_MOUTH)
    bottom = lower.mean(axis=0)
    clip.fill(bottom + 0.02 * down + circle_directions(24) @ (np.diag([0.17, 0.10]) * scene.unit), _TONGUE)
    clip.fill(np.concatenate([upper, (upper + 0.10 * down)[::-1]]), _TEETH)


def draw_muzzle(scene: Scene) -> None:
    """Skin between nose, lips and chin, which stands out beyond the far cheek of a turned head."""
    if abs(scene.camera.yaw) < np.radians(25):
        return
    outer = scene.points[76:88]
    middle = outer.mean(axis=0)
    around = np.concatenate([middle + 1.12 * (outer - middle), scene.points[56:59], scene.points[12:21]])
    hull = cv2.convexHull(around.astype(np.float32))[:, 0].astype(np.float64)
    scene.canvas.fill(hull, scene.look.skin)
    scene.canvas.stroke(curve(scene.jaw()), 0.035 * scene.unit, mix(scene.look.skin, scene.look.skin_shadow, 0.8))
