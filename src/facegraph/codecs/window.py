"""A square of pixels around a pixel of each map, in coordinates relative to that pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Window:
    """A square of a heatmap around a cell.

    Args:
        values: (..., K, K) of the maps, K = 2 reach + 1; what lies outside a map repeats its border and is not
            `inside`.
        inside: (..., K, K) bool.
        offsets: (K,) float32, -reach .. reach.
    """

    values: Tensor
    inside: Tensor
    offsets: Tensor

    @classmethod
    def around(cls, heatmaps: Tensor, pixel: Tensor, reach: int) -> Window:
        """heatmaps (..., h, w), pixel (..., 2) int64 (x, y)."""
        height, width = heatmaps.shape[-2:]
        steps = torch.arange(-reach, reach + 1, device=heatmaps.device)
        x, y = pixel[..., :1] + steps, pixel[..., 1:] + steps
        inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
        index = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
        values = heatmaps.flatten(-2).gather(-1, index.flatten(-2)).unflatten(-1, (len(steps), len(steps)))
        return cls(values, inside, steps.float())

    @property
    def squared_distance(self) -> Tensor:
        """(K, K) from the middle."""
        return self.offsets[:, None] ** 2 + self.offsets**2

    def centroid(self, mass: Tensor) -> Tensor:
        """(..., 2) centre of mass (..., K, K) >= 0 relative to the middle; 0 where there is none."""
        total = mass.sum(dim=(-2, -1)).clamp(min=_TINY)
        x = (mass.sum(dim=-2) * self.offsets).sum(dim=-1)
        y = (mass.sum(dim=-1) * self.offsets).sum(dim=-1)
        return torch.stack([x, y], dim=-1) / total[..., None]


def window_moments(centre: Tensor, mask: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean (..., 2) and covariance (..., 2, 2) of the pixels of mask (..., K, K), weighted by a Gaussian.

    The Gaussian is around centre (..., 2). Coordinates are relative to the middle of the window.
    """
    reach = (mask.shape[-1] - 1) // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=mask.device)
    powers = torch.stack([torch.ones_like(offsets), offsets, offsets**2], dim=-1)  # (K, 3)
    weight = torch.exp(-((offsets - centre[..., None]) ** 2) / (2 * sigma**2))  # (..., 2, K)
    x, y = weight[..., 0, :, None] * powers, weight[..., 1, :, None] * powers  # (..., K, 3)
    moments = y.transpose(-1, -2) @ (mask.to(x.dtype) @ x)  # (..., 3, 3): [power of y, power of x]
    moments = moments / moments[..., :1, :1].clamp(min=_TINY)
    mean = torch.stack([moments[..., 0, 1], moments[..., 1, 0]], dim=-1)
    second = torch.stack(
        [
            torch.stack([moments[..., 0, 2], moments[..., 1, 1]], dim=-1),
            torch.stack([moments[..., 1, 1], moments[..., 2, 0]], dim=-1),
        ],
        dim=-2,
    )
    return mean, second - mean[..., :, None] * mean[..., None, :]
