"""One face as the layers see it: where its points are, how it is turned, how it looks, where to draw."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facegraph.data.synthetic.camera import Camera
from facegraph.data.synthetic.canvas import Canvas
from facegraph.data.synthetic.look import Look
from facegraph.data.synthetic.template import JAW

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
    """points: (106, 2) image px of the model. width, height: factors of the face's size, for what is worn on it."""

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
