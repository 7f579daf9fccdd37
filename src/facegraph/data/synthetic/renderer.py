"""Layers in their order, from the backdrop to the sensor; light and what the lens does move no pixel."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from facegraph.data.synthetic.camera import Camera
from facegraph.data.synthetic.canvas import SCALE, Canvas, circle_directions, curve
from facegraph.data.synthetic.look import Light, Look, Quality, muted
from facegraph.data.synthetic.scene import (
    Scene,
    draw_board,
    draw_body,
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_face,
    draw_mouth,
    draw_muzzle,
    draw_nose,
)

_HEAD_CENTRE = np.array([[0.0, 0.38, -0.6]])
_HEAD_HALF_WIDTH, _HEAD_HALF_HEIGHT = 1.22, 1.62
_SHADE_CELLS = 64
_NEUTRAL = 128


def shade(scene: Scene, size: int) -> np.ndarray:
    """Factor (size, size) float32 by which lit pixels are brighter: Lambert's law on an ellipsoid, times the relief."""
    light = scene.look.light
    if light.diffuse == 0:
        return np.full((size, size), light.ambient, dtype=np.float32)
    roll = scene.camera.rotation[:2, 1]
    down = roll / np.linalg.norm(roll)
    centre = scene.place(_HEAD_CENTRE)[0]
    grid = (np.arange(_SHADE_CELLS, dtype=np.float32) + 0.5) * np.float32(size / _SHADE_CELLS) - np.float32(0.5)
    x, y = grid[None, :] - np.float32(centre[0]), grid[:, None] - np.float32(centre[1])
    across = (x * np.float32(down[1]) - y * np.float32(down[0])) / np.float32(_HEAD_HALF_WIDTH * scene.unit)
    along = (x * np.float32(down[0]) + y * np.float32(down[1])) / np.float32(_HEAD_HALF_HEIGHT * scene.unit)
    outside = np.sqrt(np.maximum(across**2 + along**2, 1e-6))
    pull = np.minimum(outside, 0.97) / outside
    across, along = across * pull, along * pull
    front = np.sqrt(1 - across**2 - along**2)
    lamp = light.direction.astype(np.float32)
    # The ellipsoid's own axes take the place of the image's: the lamp turns with the roll, which nobody can tell.
    facing = np.maximum(across * lamp[0] + along * lamp[1] + front * lamp[2], 0)
    smooth = cv2.resize(light.ambient + light.diffuse * facing, (size, size), interpolation=cv2.INTER_LINEAR)
    return smooth.astype(np.float32) * _relief(scene, size)


def _relief(scene: Scene, size: int) -> np.ndarray:
    """Factor (size, size) float32 of what stands out or lies deep: sockets, nose, lips, cheeks."""
    gain = np.full((size, size), _NEUTRAL, dtype=np.uint8)
    points, unit = scene.points, scene.unit
    dark_side = -1 if scene.look.light.direction[0] > 0 else 1
    down = scene.camera.rotation[:2, 1] * unit

    def paint(outline: np.ndarray, value: int) -> None:
        cv2.fillPoly(gain, [np.rint(outline * 16).astype(np.int32)], value, lineType=cv2.LINE_AA, shift=4)

    ring = circle_directions(24) @ (scene.camera.rotation[:2, :2].T * unit)
    for side, eye in ((-1, slice(60, 68)), (1, slice(68, 76))):
        middle = points[eye].mean(axis=0)
        paint(middle - 0.02 * down + (points[eye] - middle) * np.array([1.25, 2.1]), 112)
        paint(scene.place(np.array([[side * 0.58, 0.62, -0.1]])) + 0.24 * ring, 137)
    paint(scene.place(np.array([[0.0, -0.72, -0.02]])) + 0.34 * ring, 137)
    for side, wing in ((-1, 55), (1, 59)):
        flank = scene.place(np.array([[side * 0.14, 0.08, -0.05], [side * 0.2, 0.5, 0.0]]))
        paint(np.concatenate([points[51:55], points[[wing]], flank[::-1]]), 102 if side == dark_side else 134)
    base, lip = curve(points[55:60]), curve(points[83:88])
    paint(np.concatenate([base, (base + 0.10 * down)[::-1]]), 106)
    paint(np.concatenate([lip, (lip + 0.10 * down)[::-1]]), 108)
    return cv2.GaussianBlur(gain, (0, 0), 0.07 * unit).astype(np.float32) / np.float32(_NEUTRAL)


