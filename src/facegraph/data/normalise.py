"""From an RGB crop of bytes to what the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from facegraph.errors import ConfigError

_SMALLEST_STD = 1e-6


class Normalise(Protocol):
    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(3, S, S) float32 of a crop (S, S, 3) uint8 RGB; written to out, of the same shape and type, if given."""
        ...


class PerImage:
    """Zero mean and unit variance for each channel of each crop, grey border and occluder included.

    Population standard deviation; one below 1e-6 (grey levels of 255) counts as 1. Source: the SCC code, which feeds
    BGR; here the order is RGB.
    """

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        channels = cv2.split(image)
        # one plane at a time is four times as fast as the interleaved image, and the sums are of integers either way
        mean, std = np.array([cv2.meanStdDev(channel) for channel in channels])[:, :, 0, 0].T
        return _affine(channels, mean, np.where(std < _SMALLEST_STD, 1.0, std), out)


class FixedStatistics:
    """(image / 255 - mean) / std with one mean and std per channel, RGB; for weights trained that way.

    Args:
        mean, std: three numbers each, of images scaled to [0, 1].

    Raises:
        ConfigError: not three numbers, or a std that is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ConfigError(
                f"normalisation with mean {list(mean)} and std {list(std)}: three numbers each are needed (R, G, B of "
                "images in [0, 1]) and each std must be positive. ImageNet: [0.485, 0.456, 0.406], "
                "[0.229, 0.224, 0.225]."
            )
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return _affine(cv2.split(image), 255 * np.array(self.mean), 255 * np.array(self.std), out)


def _affine(channels: Sequence[np.ndarray], mean: np.ndarray, std: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    factor = 1 / std
    planes = np.empty((3, *channels[0].shape), dtype=np.float32) if out is None else out
    # Two arguments of float32 per plane: the loop is twice as fast as one broadcast over the strided image.
    for plane, channel, f, m in zip(planes, channels, factor, mean, strict=True):
        np.multiply(channel, np.float32(f), out=plane, dtype=np.float32)
        plane -= np.float32(m * f)
    return planes
