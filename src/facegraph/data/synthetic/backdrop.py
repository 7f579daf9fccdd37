"""Backgrounds: colour fields, stripes, blobs, rooms. Row 0 is a plain grey wall."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facegraph.data.synthetic.look import muted


def _wall(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.full((size, size, 3), 128, dtype=np.uint8)


def _field(rng: np.random.Generator, size: int, cells: int, method: int) -> np.ndarray:
    base = muted(rng, 0.45)
    varied = rng.uniform(-70, 70, (cells, cells, 1)) + rng.uniform(-25, 25, (cells, cells, 3))
    colours = np.clip(base + varied, 0, 255).astype(np.uint8)
    return cv2.resize(colours, (size, size), interpolation=method)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    return _field(rng, size, 2, cv2.INTER_LINEAR)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    return _field(rng, size, 7, cv2.INTER_CUBIC)


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = _field(rng, size, 3, cv2.INTER_LINEAR)
    grain = cv2.resize(rng.integers(0, 50, (48, 48, 1), dtype=np.uint8), (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.subtract(coarse, cv2.merge([grain] * 3))


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    image = _field(rng, size, 2, cv2.INTER_LINEAR)
    paint = muted(rng, 0.5).tolist()
    step, slope = rng.uniform(0.08, 0.22) * size, rng.uniform(-0.6, 0.6) * size
    width = rng.uniform(0.25, 0.6) * step
    for k in range(-8, int(size / step) + 8):
        x = k * step
        band = np.array([[x, 0], [x + width, 0], [x + width + slope, size], [x + slope, size]])
        cv2.fillConvexPoly(image, np.rint(band).astype(np.int32), paint, lineType=cv2.LINE_AA)
    return image


def _lights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Blurred discs, drawn small and enlarged."""
    small = _field(rng, size // 4, 2, cv2.INTER_LINEAR)
    for x, y, radius, bright in rng.uniform(0, 1, (9, 4)):
        centre = (int(x * size / 4), int(y * size / 4))
        cv2.circle(
            small,
            centre,
            int((0.03 + 0.09 * radius) * size / 4),
            (bright * 90 + muted(rng, 0.5) * 0.65).tolist(),
            -1,
            cv2.LINE_AA,
        )
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    image = _field(rng, size, 2, cv2.INTER_LINEAR)
    for x, y, w, h in rng.uniform(0, 1, (6, 4)):
        low = (int((x - 0.2) * size), int((y - 0.2) * size))
        high = (int((x + 0.5 * w) * size), int((y + 0.5 * h) * size))
        cv2.rectangle(image, low, high, muted(rng, 0.4).tolist(), -1)
    return image


BACKDROPS: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    _wall, _gradient, _clouds, _texture, _stripes, _lights, _room,
)  # fmt: skip
