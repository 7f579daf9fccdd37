"""Layers in their order, from the backdrop to the sensor."""

from __future__ import annotations

import cv2
import numpy as np

from facegraph.data.synthetic import features, hair, head, light, occluders
from facegraph.data.synthetic.backdrop import BACKDROPS
from facegraph.data.synthetic.camera import Camera
from facegraph.data.synthetic.canvas import SCALE, Canvas
from facegraph.data.synthetic.look import Look
from facegraph.data.synthetic.scene import Scene


def render(
    points: np.ndarray, camera: Camera, look: Look, image_size: int, width: float = 1.0, height: float = 1.0
) -> np.ndarray:
    """Draw one face.

    Args:
        points: (106, 2) model points in image px; every edge of a feature is drawn through its points.
        camera: the view, for what has no landmarks (ears, hair, glasses).
        look: colours, accessories, light and picture quality.
        image_size: side of the image in px.
        width, height: the identity's factors of the size of the head.

    Returns:
        (image_size, image_size, 3) uint8 RGB; the same bytes for the same arguments.
    """
    rng = np.random.default_rng(look.seed)
    backdrop = BACKDROPS[look.backdrop](rng, image_size * SCALE)
    scene = Scene(Canvas(cv2.cvtColor(backdrop, cv2.COLOR_RGB2RGBA)), points, camera, look, width, height, rng)
    scene.canvas.pixels[..., 3] = 0
    _draw_layers(scene)
    image = cv2.resize(scene.canvas.pixels, (image_size, image_size), interpolation=cv2.INTER_AREA)
    lit = light.expose(image, light.shade(scene, image_size), look.light)
    return light.photograph(lit, look.quality, rng)


def _draw_layers(scene: Scene) -> None:
    back, front = hair.STYLES[scene.look.hair.style]
    back(scene)
    head.draw_body(scene)
    if scene.look.ears:
        head.draw_ears(scene)
    head.draw_face(scene)
    features.draw_muzzle(scene)
    head.draw_blush(scene)
    head.draw_creases(scene)
    hair.draw_beard(scene)
    features.draw_mouth(scene)
    features.draw_eyes(scene)
    features.draw_brows(scene)
    features.draw_nose(scene)
    front(scene)
    occluders.draw_glasses(scene)
    if scene.look.occluder is not None:
        occluders.OCCLUDERS[scene.look.occluder](scene)
