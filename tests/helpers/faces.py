"""Tiny data sets on disk and rendered dots whose positions are known to a fraction of a pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from facegraph.landmarks import LandmarkScheme

QUAD = LandmarkScheme(
    name="quad4",
    flip=(1, 0, 3, 2),
    normalisers={"inter_ocular": ((0,), (1,))},
)
"""Four landmarks: left eye, right eye, left mouth corner, right mouth corner, as they lie in the image."""

_QUAD_SHAPE = np.array([[-10.0, -8.0], [10.0, -8.0], [-6.0, 9.0], [6.0, 9.0]])


def draw_dots(points: np.ndarray, width: int, height: int, sigma: float) -> np.ndarray:
    """(H, W, 3) uint8: grey 127 with a Gaussian bump of 120 grey levels at each point (N, 2), pixel centres integer."""
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width), 127.0)
    for px, py in points:
        image += 120 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(image.clip(0, 255)).astype(np.uint8)[..., None], 3, axis=2)


def find_dot(image: np.ndarray, near: np.ndarray, radius: float) -> np.ndarray:
    """Centroid (2,) of the brightness above grey 127 within radius of a point (2,), by the image (H, W, 3) alone."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    inside = (x - near[0]) ** 2 + (y - near[1]) ** 2 <= radius**2
    weight = np.where(inside, image[..., 0].astype(np.float64) - 127, 0).clip(0)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def quad_landmarks(count: int, seed: int = 0, side: int = 64) -> np.ndarray:
    """(count, 4, 2) faces of scheme QUAD near the middle of an image of side px."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.8, 1.2, size=(count, 1, 1))
    return _QUAD_SHAPE * scale + side / 2 + rng.uniform(-3, 3, size=(count, 1, 2)) + rng.normal(0, 0.3, (count, 4, 2))


def annotation_frame(count: int, tests: int = 0, seed: int = 0) -> pd.DataFrame:
    """Rows for write_faces: count faces, the last of them of split test."""
    columns = [f"{axis}{i}" for i in range(4) for axis in "xy"]
    frame = pd.DataFrame(quad_landmarks(count, seed).reshape(count, 8).round(3), columns=columns)
    frame.insert(0, "image", [f"face_{i:03d}.png" for i in range(count)])
    frame.insert(1, "split", ["train"] * (count - tests) + ["test"] * tests)
    return frame


def write_faces(root: Path, frame: pd.DataFrame, side: int = 64) -> Path:
    """Write root/annotations.csv and one image of dots per name in its column image; returns the csv."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    columns = [f"{axis}{i}" for i in range(4) for axis in "xy"]
    for name, rows in frame.groupby("image"):
        points = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float).reshape(-1, 2)
        image = draw_dots(points[np.isfinite(points).all(axis=1)], side, side, sigma=1.5)
        cv2.imwrite(str(root / "images" / str(name)), image)
    frame.to_csv(root / "annotations.csv", index=False)
    return root / "annotations.csv"
