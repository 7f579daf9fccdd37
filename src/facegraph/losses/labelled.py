"""Means over the landmarks that an annotation has: what is missing there counts nothing and teaches nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def over_labelled(loss: Callable[[Tensor, Tensor], Tensor], pred: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """A loss that is a mean over all entries and 0 between equal ones, taken over the labelled landmarks alone.

    The target of another landmark becomes the prediction itself, without gradient, and the mean is divided by the share
    of the labelled ones. So nothing is selected, which would make a GPU wait; where all are labelled it is the plain
    loss to the last bit. With several processes each takes the mean of its own faces.

    Args:
        loss: (pred, target) -> scalar.
        pred, target: (B, N, ...), points or heatmaps.
        labelled: (B, N) bool.

    Returns:
        A scalar, 0 where nothing is labelled.
    """
    known = labelled.reshape(*labelled.shape, *(1,) * (pred.ndim - labelled.ndim))
    share = labelled.sum().clamp(min=1) / labelled.numel()
    return loss(pred, torch.where(known, target, pred.detach())) / share


def mean_of_labelled(values: Tensor, labelled: Tensor) -> Tensor:
    """Mean over the labelled landmarks of values (..., N), with labelled (..., N) bool; 0 where there is none."""
    return torch.where(labelled, values, 0.0).sum(dim=-1) / labelled.sum(dim=-1).clamp(min=1)
