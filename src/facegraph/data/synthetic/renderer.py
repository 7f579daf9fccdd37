"""Layers in their order, from the backdrop to the sensor."""

from __future__ import annotations

import cv2
import numpy as np

from facegraph.data.synthetic import features, head, light
from facegraph.data.synthetic.camera import Camera
from facegraph.data.synthetic.canvas import SCALE, Canvas
from facegraph.data.synthetic.look import Look, muted
from facegraph.data.synthetic.scene import Scene


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
    lit = light.expose(image, light.shade(scene, image_size), look.light)
    return light.photograph(lit, look.quality, rng)


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) uint8: four corners of one colour, varied, and what lies between."""
    corners = muted(rng, 0.45) + rng.uniform(-70, 70, (2, 2, 1)) + rng.uniform(-25, 25, (2, 2, 3))
    colours = np.clip(corners, 0, 255).astype(np.uint8)
    return cv2.resize(colours, (size, size), interpolation=cv2.INTER_LINEAR)


def _draw_layers(scene: Scene) -> None:
    head.draw_body(scene)
    head.draw_ears(scene)
    head.draw_face(scene)
    features.draw_muzzle(scene)
    features.draw_mouth(scene)
    features.draw_eyes(scene)
    features.draw_brows(scene)
    features.draw_nose(scene)
    if scene.look.covered:
        head.draw_board(scene)
