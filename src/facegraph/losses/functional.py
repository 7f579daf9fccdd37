"""Losses between landmarks as pure functions.

All take pred and target (..., N, 2), treat x and y independently and return the mean over all coordinates. omega and
epsilon are in the unit of the points; the criteria pass pixels of a 256 px crop, the unit of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from facegraph.errors import ConfigError

PointLoss = Callable[[Tensor, Tensor], Tensor]


def check_positive(**values: float) -> None:
    """Raises ConfigError for the first constant that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(
                f"{name}={value} is out of range; it must be positive (px of a 256 crop). Set loss.{name}."
            )


def l1(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute coordinate error."""
    return F.l1_loss(pred, target)


def l2(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared coordinate error."""
    return F.mse_loss(pred, target)


def smooth_l1(pred: Tensor, target: Tensor, beta: float) -> Tensor:
    """Quadratic below beta, linear above."""
    return F.smooth_l1_loss(pred, target, beta=beta)


def wing(pred: Tensor, target: Tensor, omega: float, epsilon: float) -> Tensor:
    """Wing loss (Feng et al., CVPR 2018): logarithmic below omega, linear with slope 1 above.

    With x = |pred - target|: omega ln(1 + x / epsilon) for x < omega, else x - C, where C makes it continuous.

    Raises:
        ConfigError: omega or epsilon not positive.
    """
    check_positive(omega=omega, epsilon=epsilon)
    x = (pred - target).abs()
    offset = omega - omega * math.log1p(omega / epsilon)
    return torch.where(x < omega, omega * torch.log1p(x / epsilon), x - offset).mean()


def soft_wing(pred: Tensor, target: Tensor, omega1: float, omega2: float, epsilon: float) -> Tensor:
    """Soft Wing loss (SCC paper): linear below omega1, logarithmic above.

    With x = |pred - target|: x for x < omega1, else omega2 ln(1 + x / epsilon) + B, where B makes it continuous. The
    slope jumps from 1 to omega2 / (omega1 + epsilon) at omega1 and falls below 1 beyond omega2 - epsilon. The released
    code has no upper branch although the formula mentions omega2 as a range; neither has this.

    Raises:
        ConfigError: omega1, omega2 or epsilon not positive.
    """
    check_positive(omega1=omega1, omega2=omega2, epsilon=epsilon)
    x = (pred - target).abs()
    offset = omega1 - omega2 * math.log1p(omega1 / epsilon)
    return torch.where(x < omega1, x, omega2 * torch.log1p(x / epsilon) + offset).mean()


def laplacian(neighbours: Tensor | Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """Matrix that takes points to (mean of the neighbours - own position).

    A landmark without neighbours gets a row of zeros: it has no relative location. (The released code leaves its own
    position in place, which is an absolute term.)

    Args:
        neighbours: (N, k) indices or N lists of indices, without i itself.
        like: gives dtype and device.

    Returns:
        (N, N).
    """
    n = len(neighbours)
    matrix = torch.zeros(n, n, dtype=like.dtype)
    for i, row in enumerate(neighbours):
        indices = torch.as_tensor(row, dtype=torch.int64).flatten().cpu()
        if len(indices):
            matrix[i, indices] = 1.0 / len(indices)
            matrix[i, i] -= 1.0
    return matrix.to(like.device)


def relative_location(pred: Tensor, target: Tensor, laplacian: Tensor, point_loss: PointLoss) -> Tensor:
    """Relative location loss (L-GRN): a point loss between displacements to the mean of the neighbours.

    delta_i(p) = mean over j in N(i) of p_j, minus p_i; loss = point_loss(delta(pred), delta(target)).

    Args:
        pred: (..., N, 2).
        target: (..., N, 2).
        laplacian: (N, N) matrix that takes points to displacements, see the function of this name.
        point_loss: any function of this module with its constants bound.
    """
    return point_loss(laplacian @ pred, laplacian @ target)
