"""The blocks of FAN. Attribute names are those of the published weights, so that these load as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]
Pool = Callable[[Tensor, int], Tensor]

NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
"""instance: without scale, shift or running statistics, as ibug trained it."""
POOLS: dict[str, Pool] = {"max": F.max_pool2d, "avg": F.avg_pool2d}


class ConvBlock(nn.Module):
    """The hierarchical, pre-activated block: three 3 x 3 convolutions of a half, a quarter and a quarter of the width,
    each on the one before it, side by side, plus the input (through norm, ReLU and 1 x 1 where the widths differ).

    Source: Bulat and Tzimiropoulos 2017 (Binarized Convolutional Landmark Localizers).

    Args:
        channels_in, channels_out: widths; channels_out a multiple of 4.
        norm: width -> layer.
    """

    def __init__(self, channels_in: int, channels_out: int, norm: Norm) -> None:
        super().__init__()
        half, quarter = channels_out // 2, channels_out // 4
        self.bn1 = norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, half, 3, padding=1, bias=False)
        self.bn2 = norm(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = norm(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample: nn.Module = nn.Identity()
        if channels_in != channels_out:
            skip = nn.Conv2d(channels_in, channels_out, 1, bias=False)
            self.downsample = nn.Sequential(norm(channels_in), nn.ReLU(), skip)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels_in, h, w) -> (B, channels_out, h, w)."""
        first = self.conv1(F.relu(self.bn1(features)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        return torch.cat([first, second, third], dim=1) + self.downsample(features)


class HourGlass(nn.Module):
    """depth times halved, and as often doubled by repeating pixels, with a block beside each step.

    Blocks of level l = depth .. 1: b1_l beside, b2_l after halving, b3_l before doubling; b2_plus_1 at the bottom.
    """

    def __init__(self, depth: int, width: int, pool: Pool, norm: Norm) -> None:
        super().__init__()
        self.depth, self.pool = depth, pool
        for level in range(depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(width, width, norm))
            self.add_module(f"b2_{level}", ConvBlock(width, width, norm))
            self.add_module(f"b3_{level}", ConvBlock(width, width, norm))
        self.b2_plus_1 = ConvBlock(width, width, norm)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape; h and w are multiples of 2^depth."""
        return self._at(self.depth, features)

    def _at(self, level: int, features: Tensor) -> Tensor:
        beside = self.get_submodule(f"b1_{level}")(features)
        low = self.get_submodule(f"b2_{level}")(self.pool(features, 2))
        low = self._at(level - 1, low) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return beside + F.interpolate(low, scale_factor=2, mode="nearest")
