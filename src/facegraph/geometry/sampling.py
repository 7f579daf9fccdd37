"""Images cut out by affine matrices inside a network: differentiable in the image and in the matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facegraph.geometry.matrices import invert


def warp(images: Tensor, source_to_target: Tensor, size: int, border: float = 0.0) -> Tensor:
    """Frames of a given side, bilinear.

    Convention: matrices map px of the image to px of the frame, both with integers at pixel centres
    (`align_corners=True` in grid_sample's words). Beyond its outermost pixels the image falls off to `border` within
    one pixel, as OpenCV's warpAffine does with a constant border. Coordinates are float32 also under autocast.

    Args:
        images: (B, C, H, W).
        source_to_target: (B, 2, 3) or (B, 3, 3); singular ones as in `matrices.invert`.
        size: side of the frames in px.
        border: value outside of the image.

    Returns:
        (B, C, size, size) float32.
    """
    height, width = images.shape[-2:]
    with torch.autocast(images.device.type, enabled=False):
        inverse = invert(source_to_target)
        steps = torch.arange(size, device=images.device, dtype=torch.float32)
        # (B, size, size, 2): frame px -> image px -> [-1, 1] at the centres of the outermost pixels
        points = (
            inverse[:, None, None, :, 0] * steps[None, None, :, None]
            + inverse[:, None, None, :, 1] * steps[None, :, None, None]
            + inverse[:, None, None, :, 2]
        )
        half = torch.tensor([max(width - 1, 1) / 2, max(height - 1, 1) / 2], device=images.device)
        # the border is grid_sample's zero in an image that is shifted by it
        shifted = images.float() - border if border else images.float()
        frames = functional.grid_sample(shifted, points / half - 1, padding_mode="zeros", align_corners=True)
        return frames + border if border else frames
