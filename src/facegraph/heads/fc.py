"""The fully connected head: the baseline of SCC and L-GRN."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.heads.output import LandmarkOffset
from facegraph.layers.fusion import COARSEST_LEVEL, check_levels
from facegraph.structures import LandmarkOutput, ShapeStatistics


class FullyConnectedHead(nn.Module):
    """Deepest features, flattened -> linear -> ReLU -> linear. No pooling, batch norm or dropout.

    Args:
        channels: level -> channels of the backbone.
        input_size: side S of the crop in px, a multiple of 32.
        statistics: mean shape (and number of landmarks N).
        hidden: width between the two linear layers (paper: 256).
        start_at_mean_shape: see LandmarkOffset.

    Raises:
        ConfigError: hidden below 1.
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        input_size: int,
        statistics: ShapeStatistics,
        hidden: int = 256,
        start_at_mean_shape: bool = True,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"head.hidden={hidden} is out of range; it must be at least 1, for example 256.")
        self.levels = (COARSEST_LEVEL,)
        check_levels(channels, self.levels)
        self.num_landmarks = statistics.mean_shape.shape[0]
        cells = (input_size // 2**COARSEST_LEVEL) ** 2
        self.hidden = nn.Linear(channels[COARSEST_LEVEL] * cells, hidden)
        self.out = nn.Linear(hidden, 2 * self.num_landmarks)
        self.offset = LandmarkOffset(statistics, input_size, start_at_mean_shape)

    def forward(self, features: Mapping[int, Tensor]) -> LandmarkOutput:
        deepest = features[COARSEST_LEVEL]
        hidden = torch.relu(self.hidden(deepest.flatten(1)))
        # coordinates need more than the 8 bits of bfloat16
        with torch.autocast(hidden.device.type, enabled=False):
            raw = self.out(hidden.float())
        return LandmarkOutput(landmarks=self.offset(raw.unflatten(1, (self.num_landmarks, 2))))
