"""Backbone + head: SCC, L-GRN and the fully connected baseline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from facegraph.backbones import TimmBackbone
from facegraph.errors import check_multiple
from facegraph.layers.error_head import ErrorHead, with_predicted_error
from facegraph.structures import LandmarkModel, LandmarkOutput, ShapeStatistics

SIZE_STEP = 32


class LandmarkRegressor(LandmarkModel):
    """Coordinates straight from features.

    Args:
        backbone: gives features by level.
        head: builds the head from the backbone's channels, the input size and the statistics of the training landmarks.
        input_size: side S of the crop in px, a multiple of 32.
        statistics: see ShapeStatistics.
        channels_last: memory layout of the convolutions; faster on CPU and GPU.
        error_head: builds what predicts the error from the channels of the head's deepest level; None: no prediction.
            The landmarks are the same with and without it. Its confidence replaces one of the head, such as a peak.

    Raises:
        ConfigError: input_size is no positive multiple of 32.
    """

    def __init__(
        self,
        backbone: TimmBackbone,
        head: Callable[..., nn.Module],
        input_size: int,
        statistics: ShapeStatistics,
        channels_last: bool = True,
        error_head: Callable[..., ErrorHead] | None = None,
    ) -> None:
        super().__init__(statistics)
        check_multiple("input_size", input_size, SIZE_STEP, "the coarsest stride")
        self.backbone = backbone
        self.head = head(channels=backbone.channels, input_size=input_size, statistics=statistics)
        self.backbone.freeze_unused(self.head.levels)  # type: ignore[arg-type]
        # a level that the head does not read may be frozen as it was initialised
        self.error_level = max(self.head.levels)  # type: ignore[arg-type]
        self.error_head = error_head(channels=backbone.channels[self.error_level]) if error_head else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def graph(self) -> Tensor | None:
        return getattr(self.head, "mask", None)

    def forward(self, image: Tensor) -> LandmarkOutput:
        """(B, 3, S, S) normalised -> landmarks (B, N, 2) float32 crop px, and what the heads give besides."""
        features = self.backbone(image.contiguous(memory_format=self.memory_format))
        output = self.head(features)
        if self.error_head is None:
            return output
        return with_predicted_error(output, self.error_head(features[self.error_level]))
