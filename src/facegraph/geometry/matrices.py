"""Affine matrices (..., 2, 3) in tensors: inverse and composition, differentiable, float32 also under autocast.

Convention: a matrix is named source_to_target and maps points (x, y); composition reads right to left. Products are
written out, because a matrix product may run in TF32 or bfloat16, and coordinates need more.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_DETERMINANT = 1e-6


def invert(source_to_target: Tensor) -> Tensor:
    """target_to_source (..., 2, 3) of matrices (..., 2, 3) or (..., 3, 3), float32.

    A matrix that squeezes the plane flat has no inverse; its determinant counts as 1e-6, so that a network that starts
    there gives finite numbers.
    """
    m = source_to_target.float()
    a, b, d, e = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    x, y = m[..., 0, 2], m[..., 1, 2]
    determinant = a * e - b * d
    sign = torch.where(determinant < 0, -1.0, 1.0)
    determinant = sign * determinant.abs().clamp_min(SMALLEST_DETERMINANT)
    rows = [e, -b, b * y - e * x, -d, a, d * x - a * y]
    return (torch.stack(rows, dim=-1) / determinant[..., None]).unflatten(-1, (2, 3))


def compose(middle_to_target: Tensor, source_to_middle: Tensor) -> Tensor:
    """source_to_target (..., 2, 3) of two matrices (..., 2, 3) or (..., 3, 3), whose leading axes broadcast."""
    second, first = middle_to_target.float(), source_to_middle.float()
    left, first = second[..., :2, :2, None], first[..., None, :2, :]
    product = (left * first).sum(dim=-2)
    shift = torch.nn.functional.pad(second[..., :2, 2:3], (2, 0))
    return product + shift
