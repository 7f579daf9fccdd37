"""The local stage: a patch per part, a regression of its own per part, points back into the global frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facegraph.geometry.matrices import invert
from facegraph.geometry.points import map_points
from facegraph.geometry.sampling import warp
from facegraph.models.dpr.mobilenet import initialise, regress_points, regressor, trunk, trunk_numbers
from facegraph.models.dpr.parts import Part


class LocalRegression(nn.Module):
    """One small MobileNetV2 per part; eyes share no weights and are not mirrored.

    Names as in the released code: <part>_net and <part>_loc.

    Args:
        parts: P of them.
        size: side of a part's frame in px.
        stride: of the trunks.
        border: value of a patch outside of the global frame.
    """

    def __init__(
        self, parts: Sequence[Part], size: int, stride: int, border: float, memory_format: torch.memory_format
    ) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.size, self.border, self.memory_format = size, border, memory_format
        for part in self.parts:
            self.add_module(f"{part.name}_net", trunk(size, stride))
            self.add_module(f"{part.name}_loc", regressor(trunk_numbers(size, stride), 64, 2 * len(part.indices)))
        initialise(self)

    def forward(self, frames: Tensor, transforms: Tensor, means: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """P tensors (B, n_p, 2), px of the part's frame.

        Args:
            frames: (B, 3, G, G).
            transforms: (B, P, 2, 3) global px -> part px.
            means: P tensors (n_p, 2) in units of the part's frame, where the regressions start from.
        """
        points = []
        for number, (part, mean) in enumerate(zip(self.parts, means, strict=True)):
            patch = warp(frames, transforms[:, number], self.size, self.border)
            features = self.get_submodule(f"{part.name}_net")(patch.contiguous(memory_format=self.memory_format))
            head = self.get_submodule(f"{part.name}_loc")
            assert isinstance(head, nn.Sequential)
            points.append((regress_points(head, features.flatten(1)) / 2 + mean) * self.size)
        return tuple(points)


class Replacement(nn.Module):
    """Puts refined points of the parts in the place of the global ones; the others stay.

    A landmark that belongs to two parts is taken from the later one.
    """

    source: Tensor

    def __init__(self, parts: Sequence[Part], num_landmarks: int) -> None:
        super().__init__()
        source = torch.arange(num_landmarks)
        first = num_landmarks
        for part in parts:
            source[list(part.indices)] = torch.arange(first, first + len(part.indices))
            first += len(part.indices)
        self.register_buffer("source", source, persistent=False)

    def forward(self, global_points: Tensor, transforms: Tensor, part_points: Sequence[Tensor]) -> Tensor:
        """(B, N, 2) px of the global frame; arguments as LocalRegression takes and gives them."""
        back = invert(transforms)
        refined = [map_points(back[:, i], points) for i, points in enumerate(part_points)]
        return torch.cat([global_points, *refined], dim=1)[:, self.source]
