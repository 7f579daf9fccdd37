"""Batches without pictures, for criteria."""

from __future__ import annotations

import torch
from torch import Tensor

from facegraph.structures import FaceBatch


def batch_of(size: int, landmarks: Tensor) -> FaceBatch:
    """Blank crops of a side with landmarks (B, N, 2) crop px, all labelled."""
    b = len(landmarks)
    return FaceBatch(
        image=torch.zeros(b, 3, size, size),
        landmarks=landmarks,
        labelled=torch.ones(landmarks.shape[:2], dtype=torch.bool),
        crop_to_image=torch.eye(2, 3).expand(b, 2, 3),
        norm_distances=torch.ones(b, 1),
        attributes=torch.zeros(b, 0, dtype=torch.bool),
        index=torch.arange(b),
    )
