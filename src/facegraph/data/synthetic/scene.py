"""One face as its layers see it, and the layers: every drawn edge of a feature runs through its landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from facegraph.data.synthetic.camera import Camera
from facegraph.data.synthetic.canvas import Canvas, ClippedCanvas, circle_directions, colour, curve, mix, pigment
from facegraph.data.synthetic.look import Look, muted
from facegraph.data.synthetic.shape import JAW, LEFT_BROW, LEFT_EYE, LEFT_PUPIL, RIGHT_BROW, RIGHT_EYE, RIGHT_PUPIL

# Edge of the face above the jaw, from the right ear over the hairline to the left ear, and the depth in front of it.
_HAIRLINE_XYZ = np.array(
    [
        [0.985, -0.26, -0.88],
        [0.95, -0.55, -0.74],
        [0.80, -0.84, -0.48],
        [0.44, -1.02, -0.24],
        [0.0, -1.07, -0.16],
        [-0.44, -1.02, -0.24],
        [-0.80, -0.84, -0.48],
        [-0.95, -0.55, -0.74],
        [-0.985, -0.26, -0.88],
    ]
)
_HAIRLINE_FRONT = np.array([0.13, 0.09, 0.0, -0.08, -0.1, -0.08, 0.0, 0.09, 0.13])
_SKULL_CENTRE = np.array([0.0, -0.32, -1.18])
_SKULL_AXES = np.array([1.06, 1.32, 1.36])


@dataclass(frozen=True)
class Scene:
    """A face and where to draw it.

    Attributes:
        points: (106, 2) image px of the model.
        width, height: factors of the face's size, for what is worn on it.
    """

    canvas: Canvas
    points: np.ndarray
    camera: Camera
    look: Look
    width: float
    height: float
    rng: np.random.Generator
    _stretch: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stretch", np.array([self.width, self.height, 1.0]))

    @property
    def unit(self) -> float:
        """Image px of half a face width at the distance of the head."""
        return self.camera.scale

    @property
    def near_side(self) -> int:
        """-1 when the left half of the face is turned to the viewer, else 1."""
        return -1 if self.camera.yaw > 0 else 1

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points (K, 3) given for the face of average size, to image px (K, 2)."""
        return self.camera.project(points * self._stretch)

    def hairline(self) -> np.ndarray:
        """Upper edge (9, 2) of the face from the right ear to the left ear."""
        return self.camera.project_contour(_HAIRLINE_XYZ * self._stretch, _HAIRLINE_FRONT)

    def jaw(self) -> np.ndarray:
        return self.points[JAW]

    def skull(self, factor: float = 1.0) -> np.ndarray:
        """Outline (40, 2) of the skull's ellipsoid, exact under scaled orthography."""
        axes = self.camera.rotation[:2] * (_SKULL_AXES * self._stretch * factor)
        root = np.linalg.cholesky(axes @ axes.T)
        angle = np.arange(40) * (2 * np.pi / 40)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) @ root.T
        return self.camera.scale * ring + self.place(_SKULL_CENTRE[None])[0]


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
