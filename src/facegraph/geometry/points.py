"""Points in tensors: the way back from the crop to the image."""

from __future__ import annotations

from torch import Tensor


def map_points(source_to_target: Tensor, points: Tensor) -> Tensor:
    """Map points (B, N, 2) by matrices (B, 2, 3); computed in float32 even under autocast."""
    matrix, points = source_to_target.float(), points.float()
    linear = (matrix[:, None, :, :2] * points[:, :, None, :]).sum(dim=-1)
    return linear + matrix[:, None, :, 2]
