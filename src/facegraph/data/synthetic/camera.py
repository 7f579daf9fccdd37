"""Pose and weak perspective: from the head frame to image px.

Convention: a head-frame point is turned by yaw about y, then pitch about x, then roll about the line of sight, scaled
by one factor (scaled orthography) and shifted. Image px have integer values at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facegraph.data.synthetic.parameters import FaceParameters
from facegraph.data.synthetic.shape import JAW, JAW_FRONT, LEFT_BROW, RIGHT_BROW
from facegraph.geometry.affine import landmark_box


@dataclass(frozen=True)
class Camera:
    """The view of one face.

    Attributes:
        rotation: (3, 3) head to camera.
        scale: image px per unit.
        offset: (2,) image px.
        yaw: radians, for contours that depend on it.
    """

    rotation: np.ndarray
    scale: float
    offset: np.ndarray
    yaw: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Head-frame points (K, 3) to image px (K, 2)."""
        return self.scale * (points @ self.rotation[:2].T) + self.offset

    def project_contour(self, points: np.ndarray, front: np.ndarray) -> np.ndarray:
        """Points (K, 3) of the edge of the head to image px (K, 2), where the far half follows the silhouette."""
        turned = turn_contour(points[None], front, np.array([self.yaw]))[0]
        return self.project(turned)


@dataclass(frozen=True)
class FaceGeometry:
    """Model points in the image and the view, for M faces.

    Attributes:
        points: (M, 106, 2) image px.
        rotations: (M, 3, 3).
        scales: (M,).
        offsets: (M, 2).
        yaws: (M,) radians.
    """

    points: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    yaws: np.ndarray

    def camera(self, index: int) -> Camera:
        return Camera(self.rotations[index], float(self.scales[index]), self.offsets[index], float(self.yaws[index]))


def rotations(faces: FaceParameters) -> np.ndarray:
    """Head-to-camera rotations (M, 3, 3)."""
    yaw, pitch, roll = (np.deg2rad(angle) for angle in (faces.yaw, faces.pitch, faces.roll))
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrices(*rows: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = matrices((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
    nod = matrices((one, zero, zero), (zero, cp, sp), (zero, -sp, cp))
    tilt = matrices((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    return np.einsum("mij,mjk,mkl->mil", tilt, nod, turn)


def turn_contour(points: np.ndarray, front: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Move the far half of a head contour to the silhouette, as annotators see it.

    Each contour point (M, K, 3) is taken as the end of a quarter ellipse that runs at its height from the front of the
    face (x = 0, z = front) round to the point. Turned by yaw (M,) radians, the far half of the outline is where the
    ellipse's tangent runs along the line of sight; the near half keeps the point itself.

    Args:
        front: (K,).
    """
    x, z = points[..., 0], points[..., 2]
    half_width, depth = np.abs(x), np.maximum(front - z, 1e-6)
    sine, cosine = np.sin(yaw)[:, None], np.cos(yaw)[:, None]
    is_far = x * sine > 0
    angle = np.where(is_far, np.arctan2(half_width * cosine, depth * np.abs(sine)), np.pi / 2)
    turned = points.copy()
    turned[..., 0] = np.sign(x) * half_width * np.sin(angle)
    turned[..., 2] = z + depth * np.cos(angle)
    return turned


def _unfold_far_brow(points: np.ndarray, yaw: np.ndarray) -> None:
    """Flatten the far brow of a strongly turned head in place.

    Its outer end would pass behind the brow's middle. Annotators, who cannot see it there, keep the brow in order along
    the edge of the face; so its depth shrinks towards that of its inner end from 25 degrees of yaw on.
    """
    turned = np.clip((np.degrees(np.abs(yaw)) - 25) / 35, 0, 1)
    for side, brow in ((-1, LEFT_BROW), (1, RIGHT_BROW)):
        share = np.where(side * yaw > 0, 0.5 * turned, 0.0)[:, None]
        inner = points[:, brow[4], 2][:, None]
        points[:, brow, 2] = inner + (points[:, brow, 2] - inner) * (1 - share)


def view_faces(points: np.ndarray, faces: FaceParameters, image_size: int) -> FaceGeometry:
    """Pose head-frame points (M, 106, 3) and place the tight box of the 98 WFLW points in the image."""
    posed = points.copy()
    yaw = np.deg2rad(faces.yaw)
    posed[:, JAW] = turn_contour(points[:, JAW], JAW_FRONT, yaw)
    _unfold_far_brow(posed, yaw)
    turns = rotations(faces)
    flat = np.einsum("mij,mkj->mki", turns[:, :2], posed)
    box = landmark_box(flat[:, :98])
    extent = (box[:, 2:] - box[:, :2]).max(axis=-1)
    scale = faces.size * image_size / extent
    centre = (image_size - 1) / 2 + image_size * np.stack([faces.shift_x, faces.shift_y], axis=-1)
    offset = centre - scale[:, None] * (box[:, :2] + box[:, 2:]) / 2
    return FaceGeometry(scale[:, None, None] * flat + offset[:, None], turns, scale, offset, yaw)
