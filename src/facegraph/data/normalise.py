"""From crops of bytes to what the network sees, on the device that the network is on.

Loaders hand out bytes, a quarter of the memory that loader processes share and that a GPU has to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from facegraph.errors import ConfigError

_SMALLEST_STD = 1e-6


class Normalise(Protocol):
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) float32 of crops (B, 3, S, S) uint8 RGB, on the same device."""
        ...


class PerImage:
    """Zero mean and unit variance for each channel of each crop, grey border and occluder included.

    Population standard deviation; one below 1e-6 (grey levels of 255) counts as 1. Source: the SCC code, which feeds
    BGR; here the order is RGB.
    """

    def __call__(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu":
            return _face_by_face(images, _moments)
        values = images.float()
        std, mean = torch.std_mean(values, dim=(2, 3), correction=0, keepdim=True)
        return (values - mean) / torch.where(std < _SMALLEST_STD, 1.0, std)


class FixedStatistics:
    """(image / 255 - mean) / std with one mean and std per channel, RGB; for weights trained that way.

    Args:
        mean, std: three numbers each, of images scaled to [0, 1].

    Raises:
        ConfigError: not three finite numbers, or a std that is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != 3 or len(std) != 3 or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
            raise ConfigError(
                f"normalisation with mean {list(mean)} and std {list(std)}: three finite numbers each are needed (R, "
                "G, B of images in [0, 1]) and each std must be positive. ImageNet: [0.485, 0.456, 0.406], "
                "[0.229, 0.224, 0.225]."
            )
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)

    def __call__(self, images: Tensor) -> Tensor:
        mean, std = 255 * np.array(self.mean), 255 * np.array(self.std)
        if images.device.type == "cpu":
            return _face_by_face(images, lambda channels: (mean, std))
        shift, scale = (images.new_tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (mean, std))
        return (images.float() - shift) / scale


class WholeImage:
    """Zero mean and unit variance over all pixels and channels of each crop together, so that colours keep their order.

    Population standard deviation; one below 1e-6 counts as 1. Source: the MuSiCa code (menpo, mode "all").
    """

    def __call__(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu":
            return _face_by_face(images, _joint_moments)
        values = images.float()
        std, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
        return (values - mean) / torch.where(std < _SMALLEST_STD, 1.0, std)


_Statistics = Callable[[Sequence[np.ndarray]], tuple[np.ndarray, np.ndarray]]


def _moments(channels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # one plane at a time is four times as fast as the interleaved image, and the sums are of integers either way
    mean, std = np.array([cv2.meanStdDev(channel) for channel in channels])[:, :, 0, 0].T
    return mean, np.where(std < _SMALLEST_STD, 1.0, std)


def _joint_moments(channels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mean, std = np.array([cv2.meanStdDev(channel) for channel in channels])[:, :, 0, 0].T
    # variance of all = mean of the variances + variance of the means
    joint = float(np.sqrt(np.mean(std**2) + np.var(mean)))
    return np.full(3, np.mean(mean)), np.full(3, 1.0 if joint < _SMALLEST_STD else joint)


def _face_by_face(images: Tensor, statistics: _Statistics) -> Tensor:
    """On a CPU a face at a time stays in its cache: four times as fast as torch on the whole batch.

    The memory comes from numpy, which asks for huge pages: with small ones the first touch of a fresh batch takes
    longer than normalising it.
    """
    normalised = np.empty(images.shape, dtype=np.float32)
    for image, planes in zip(images.permute(0, 2, 3, 1).numpy(), normalised, strict=True):
        channels = cv2.split(np.ascontiguousarray(image))
        mean, std = statistics(channels)
        # Two arguments of float32 per plane: the loop is twice as fast as one broadcast over the strided image.
        for plane, channel, factor, m in zip(planes, channels, 1 / std, mean, strict=True):
            np.multiply(channel, np.float32(factor), out=plane, dtype=np.float32)
            plane -= np.float32(m * factor)
    return torch.from_numpy(normalised)
