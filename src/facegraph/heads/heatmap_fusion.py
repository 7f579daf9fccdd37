"""From a backbone's features to one fine map, for the heatmap head: deconvolution, or all levels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.layers.conv import ConvBlock, upsample
from facegraph.layers.fusion import check_levels


class Deconvolution(nn.Module):
    """One level, its resolution doubled by 4x4 transposed convolutions, batch norm and ReLU after each.

    Source: Simple Baselines for human pose (Xiao et al., ECCV 2018): three of 256 channels, from stride 32 to 4.

    Args:
        channels: level -> channels of the backbone.
        levels: the one to start from.
        width: channels.
        output_level: the level whose stride the result has, 1 .. one below the level.

    Raises:
        ConfigError: not one level, or a setting out of range.
    """

    def __init__(
        self, channels: Mapping[int, int], levels: Sequence[int], width: int = 256, output_level: int = 2
    ) -> None:
        super().__init__()
        check_levels(channels, levels)
        if len(levels) != 1:
            raise ConfigError(
                f"head.levels={list(levels)}: a deconvolution starts from one level; use head.levels=[5], or "
                "head=heatmap_hrnet for several."
            )
        (self.level,) = levels
        if not 1 <= output_level < self.level or width < 1:
            raise ConfigError(
                f"head.upsampling.output_level={output_level} and width={width}: the level must be 1 .. "
                f"{self.level - 1} and the width at least 1; the published network has 2 and 256."
            )
        self.out_channels, self.output_level = width, output_level
        widths = [channels[self.level], *[width] * (self.level - output_level)]
        self.blocks = nn.Sequential(*map(_doubling, widths[:-1], widths[1:]))

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """level -> (B, C_l, S / 2^l, S / 2^l); gives (B, width, S / 2^output_level, S / 2^output_level)."""
        return self.blocks(features[self.level])


def _doubling(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class Concatenation(nn.Module):
    """All levels, upsampled to the finest, side by side, mixed by a 1x1 convolution with batch norm and ReLU.

    Source: HRNet for facial landmarks (Wang et al., TPAMI 2020): four branches, the mixing as wide as all together.
    Deviation: upsampling aligns pixel areas (the released code aligns corners in some versions).

    Args:
        channels: level -> channels of the backbone.
        levels: those to read; the finest gives the size of the result.
        width: channels of the result; None: as many as come in.

    Raises:
        ConfigError: a level that the backbone does not have, or a width below 1.
    """

    def __init__(self, channels: Mapping[int, int], levels: Sequence[int], width: int | None = None) -> None:
        super().__init__()
        check_levels(channels, levels)
        if width is not None and width < 1:
            raise ConfigError(f"head.upsampling.width={width} is out of range; it must be at least 1, or null.")
        self.levels = sorted(set(levels))
        total = sum(channels[level] for level in self.levels)
        self.out_channels, self.output_level = width or total, self.levels[0]
        self.mix = ConvBlock(total, self.out_channels, kernel_size=1)

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """level -> (B, C_l, S / 2^l, S / 2^l); gives (B, width, h, w) of the finest level."""
        finest, *others = self.levels
        maps = [features[finest], *(upsample(features[level], 2 ** (level - finest)) for level in others)]
        return self.mix(torch.cat(maps, dim=1))
