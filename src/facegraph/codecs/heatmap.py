"""Landmarks to heatmaps and back."""

from __future__ import annotations

import torch
from torch import Tensor

from facegraph.codecs.decoders import Decoder
from facegraph.errors import ConfigError


class HeatmapCodec:
    """Gaussians around landmarks, and landmarks from maps that look like them.

    Convention: crop px and heatmap px both have integers at pixel centres; a crop of side S covers [-0.5, S - 0.5] and
    its map of width w covers [-0.5, w - 0.5], so x_crop = (x_heat + 0.5) * S / w - 0.5. Computed in float32.

    Source: ibug's FAN (sub-pixel Gaussians of sigma 1 on maps of 64, five sigmas wide, height 1 at their centre).

    Args:
        decoder: see codecs.decoders.
        sigma: heatmap px.
        support: half the width of a Gaussian in sigmas: it is written to the pixels round(p - support * sigma) ..
            round(p + support * sigma) of each axis, the rest is 0.
        subpixel: false moves its centre to the nearest pixel centre (the original FAN's targets).
        corner_origin: true takes 0 of the crop as the left edge of its first pixel, not its centre, so that
            x_crop = (x_heat + 0.5) * S / w; published FAN weights were trained so.

    Raises:
        ConfigError: sigma or support not positive.
    """

    def __init__(
        self,
        decoder: Decoder,
        sigma: float = 1.0,
        support: float = 5.0,
        subpixel: bool = True,
        corner_origin: bool = False,
    ) -> None:
        for name, value in (("sigma", sigma), ("support", support)):
            if not value > 0:
                raise ConfigError(f"codec.{name}={value} is out of range; it must be positive.")
        self.decoder = decoder
        self.sigma, self.support = sigma, support
        self.subpixel = subpixel
        self.origin = 0.0 if corner_origin else 0.5

    def encode(self, landmarks: Tensor, input_size: int, size: tuple[int, int]) -> Tensor:
        """(B, N, 2) crop px -> (B, N, h, w) float32 for size = (h, w); 0 where the Gaussian is wholly outside."""
        height, width = size
        with torch.autocast(landmarks.device.type, enabled=False):
            points = self.to_heatmap(landmarks, input_size, size)
            x = self._profile(points[..., 0], width)
            y = self._profile(points[..., 1], height)
            return y[..., :, None] * x[..., None, :]

    def decode(self, heatmaps: Tensor, input_size: int) -> Tensor:
        """(..., h, w) -> (..., 2) float32 crop px; differentiable where the decoder is."""
        height, width = heatmaps.shape[-2:]
        with torch.autocast(heatmaps.device.type, enabled=False):
            points = self.decoder(heatmaps, self.sigma)
            return torch.stack(
                [
                    (points[..., 0] + 0.5) * (input_size / width) - self.origin,
                    (points[..., 1] + 0.5) * (input_size / height) - self.origin,
                ],
                dim=-1,
            )

    def confidence(self, heatmaps: Tensor) -> Tensor:
        """(B, N, h, w) -> (B,) float32, detached: mean over the landmarks of the peak, each taken into [0, 1]."""
        return heatmaps.detach().float().amax(dim=(-2, -1)).clamp(0, 1).mean(dim=-1)

    def to_heatmap(self, landmarks: Tensor, input_size: int, size: tuple[int, int]) -> Tensor:
        """(..., 2) crop px -> (..., 2) float32 heatmap px of a map of size (h, w)."""
        height, width = size
        edge = landmarks.float() + self.origin
        return torch.stack(
            [edge[..., 0] * (width / input_size) - 0.5, edge[..., 1] * (height / input_size) - 0.5], dim=-1
        )

    def _profile(self, centre: Tensor, length: int) -> Tensor:
        """(B, N) -> (B, N, length): one axis of the Gaussian, which is a product of two."""
        if not self.subpixel:
            centre = torch.floor(centre + 0.5)
        centre = centre[..., None]
        pixel = torch.arange(length, dtype=torch.float32, device=centre.device)
        reach = self.support * self.sigma
        written = (pixel >= torch.round(centre - reach)) & (pixel <= torch.round(centre + reach))
        return torch.exp(-((pixel - centre) ** 2) / (2 * self.sigma**2)) * written
