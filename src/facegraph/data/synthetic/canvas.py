"""A supersampled canvas that draws in image px with sub-pixel truth.

cv2 draws polygons with 1/256 px vertices, but its anti-aliased fill paints 0.645 px beyond the outline and its thick
lines round their width. So every shape here, strokes included, is a polygon drawn that much smaller: measured on
ellipses, the area is then right to 0.04 px of the outline and the centroid to 0.05 px, in px of the canvas.

Pixel (x, y) of the image lies at (x + 0.5) * SCALE - 0.5 on the canvas.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SCALE = 2
_SHIFT = 8
_SPREAD = 0.645

Colour = np.ndarray
"""(4,) red, green, blue in 0..255 and how much the light on the head changes it in 0..255 (0: not lit)."""


def colour(red: float, green: float, blue: float, lit: float = 255.0) -> Colour:
    return np.array([red, green, blue, lit], dtype=np.float64)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """first where share is 0, second where it is 1."""
    return first + (second - first) * share


@lru_cache(maxsize=64)
def _spline_weights(count: int, closed: bool, steps: int) -> np.ndarray:
    """Weights (K, count) of a Catmull-Rom curve through count points, `steps` samples per piece."""
    pieces = count if closed else count - 1
    t = np.tile(np.arange(steps) / steps, pieces)
    start = np.repeat(np.arange(pieces), steps)
    if not closed:
        t, start = np.append(t, 1.0), np.append(start, pieces - 1)
    blend = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=-1
    )
    weights = np.zeros((len(t), count))
    for k in range(4):
        index = start + k - 1
        index = index % count if closed else np.clip(index, 0, count - 1)
        np.add.at(weights, (np.arange(len(t)), index), blend[:, k])
    return weights


def curve(points: np.ndarray, closed: bool = False, steps: int = 4) -> np.ndarray:
    """Smooth curve (K, 2) that passes through every one of points (P, 2)."""
    return _spline_weights(len(points), closed, steps) @ points


@lru_cache(maxsize=8)
def circle_directions(count: int) -> np.ndarray:
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _normals(points: np.ndarray, closed: bool) -> np.ndarray:
    """Unit normals (K, 2), to the left of the direction of travel with y down; zero where the curve stands still."""
    if closed:
        tangent = np.concatenate([points[1:], points[:1]]) - np.concatenate([points[-1:], points[:-1]])
    else:
        tangent = np.concatenate([points[1:], points[-1:]]) - np.concatenate([points[:1], points[:-1]])
    length = np.sqrt(tangent[:, 0] ** 2 + tangent[:, 1] ** 2)
    tangent = tangent / np.maximum(length, 1e-9)[:, None]
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=-1)


def _shrink(points: np.ndarray, distance: float) -> np.ndarray:
    """Move the outline of a polygon (K, 2) inwards."""
    x, y = points[:, 0], points[:, 1]
    area = x @ np.append(y[1:], y[0]) - y @ np.append(x[1:], x[0])
    inwards = -1.0 if area > 0 else 1.0
    return points + inwards * distance * _normals(points, closed=True)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * 2**_SHIFT).astype(np.int32)


class Canvas:
    """pixels: (SCALE * H, SCALE * W, 4) uint8, red, green, blue, lit. Every coordinate and width is in image px."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def _place(self, points: np.ndarray) -> np.ndarray:
        return (points + 0.5) * SCALE - 0.5

    def fill(self, outline: np.ndarray, paint: Colour) -> None:
        """Fill the polygon (K, 2)."""
        shape = _fixed(_shrink(self._place(outline), _SPREAD))
        cv2.fillPoly(self.pixels, [shape], paint.tolist(), lineType=cv2.LINE_AA, shift=_SHIFT)

    def stroke(self, line: np.ndarray, width: float | np.ndarray, paint: Colour, closed: bool = False) -> None:
        """Draw a line through (K, 2), width wide (one number or one per point); lines below 0.7 px stay 0.7 px."""
        half = np.maximum(np.asarray(width) * (SCALE / 2) - _SPREAD, 0.05)
        placed = self._place(line)
        if closed:
            placed = np.concatenate([placed, placed[:1]])
        offset = _normals(placed, closed=False) * (half[:, None] if half.ndim else half)
        if closed:
            offset[[0, -1]] = _normals(placed[:-1], closed=True)[0] * half
        band = _fixed(np.concatenate([placed + offset, (placed - offset)[::-1]]))
        cv2.fillPoly(self.pixels, [band], paint.tolist(), lineType=cv2.LINE_AA, shift=_SHIFT)

    def disc(self, centre: np.ndarray, radius: float, paint: Colour) -> None:
        self.fill(centre + radius * circle_directions(24), paint)

    def _window(self, outline: np.ndarray, margin: float) -> tuple[slice, slice] | None:
        placed = self._place(outline)
        height, width = self.pixels.shape[:2]
        low, high = placed.min(axis=0) - margin, placed.max(axis=0) + margin
        x0, y0 = max(int(low[0]) - 2, 0), max(int(low[1]) - 2, 0)
        x1, y1 = min(int(high[0]) + 3, width), min(int(high[1]) + 3, height)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def soft_fill(self, outline: np.ndarray, paint: Colour, share: float, softness: float) -> None:
        """Tint the polygon (K, 2) by a share in 0..1, its edge blurred by a Gaussian of softness image px."""
        window = self._window(outline, 3 * softness * SCALE)
        if window is None:
            return
        target = self.pixels[window]
        mask = np.zeros(target.shape[:2], dtype=np.uint8)
        origin = np.array([window[1].start, window[0].start])
        shape = _fixed(self._place(outline) - origin)
        cv2.fillPoly(mask, [shape], 255, lineType=cv2.LINE_AA, shift=_SHIFT)
        if softness > 0:
            mask = cv2.GaussianBlur(mask, (0, 0), softness * SCALE)
        weight = mask.astype(np.float32) * np.float32(share / 255)
        flat = np.empty_like(target)
        flat[:] = np.rint(paint).astype(np.uint8)
        target[:] = cv2.blendLinear(flat, target, weight, 1 - weight)

    def inside(self, outline: np.ndarray) -> ClippedCanvas | None:
        """A canvas that shows only inside the polygon (K, 2); None when the polygon is off the image."""
        window = self._window(outline, 0)
        return None if window is None else ClippedCanvas(self, outline, window)


class ClippedCanvas(Canvas):
    """Draw here, then call `apply` to copy what lies inside the outline to the parent."""

    def __init__(self, parent: Canvas, outline: np.ndarray, window: tuple[slice, slice]) -> None:
        super().__init__(parent.pixels[window].copy())
        self._target = parent.pixels[window]
        self._origin = np.array([window[1].start, window[0].start], dtype=np.float64)
        self._mask = np.zeros(self.pixels.shape[:2], dtype=np.uint8)
        shape = _fixed(_shrink(self._place(outline), _SPREAD))
        cv2.fillPoly(self._mask, [shape], 255, lineType=cv2.LINE_AA, shift=_SHIFT)

    def _place(self, points: np.ndarray) -> np.ndarray:
        return super()._place(points) - self._origin

    def apply(self) -> None:
        weight = self._mask.astype(np.float32) / np.float32(255)
        self._target[:] = cv2.blendLinear(self.pixels, self._target, weight, 1 - weight)
