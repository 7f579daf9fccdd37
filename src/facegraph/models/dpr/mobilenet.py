"""The small MobileNetV2 that regresses landmarks of the global frame and of the parts' frames.

Source: the released code. ReLU instead of ReLU6, no pooling and no dropout before the linear layers; names of the state
dict as in the released files.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# expansion, width, repetitions, stride of the first
BLOCKS = (
    (1, 8, 1, 1),
    (6, 12, 2, 2),
    (6, 16, 2, 2),
    (6, 24, 3, 2),
    (6, 32, 3, 2),
    (6, 48, 3, 2),
    (6, 64, 2, 2),
    (6, 80, 1, 1),
)
STEM, LAST = 8, 64
STRIDES = (128, 64, 32)
"""Strides that a trunk can have; the first is the released one."""


class InvertedResidual(nn.Module):
    """1x1 to expansion times the width, 3x3 by channel, linear 1x1; added to the input where shapes allow."""

    def __init__(self, width_in: int, width_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width_in * expansion
        self.added = stride == 1 and width_in == width_out
        widen = [] if expansion == 1 else [*_conv(width_in, hidden, 1), nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(
            *widen,
            *_conv(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU(inplace=True),
            *_conv(hidden, width_out, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv(features) if self.added else self.conv(features)


def _conv(width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(width_in, width_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(width_out)]


def trunk(size: int, stride: int = STRIDES[0]) -> nn.Sequential:
    """(B, 3, S, S) -> (B, 64, S / stride, S / stride), the side rounded up.

    Args:
        size: side S of the frames in px.
        stride: of STRIDES. Below the released one the last strided layers keep the side of their maps: frames of half
            the released side then end in maps as large as the released ones do. No weight is added or lost.
    """
    layers: list[nn.Module] = [nn.Sequential(*_conv(3, STEM, 3, 2), nn.ReLU(inplace=True))]
    width_in, side, reached = STEM, math.ceil(size / 2), 2
    for expansion, width, repetitions, first in BLOCKS:
        first = first if reached < stride else 1
        reached *= first
        # a map of one pixel stays as it is at any stride, but oneDNN's bfloat16 gradient of a strided convolution by
        # channel is made from memory that nothing was written to (torch 2.14, processors with AVX-512)
        first = first if side > 1 else 1
        side = math.ceil(side / first)
        for i in range(repetitions):
            layers.append(InvertedResidual(width_in, width, first if i == 0 else 1, expansion))
            width_in = width
    layers.append(nn.Sequential(*_conv(width_in, LAST, 1), nn.ReLU(inplace=True)))
    return nn.Sequential(*layers)


def trunk_numbers(size: int, stride: int = STRIDES[0]) -> int:
    """Numbers in a trunk's flattened output for an input of side size px."""
    return LAST * math.ceil(size / stride) ** 2


def regressor(numbers: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three linear layers with one-scalar PReLU between: (B, numbers) -> (B, outputs)."""
    return nn.Sequential(
        nn.Linear(numbers, hidden), nn.PReLU(), nn.Linear(hidden, hidden), nn.PReLU(), nn.Linear(hidden, outputs)
    )


def initialise(module: nn.Module) -> None:
    """Released initialisation: convolutions N(0, sqrt(2 / (k k Cout))), linear layers N(0, 0.01), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


class GlobalRegression(nn.Module):
    """Residuals of all landmarks in the global frame: (B, 3, G, G) -> (B, N, 2); landmark = mean + residual / 2.

    Args:
        num_landmarks: N.
        size: side G of the frame in px.
        stride: of the trunk.
    """

    def __init__(self, num_landmarks: int, size: int, stride: int = STRIDES[0], hidden: int = 256) -> None:
        super().__init__()
        self.features = trunk(size, stride)
        self.pts_net = regressor(trunk_numbers(size, stride), hidden, 2 * num_landmarks)
        initialise(self)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (B, N, 2) float32 in units of half the frame's side, and the flattened features (B, 64 k)."""
        features = self.features(frames).flatten(1)
        return regress_points(self.pts_net, features), features


def regress_points(head: nn.Sequential, features: Tensor) -> Tensor:
    """(B, n, 2) float32; the last layer in float32, for coordinates need more than the 8 bits of bfloat16."""
    hidden = head[:-1](features)
    with torch.autocast(hidden.device.type, enabled=False):
        return head[-1](hidden.float()).unflatten(1, (-1, 2))
