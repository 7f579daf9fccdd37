"""Convolution, normalisation, activation: the block that everything is built of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """k x k convolution without bias, batch norm, ReLU. Padding keeps the size at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=(kernel_size - 1) // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def upsample(features: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling (B, C, h, w) -> (B, C, factor * h, factor * w), pixel areas aligned."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
