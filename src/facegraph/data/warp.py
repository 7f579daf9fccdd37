"""One interpolation from an image to a square crop."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from facegraph.geometry.affine import transform_points

FILL = (127, 127, 127)

# bytes; a larger image is warped where it lies, or every loader process would hold the memory for a copy of it
_LARGEST_COPIED = 2**22
_reused = threading.local()


def warp(image: np.ndarray, image_to_crop: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) uint8 crop of an image (H, W, 3) uint8 under image_to_crop (3, 3); grey 127 outside the image.

    Convention: integer coordinates are pixel centres in both frames. Bilinear; an image that shrinks to less than half
    is averaged over k x k blocks first (k the whole part of the shrinkage) so that fine texture does not alias. Block
    j covers the pixels k j ... k j + k - 1 and has its centre at k j + (k - 1) / 2, which the matrix accounts for.
    """
    factor = float(np.sqrt(abs(np.linalg.det(image_to_crop[:2, :2]))))
    if factor < 0.5:
        image, small_to_image = _reduce(image, image_to_crop, size, int(1 / factor))
        image_to_crop = image_to_crop @ small_to_image
    if image.nbytes > _LARGEST_COPIED:
        return _interpolate(image, image_to_crop, size)
    four_channels = _interpolate(_copy_rows(image, image_to_crop, size), image_to_crop, size)
    return cv2.cvtColor(four_channels, cv2.COLOR_RGBA2RGB)


def _interpolate(image: np.ndarray, image_to_crop: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(
        image,
        image_to_crop[:2],
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(*FILL, 0),
    )


def _copy_rows(image: np.ndarray, image_to_crop: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 4): the rows of an image (H, W, 3) that the crop shows; the others hold what was there before.

    The interpolated values are the same as without this copy, and come four times as fast, for two reasons. A rotated
    warp walks across the rows and waits for nearly every pixel of an image in main memory, as a crop of a prepared
    store is; reading the rows in their order first brings them near. And four channels make one load per pixel, where
    three bytes are gathered one by one. The memory is used again by the next call of this thread.
    """
    (a, b, tx), (c, d, ty) = image_to_crop[:2].tolist()
    determinant = a * d - b * c
    # y of the image is linear over the crop, so its extremes lie at corners
    rows = [(a * (y - ty) - c * (x - tx)) / determinant for x in (0, size - 1) for y in (0, size - 1)]
    height, width = image.shape[:2]
    first, last = max(0, int(min(rows)) - 2), min(height, int(max(rows)) + 3)
    memory = getattr(_reused, "memory", None)
    if memory is None or memory.size < 4 * height * width:
        memory = _reused.memory = np.zeros(4 * height * width, dtype=np.uint8)
    copy = memory[: 4 * height * width].reshape(height, width, 4)
    if first < last:
        cv2.cvtColor(image[first:last], cv2.COLOR_RGB2RGBA, dst=copy[first:last])
    return copy


def _reduce(image: np.ndarray, image_to_crop: np.ndarray, size: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the crop shows, averaged over k x k blocks, and small_to_image (3, 3)."""
    height, width = image.shape[:2]
    corners = np.array([[-1, -1], [size, -1], [size, size], [-1, size]], dtype=np.float64)
    seen = transform_points(np.linalg.inv(image_to_crop), corners)
    x0, y0 = np.clip(np.floor(seen.min(axis=0)).astype(int) - k, 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(seen.max(axis=0)).astype(int) + k + 1, [x0 + 1, y0 + 1], [width, height])
    part = image[y0:y1, x0:x1]
    pad_x, pad_y = -part.shape[1] % k, -part.shape[0] % k
    if pad_x or pad_y:  # the last block must be whole, or its centre would not be where the matrix says
        part = cv2.copyMakeBorder(part, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    small = cv2.resize(part, (part.shape[1] // k, part.shape[0] // k), interpolation=cv2.INTER_AREA)
    offset = (k - 1) / 2
    return small, np.array([[k, 0.0, x0 + offset], [0.0, k, y0 + offset], [0.0, 0.0, 1.0]])
