"""Channel and spatial attention maps computed side by side from one feature map (SCC paper, attention module)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ParallelAttention(nn.Module):
    """Two maps in (0, 1) from guide features: one per channel, one per position.

    Both read the same input, unlike CBAM, which applies the second after the first. The channel map is a shared
    two-layer perceptron (no bias) on average- and max-pooled channels; the spatial map is a 7x7 convolution (with bias)
    on the mean and the maximum over channels.

    Args:
        channels: C of the guide features.
        reduction: the perceptron's hidden width is C // reduction (paper: 2).
    """

    def __init__(self, channels: int, reduction: int = 2) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.perceptron = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(inplace=True), nn.Linear(hidden, channels, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, kernel_size=7, padding=3)

    def forward(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> channel map (B, C, 1, 1) and spatial map (B, 1, h, w)."""
        pooled = self.perceptron(guide.mean(dim=(2, 3))) + self.perceptron(guide.amax(dim=(2, 3)))
        channel_map = torch.sigmoid(pooled)[:, :, None, None]
        stacked = torch.cat([guide.mean(dim=1, keepdim=True), guide.amax(dim=1, keepdim=True)], dim=1)
        return channel_map, torch.sigmoid(self.spatial(stacked))


def attend(features: Tensor, channel_map: Tensor, spatial_map: Tensor) -> Tensor:
    """features * c * (1 + s): the spatial map adds to what the channel map lets through (as released)."""
    channelled = features * channel_map
    return channelled * spatial_map + channelled
