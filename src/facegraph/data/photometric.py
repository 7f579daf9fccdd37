"""Colours and covered parts that albumentations does not have, and the light form of facegraph's own changes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import cv2
import numpy as np

from facegraph.errors import ConfigError


class PixelTransform(ABC):
    """A change of pixel values that leaves every pixel where it is, done with probability p.

    Augmentation tosses the coin and calls apply; there is nothing else to a call. An albumentations transform spends
    20 to 100 us on checks and parameters before it touches a pixel, much of what a face may cost in training.

    Raises:
        ConfigError: p outside [0, 1].
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"{type(self).__name__}: p={p} is no probability; 0 <= p <= 1 is needed.")
        self.p = p

    @abstractmethod
    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A changed copy of an image (H, W, 3) uint8 RGB; the same state of rng gives the same copy."""


class ContrastClip(PixelTransform):
    """Make each channel black below a random level of its own and white above another, then use its whole range.

    Of a channel, levels below low become 0 and levels above high 1; those between stay as they are. Then its minimum is
    subtracted and the result divided by its maximum; a channel of one level becomes 0. low is uniform in [0, low_max]
    and high in [high_min, 1]. Source: the MuSiCa code (0.4 and 0.6), which works on floats; here levels are rounded to
    bytes.

    Args:
        low_max, high_min: as shares of full brightness, 0 <= low_max < high_min <= 1.
        p: probability.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, low_max: float = 0.4, high_min: float = 0.6, p: float = 0.5) -> None:
        super().__init__(p)
        if not 0 <= low_max < high_min <= 1:
            raise ConfigError(
                f"contrast clip with low_max={low_max}, high_min={high_min}: needs 0 <= low_max < high_min <= 1."
            )
        self.low_max = low_max
        self.high_min = high_min

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low = rng.uniform(0, self.low_max, size=3)
        high = rng.uniform(self.high_min, 1, size=3)
        levels = np.repeat(np.arange(256)[:, None] / 255, 3, axis=1)
        levels = np.where(levels < low, 0.0, np.where(levels > high, 1.0, levels))
        # no level overtakes another, so the darkest and the lightest of a channel stay that
        # split first: of interleaved channels numpy's minimum takes ten times as long
        ends = np.array([(channel.min(), channel.max()) for channel in cv2.split(image)])
        darkest, lightest = levels[ends, np.arange(3)[:, None]].T
        spread = np.where(lightest > darkest, lightest - darkest, 1.0)
        table = np.rint(255 * ((levels - darkest) / spread).clip(0, 1)).astype(np.uint8)
        return cv2.LUT(image, table[None])


class RectangleOcclusion(PixelTransform):
    """Cover the crop with one rectangle of a random colour.

    The centre is uniform over the crop and the part outside is cut off, so the covered area is area_fraction at most.
    Source: the SCC code (area 0.2 of the crop, aspect 0.4 to 2.5, probability 0.5; the paper gives no probability).

    Args:
        area_fraction: area of the rectangle over the area of the crop, before cutting, in (0, 1].
        aspect_min, aspect_max: width over height is uniform between them.
        p: probability.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self, area_fraction: float = 0.2, aspect_min: float = 0.4, aspect_max: float = 2.5, p: float = 0.5
    ) -> None:
        super().__init__(p)
        if not (0 < area_fraction <= 1 and 0 < aspect_min <= aspect_max):
            raise ConfigError(
                f"occlusion with area_fraction={area_fraction}, aspect {aspect_min} to {aspect_max}: needs "
                "0 < area_fraction <= 1 and 0 < aspect_min <= aspect_max."
            )
        self.area_fraction = area_fraction
        self.aspect_min = aspect_min
        self.aspect_max = aspect_max

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        area = self.area_fraction * height * width
        aspect = rng.uniform(self.aspect_min, self.aspect_max)
        half = (math.sqrt(area * aspect) / 2, math.sqrt(area / aspect) / 2)
        centre = [share * side for share, side in zip(rng.random(2).tolist(), (width, height), strict=True)]
        # the last row and column belong to the rectangle, and OpenCV cuts off what lies outside
        first = [round(c - h) for c, h in zip(centre, half, strict=True)]
        last = [round(c + h) - 1 for c, h in zip(centre, half, strict=True)]
        covered = image.copy()
        colour = rng.integers(0, 256, size=3).tolist()
        if last[0] >= first[0] and last[1] >= first[1]:
            cv2.rectangle(covered, first, last, colour, cv2.FILLED)
        return covered


class NoiseRectangle(PixelTransform):
    """Cover the crop with one rectangle in which every value of every pixel is random, uniform over 0 ... 255.

    Width and height are each uniform between one pixel and max_side of the crop's side; the rectangle lies inside the
    crop, each place equally likely. Source: the MuSiCa code, whose rectangle goes up to half of each side (0.5).

    Args:
        max_side: largest side over the crop's side, in (0, 1].
        p: probability.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, max_side: float = 0.5, p: float = 0.5) -> None:
        super().__init__(p)
        if not 0 < max_side <= 1:
            raise ConfigError(f"noise rectangle with max_side={max_side}: needs 0 < max_side <= 1.")
        self.max_side = max_side

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        frame = np.array(image.shape[1::-1])
        size = rng.integers(1, np.maximum(1, np.rint(self.max_side * frame)).astype(int), endpoint=True)
        x, y = rng.integers(0, frame - size, endpoint=True)
        width, height = size
        covered = image.copy()
        covered[y : y + height, x : x + width] = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        return covered