def expose(image: np.ndarray, factor: np.ndarray, light: Light) -> np.ndarray:
    """Light a picture (S, S, 4) uint8 whose last channel says how much factor (S, S) counts; (S, S, 3) float32."""
    size = len(image)
    weight = image[..., 3].astype(np.float32) * np.float32(1 / 255)
    gain = 1 + weight * (factor - 1)
    place = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    gain *= np.exp(place * np.float32(light.fall[0]))[None, :] * np.exp(place * np.float32(light.fall[1]))[:, None]
    lit = cv2.cvtColor(image, cv2.COLOR_RGBA2RGB).astype(np.float32)
    return lit * gain[..., None] * (light.exposure * light.tint).astype(np.float32)


@lru_cache(maxsize=4)
def _grain(size: int) -> np.ndarray:
    """Normal noise to cut grain from: fresh noise for every face would cost more than drawing it."""
    return np.random.default_rng(size).standard_normal((size + 64, size + 64, 3), dtype=np.float32)


def _smear(vector: np.ndarray) -> np.ndarray:
    """Kernel of a straight motion along vector (2,) px, symmetric about its middle so that nothing shifts."""
    reach = int(np.ceil(np.abs(vector).max() / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * reach + 1):
        x, y = t * vector + reach
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - x0, y - y0
        kernel[y0 : y0 + 2, x0 : x0 + 2] += np.outer([1 - fy, fy], [1 - fx, fx])
    return kernel / kernel.sum()


def photograph(image: np.ndarray, quality: Quality, rng: np.random.Generator) -> np.ndarray:
    """Blur, coarsen and add noise to (S, S, 3) float32; (S, S, 3) uint8."""
    size = len(image)
    if quality.softness * size > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), quality.softness * size)
    if quality.motion.any():
        image = cv2.filter2D(image, -1, _smear(quality.motion * size))
    if quality.coarse > 1:
        side = max(size // quality.coarse, 8)
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if quality.noise > 0:
        x, y = rng.integers(0, 64, 2)
        image = image + np.float32(quality.noise) * _grain(size)[y : y + size, x : x + size]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def render(
    points: np.ndarray, camera: Camera, look: Look, image_size: int, width: float = 1.0, height: float = 1.0
) -> np.ndarray:
    """Draw one face.

    Args:
        points: (106, 2) model points in image px; every edge of a feature is drawn through its points.
        camera: the view, for what has no landmarks (ears, hair).
        look: colours, what covers the face, light and picture quality.
        image_size: side of the image in px.
        width, height: the identity's factors of the size of the head.

    Returns:
        (image_size, image_size, 3) uint8 RGB; the same bytes for the same arguments.
    """
    rng = np.random.default_rng(look.seed)
    backdrop = _backdrop(rng, image_size * SCALE)
    scene = Scene(Canvas(cv2.cvtColor(backdrop, cv2.COLOR_RGB2RGBA)), points, camera, look, width, height, rng)
    scene.canvas.pixels[..., 3] = 0
    _draw_layers(scene)
    image = cv2.resize(scene.canvas.pixels, (image_size, image_size), interpolation=cv2.INTER_AREA)
    lit = expose(image, shade(scene, image_size), look.light)
    return photograph(lit, look.quality, rng)


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) uint8: four corners of one colour, varied, and what lies between."""
    corners = muted(rng, 0.45) + rng.uniform(-70, 70, (2, 2, 1)) + rng.uniform(-25, 25, (2, 2, 3))
    colours = np.clip(corners, 0, 255).astype(np.uint8)
    return cv2.resize(colours, (size, size), interpolation=cv2.INTER_LINEAR)


def _draw_layers(scene: Scene) -> None:
    draw_body(scene)
    draw_ears(scene)
    draw_face(scene)
    draw_muzzle(scene)
    draw_mouth(scene)
    draw_eyes(scene)
    draw_brows(scene)
    draw_nose(scene)
    if scene.look.covered:
        draw_board(scene)
