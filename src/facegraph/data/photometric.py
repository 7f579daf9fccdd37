"""Changes of colour that albumentations does not have, and the light form in which facegraph's own changes come."""

from __future__ import annotations

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
