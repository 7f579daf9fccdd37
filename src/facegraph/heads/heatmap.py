"""The heatmap head: a map per landmark on any backbone, the baseline that coordinate heads are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.structures import LandmarkOutput, ShapeStatistics

_SMALL = 0.001


class HeatmapHead(nn.Module):
    """Features -> one fine map -> a heatmap per landmark -> landmarks.

    The last convolution starts at weights of 0.001 and without bias (as in Simple Baselines and HRNet), so that the
    first maps are nearly empty like their targets.

    Args:
        channels: level -> channels of the backbone.
        input_size: side S of the crop in px.
        statistics: number of landmarks N.
        codec: reads the maps.
        levels: of the backbone, that `upsampling` needs.
        upsampling: (channels=, levels=) -> module with out_channels, see heatmap_fusion.

    Raises:
        ConfigError: levels that the backbone lacks or the upsampling cannot use.
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        input_size: int,
        statistics: ShapeStatistics,
        codec: HeatmapCodec,
        levels: Sequence[int],
        upsampling: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.input_size = input_size
        self.codec = codec
        self.upsampling = upsampling(channels=channels, levels=self.levels)
        width: int = self.upsampling.out_channels  # type: ignore[assignment]
        self.out = nn.Conv2d(width, statistics.mean_shape.shape[0], kernel_size=1)
        nn.init.normal_(self.out.weight, std=_SMALL)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, features: Mapping[int, Tensor]) -> LandmarkOutput:
        """Landmarks (B, N, 2) crop px, heatmaps (B, 1, N, h, w), confidence (B,): mean height of the peaks."""
        heatmaps = self.out(self.upsampling(features)).float()
        landmarks = self.codec.decode(heatmaps, self.input_size)
        return LandmarkOutput(
            landmarks=landmarks,
            stage_landmarks=landmarks[:, None],
            heatmaps=heatmaps[:, None],
            confidence=self.codec.confidence(heatmaps),
        )
