"""Points in tensors, mapped by matrices (B, 2, 3) in float32; the scale of such a matrix."""

from __future__ import annotations

from torch import Tensor


def map_points(source_to_target: Tensor, points: Tensor) -> Tensor:
    """Map points (B, N, 2) by matrices (B, 2, 3); computed in float32 even under autocast."""
    matrix, points = source_to_target.float(), points.float()
    linear = (matrix[:, None, :, :2] * points[:, :, None, :]).sum(dim=-1)
    return linear + matrix[:, None, :, 2]


def scale_of(source_to_target: Tensor) -> Tensor:
    """(B,) length in the target of one px of the source, of matrices (B, 2, 3): the root of the change of area."""
    m = source_to_target.float()
    return (m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0]).abs().sqrt()
