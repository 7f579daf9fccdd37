"""The image at half sizes, and where a point lies in each."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR_SIGMA = 2 / 3
_RADIUS = 3  # four standard deviations, rounded


def image_pyramid(image: Tensor, top: int) -> list[Tensor]:
    """Levels 0 (the image itself) to top; level l of an image (B, 3, S, S) is (B, 3, S / 2^l, S / 2^l) float32.

    Each level is the one below, blurred with a Gaussian of 2/3 px and halved. Source: the released code, whose blur and
    pyramid are menpo's. Deviations: halving takes the mean of 2 x 2 pixels, so that px of a level follow the
    convention of pixel centres (see `to_level`); beyond the border the blur sees the border's pixels again.
    """
    levels = [image.float()]
    for _ in range(top):
        levels.append(_halved(_halved(levels[-1], dim=3), dim=2))
    return levels


def to_level(points: Tensor, level: int) -> Tensor:
    """Crop px -> px of a level. A length of 1 px of the level is one of 2^level crop px."""
    return (points + 0.5) / 2**level - 0.5


def _halved(image: Tensor, dim: int) -> Tensor:
    """Blur and halve along one dimension of (B, 3, H, W).

    Sums of slices rather than a convolution: three channels are too few for one to be fast on a CPU.
    """
    around = [_RADIUS, _RADIUS, 0, 0] if dim == 3 else [0, 0, _RADIUS, _RADIUS]
    padded = F.pad(image, around, mode="replicate")
    half = image.shape[dim] // 2
    weights = _blur_and_mean()
    last = len(weights) - 1
    # the kernel is symmetric: two pixels per weight
    pairs = (
        _every_second(padded, dim, near, half) + _every_second(padded, dim, last - near, half)
        for near in range(len(weights) // 2)
    )
    total = next(pairs) * weights[0]
    for weight, pair in zip(weights[1:], pairs, strict=False):
        total = torch.add(total, pair, alpha=weight)
    return total


def _every_second(image: Tensor, dim: int, first: int, count: int) -> Tensor:
    picked = [slice(None)] * image.ndim
    picked[dim] = slice(first, first + 2 * count - 1, 2)
    return image[tuple(picked)]


def _blur_and_mean() -> list[float]:
    """The Gaussian and the mean of two neighbours in one kernel of 8 weights that sum to 1."""
    gauss = [math.exp(-(i**2) / (2 * BLUR_SIGMA**2)) for i in range(-_RADIUS, _RADIUS + 1)]
    doubled = [a + b for a, b in zip([*gauss, 0.0], [0.0, *gauss], strict=True)]
    return [w / sum(doubled) for w in doubled]
