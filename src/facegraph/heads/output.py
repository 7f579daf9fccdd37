"""From a head's raw numbers to landmarks in crop px."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facegraph.structures import REFERENCE_SIZE, ShapeStatistics


class LandmarkOffset(nn.Module):
    """landmarks = start + offset, in crop px.

    start is the mean shape of the training faces, so that training begins at a face (a deviation from the released
    code, whose first outputs lie near the corner of the image), or the origin. It is a buffer: saved, never trained.

    Args:
        statistics: gives the mean shape.
        input_size: side S of the crop in px.
        at_mean_shape: start there.
    """

    start: Tensor

    def __init__(self, statistics: ShapeStatistics, input_size: int, at_mean_shape: bool) -> None:
        super().__init__()
        mean_shape = statistics.mean_shape.float() * input_size
        self.register_buffer("start", mean_shape if at_mean_shape else torch.zeros_like(mean_shape))
        self.scale = input_size / REFERENCE_SIZE

    def forward(self, offset: Tensor) -> Tensor:
        """(B, N, 2) in px of a 256 frame -> (B, N, 2) float32 crop px."""
        return self.start + self.scale * offset.float()
