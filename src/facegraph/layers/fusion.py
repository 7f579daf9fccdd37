"""Multi-scale features, guided by attention (SCC paper, section on attention-guided multi-scale features).

Level l is the backbone's feature map of stride 2^l. The chosen levels are brought to half their channels; every level
below the top is re-weighted by attention and brought down to the coarsest stride; all are concatenated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.layers.attention import ParallelAttention, attend
from facegraph.layers.conv import ConvBlock, upsample

COARSEST_LEVEL = 5


class SemanticGuide(nn.Module):
    """Attention guided by the level above: the guide is a 1x1 fusion of upper guide (upsampled) and own features."""

    def __init__(self, own: int, above: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.fuse = ConvBlock(own + above, own, kernel_size=1)
        self.attention = ParallelAttention(own)

    def forward(self, features: Tensor, guide_above: Tensor) -> tuple[Tensor, Tensor]:
        guide = self.fuse(torch.cat([upsample(guide_above, self.factor), features], dim=1))
        return attend(features, *self.attention(guide)), guide


class SelfGuide(nn.Module):
    """Attention of a level on itself; nothing flows from the level above."""

    def __init__(self, own: int, above: int, factor: int) -> None:
        super().__init__()
        self.attention = ParallelAttention(own)

    def forward(self, features: Tensor, guide_above: Tensor) -> tuple[Tensor, Tensor]:
        return attend(features, *self.attention(features)), features


class NoGuide(nn.Module):
    """No attention: features pass as they are."""

    def __init__(self, own: int, above: int, factor: int) -> None:
        super().__init__()

    def forward(self, features: Tensor, guide_above: Tensor) -> tuple[Tensor, Tensor]:
        return features, features


ATTENTION: dict[str, type[SemanticGuide] | type[SelfGuide] | type[NoGuide]] = {
    "semantic": SemanticGuide,
    "self": SelfGuide,
    "none": NoGuide,
}


def _downsampling(channels: int, steps: int) -> nn.Sequential:
    """Halve the size `steps` times; as released, one more stride-1 block follows the first halving."""
    blocks: list[nn.Module] = []
    for step in range(steps):
        blocks.append(ConvBlock(channels, channels, stride=2))
        if step == 0:
            blocks.append(ConvBlock(channels, channels))
    return nn.Sequential(*blocks)


class MultiScaleFusion(nn.Module):
    """Features of several levels -> one map at stride 32.

    Args:
        channels: level -> channels of the backbone, for all levels it has.
        levels: the levels to use, a subset of 2..5 (paper: 3, 4, 5).
        attention: 'semantic' (paper), 'self' or 'none'. The top level is used as it is in all three.

    Raises:
        ConfigError: an unknown attention, an empty level set, or a level that the backbone lacks.
    """

    def __init__(self, channels: Mapping[int, int], levels: Sequence[int], attention: str) -> None:
        super().__init__()
        check_levels(channels, levels)
        if attention not in ATTENTION:
            raise ConfigError(f"head.attention='{attention}' does not exist; choose one of {sorted(ATTENTION)}.")
        self.levels = sorted(set(levels), reverse=True)
        half = {level: channels[level] // 2 for level in self.levels}
        self.reduce = nn.ModuleDict({str(level): ConvBlock(channels[level], half[level]) for level in self.levels})
        self.guide = nn.ModuleDict()
        for above, level in zip(self.levels, self.levels[1:], strict=False):
            self.guide[str(level)] = ATTENTION[attention](half[level], half[above], 2 ** (above - level))
        self.down = nn.ModuleDict(
            {str(level): _downsampling(half[level], COARSEST_LEVEL - level) for level in self.levels}
        )
        self.out_channels = sum(half.values())

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """Level -> (B, C_l, S / 2^l, S / 2^l) to (B, sum C_l / 2, S / 32, S / 32), finest level first."""
        top, *rest = self.levels
        guide = self.reduce[str(top)](features[top])
        fused = [self.down[str(top)](guide)]
        for level in rest:
            attended, guide = self.guide[str(level)](self.reduce[str(level)](features[level]), guide)
            fused.append(self.down[str(level)](attended))
        return torch.cat(fused[::-1], dim=1)


def check_levels(channels: Mapping[int, int], levels: Sequence[int]) -> None:
    """Raises ConfigError unless levels is a non-empty subset of the backbone's levels 2..5."""
    allowed = sorted(set(channels) & set(range(2, COARSEST_LEVEL + 1)))
    missing = sorted(set(levels) - set(allowed))
    if not levels or missing:
        raise ConfigError(
            f"head.levels={list(levels)}: "
            + (f"the backbone has no level {missing}" if missing else "at least one level is needed")
            + f"; it offers {allowed} (level l has stride 2^l). Choose a subset, for example head.levels=[3,4,5]."
        )
