"""From a heatmap to a point: centroid around the maximum, arg-max, arg-max with a quarter step, soft-argmax.

Convention: heatmap px, (x, y), integers at pixel centres, so a map of width w covers [-0.5, w - 0.5]. All compute in
float32 whatever the precision around them, treat every map by itself and have no control flow that looks at values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facegraph.codecs.window import Window, window_moments
from facegraph.errors import ConfigError

Decoder = Callable[[Tensor, float], Tensor]
"""(heatmaps (..., h, w), sigma in heatmap px of the Gaussians they stand for) -> points (..., 2) float32 heatmap px."""

CORRECTED, PLAIN = "corrected", "plain"
_WHOLE = 5.0  # sigmas on either side beyond which a Gaussian has no mass to speak of
_STEPS = 6
_EMPTY = 1e-12


def argmax_pixels(heatmaps: Tensor) -> Tensor:
    """(..., 2) int64 (x, y) of the largest value of maps (..., h, w); the first of several."""
    flat = heatmaps.flatten(-2).argmax(dim=-1)
    width = heatmaps.shape[-1]
    return torch.stack([flat % width, flat.div(width, rounding_mode="floor")], dim=-1)


class ArgMax:
    """The pixel of the largest value. Not differentiable; off by up to half a pixel on either axis."""

    def __call__(self, heatmaps: Tensor, sigma: float = 1.0) -> Tensor:
        """(..., h, w) -> (..., 2) float32 heatmap px; sigma is not used."""
        return argmax_pixels(heatmaps).float()


class QuarterOffset:
    """Arg-max, moved a quarter of a pixel towards the larger neighbour in x and in y (the original FAN's decoder).

    At the border of the map and between equal neighbours it does not move. Not differentiable. Deviation: each axis
    by itself; their code (1adrianb/face-alignment) moves neither where the maximum lies on any border.
    """

    def __call__(self, heatmaps: Tensor, sigma: float = 1.0) -> Tensor:
        """(..., h, w) -> (..., 2) float32 heatmap px; sigma is not used."""
        peak = argmax_pixels(heatmaps)
        window = Window.around(heatmaps.float(), peak, reach=1)
        cross = window.values * window.inside
        steps = torch.stack([cross[..., 1, 2] - cross[..., 1, 0], cross[..., 2, 1] - cross[..., 0, 1]], dim=-1)
        height, width = heatmaps.shape[-2:]
        inner = (peak > 0) & (_room(peak, (height, width)) > 0)
        return peak + 0.25 * steps.sign() * inner


class SoftArgMax:
    """Mean position under softmax(beta * heatmap) over the whole map. Differentiable everywhere.

    On maps trained towards Gaussians of height 1 a small beta lets the background pull the point to the middle of the
    map and a large one makes it the arg-max. Of true landmarks of 400 drawn faces of 256 px, in maps of 64 px, the maps
    alone cost an NME of 65.4 % (beta 4), 0.78 % (16) and 1.20 % (64); the arg-max 1.34 %, the quarter offset 0.67 %,
    the centroid 0.00 % (`facegraph bench codec` at commit dbd6a7d, the last that has it).

    Args:
        beta: the larger, the closer to the arg-max.

    Raises:
        ConfigError: beta is not positive.
    """

    def __init__(self, beta: float = 16.0) -> None:
        if not beta > 0:
            raise ConfigError(f"codec.decoder.beta={beta} is out of range; it must be positive, for example 16.")
        self.beta = beta

    def __call__(self, heatmaps: Tensor, sigma: float = 1.0) -> Tensor:
        """(..., h, w) -> (..., 2) float32 heatmap px; sigma is not used."""
        with torch.autocast(heatmaps.device.type, enabled=False):
            height, width = heatmaps.shape[-2:]
            weights = torch.softmax(self.beta * heatmaps.float().flatten(-2), dim=-1).unflatten(-1, (height, width))
            x = torch.arange(width, dtype=torch.float32, device=heatmaps.device)
            y = torch.arange(height, dtype=torch.float32, device=heatmaps.device)
            return torch.stack([(weights.sum(dim=-2) * x).sum(-1), (weights.sum(dim=-1) * y).sum(-1)], dim=-1)


class Centroid:
    """Centre of mass of what lies within a disc around the largest value (ibug's FAN).

    Values below 0 count as 0 and are raised to gamma. Differentiable in the values; the disc is taken as given. A map
    without a positive value (less than 1e-12 in all within the disc) gives its arg-max, exactly and without gradient.

    Where the disc does not hold the whole Gaussian, its centre of mass is not its centre: a Gaussian of sigma 1 on the
    edge of the map is read 0.8 px too far inside. `border="corrected"` gives the centre at which a Gaussian of sigma /
    sqrt(gamma), seen through the same window, has the centre of mass that was measured; this is also its most likely
    centre. Newton's method finds it, at most one sigma outside the map. It is used where the border of the map cuts
    into the disc, and everywhere if the radius is below 5 such sigmas (maps below 50 px at the defaults); elsewhere
    both are the plain centroid, bit for bit. Deviation from FAN's code, which has `border="plain"`.

    Args:
        radius: of the disc, as a share of the root of the map's area (0.1: 6.4 px of a map of 64).
        gamma: exponent of the values.
        border: corrected | plain.

    Raises:
        ConfigError: radius or gamma not positive, or an unknown border.
    """

    def __init__(self, radius: float = 0.1, gamma: float = 1.0, border: str = CORRECTED) -> None:
        for name, value in (("radius", radius), ("gamma", gamma)):
            if not value > 0:
                raise ConfigError(f"codec.decoder.{name}={value} is out of range; it must be positive.")
        if border not in (CORRECTED, PLAIN):
            raise ConfigError(f"codec.decoder.border='{border}' is unknown; use {CORRECTED} or {PLAIN}.")
        self.radius, self.gamma, self.border = radius, gamma, border

    def __call__(self, heatmaps: Tensor, sigma: float = 1.0) -> Tensor:
        """(..., h, w) -> (..., 2) float32 heatmap px."""
        height, width = heatmaps.shape[-2:]
        radius = self.radius * (height * width) ** 0.5
        with torch.autocast(heatmaps.device.type, enabled=False):
            peak = argmax_pixels(heatmaps)
            # a map is never further across than this, however large the radius
            window = Window.around(heatmaps.float(), peak, reach=min(int(radius), max(height, width)))
            mask = window.inside & (window.squared_distance <= radius**2)
            mass = window.values.clamp(min=0)
            empty = (mass * mask).sum(dim=(-2, -1)) < _EMPTY
            if self.gamma != 1:
                mass = mass.clamp(min=1e-12) ** self.gamma
            offset = window.centroid(mass * mask)
            if self.border == CORRECTED:
                offset = self._corrected(offset, peak, mask, (height, width), radius, sigma / self.gamma**0.5)
            # nothing was measured on an empty map: neither the border nor gamma may make a centre of it
            return peak + torch.where(empty[..., None], 0.0, offset)

    def _corrected(
        self, offset: Tensor, peak: Tensor, mask: Tensor, size: tuple[int, int], radius: float, sigma: float
    ) -> Tensor:
        room = _room(peak, size)
        with torch.no_grad():
            low = (-sigma - peak).clamp(min=-radius)
            high = (room + sigma).clamp(max=radius)
            start = offset.detach()
            centre = torch.minimum(torch.maximum(start, low), high)
            for _ in range(_STEPS):
                centre = torch.minimum(torch.maximum(_newton(start, centre, mask, sigma), low), high)
        # one step more, which the gradient goes through: exact where Newton's method has arrived
        centre = torch.minimum(torch.maximum(_newton(offset, centre, mask, sigma), low), high)
        if radius < _WHOLE * sigma:
            return centre
        cut = ((peak < radius) | (room < radius)).any(dim=-1, keepdim=True)
        return torch.where(cut, centre, offset)


def _room(pixel: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 2) pixels between a pixel (x, y) and the right and lower border of a map of size (h, w)."""
    return torch.stack([size[1] - 1 - pixel[..., 0], size[0] - 1 - pixel[..., 1]], dim=-1)


def _newton(measured: Tensor, centre: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """One step towards the centre whose Gaussian has the measured centroid (..., 2) within mask (..., K, K).

    The derivative of the centroid by the centre is the covariance within the window over sigma squared.
    """
    mean, covariance = window_moments(centre, mask, sigma)
    a, b, c = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    determinant = (a * c - b * b).clamp(min=1e-8)
    gap = measured - mean
    step = torch.stack([c * gap[..., 0] - b * gap[..., 1], a * gap[..., 1] - b * gap[..., 0]], dim=-1)
    return centre + sigma**2 * step / determinant[..., None]
