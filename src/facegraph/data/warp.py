"""One interpolation from an image to a square crop."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from facegraph.geometry.affine import transform_points

FILL = (127, 127, 127)

# bytes of an image that is copied before it is warped: less lies in the cache anyway, more is not worth the memory
_COPIED = (2**18, 2**22)
_near = threading.local()


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
    elif _COPIED[0] <= image.nbytes <= _COPIED[1]:
        image = _copy_near(image, image_to_crop, size)
    return cv2.warpAffine(
        image,
        image_to_crop[:2],
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL,
    )


def _copy_near(image: np.ndarray, image_to_crop: np.ndarray, size: int) -> np.ndarray:
    """The image with the rows that the crop shows copied to memory that is close to the processor.

    A rotated warp walks across the rows and waits for nearly every one of them where the image lies in main memory, as
    a crop of a prepared store does. Reading the rows in their order first makes the whole twice as fast; the result is
    the same to the bit. The other rows hold what was there before, the memory is used again by the next call.
    """
    (a, b, tx), (c, d, ty) = image_to_crop[:2].tolist()
    determinant = a * d - b * c
    # y of the image is linear over the crop, so its extremes lie at corners
    rows = [(a * (y - ty) - c * (x - tx)) / determinant for x in (0, size - 1) for y in (0, size - 1)]
    first, last = max(0, int(min(rows)) - 2), min(len(image), int(max(rows)) + 3)
    memory = getattr(_near, "memory", None)
    if memory is None or memory.size < image.size:
        memory = _near.memory = np.empty(image.size, dtype=np.uint8)
    near = memory[: image.size].reshape(image.shape)
    near[first:last] = image[first:last]
    return near


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
