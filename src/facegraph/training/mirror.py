"""A face and its mirror image, predicted and averaged: a switch of the test for any model."""

from __future__ import annotations

import torch
from torch import Tensor

from facegraph.structures import LandmarkModel, LandmarkOutput


def mirror_points(points: Tensor, width: int, flip: Tensor) -> Tensor:
    """Landmarks (..., N, 2) in px of a crop as those of its mirror image: x -> width - 1 - x, then renumbered.

    Args:
        flip: (N,) int64; landmark i of a face is landmark flip[i] of its mirror image. Applied twice it changes
            nothing.
    """
    mirrored = torch.stack([width - 1 - points[..., 0], points[..., 1]], dim=-1)
    return mirrored.index_select(-2, flip)


def predict_with_mirror(model: LandmarkModel, image: Tensor, flip: Tensor) -> LandmarkOutput:
    """Mean of what a model predicts for images and for their mirror images, in two passes.

    landmarks, predicted_error, confidence and iterations are means; the model decides by the mean predicted error
    which faces have failed. Stages, heatmaps and what else is of one image are left out.

    Args:
        model: in evaluation mode.
        image: (B, 3, S, S).
        flip: (N,) int64, see `mirror_points`.
    """
    plain, mirrored = model(image), model(image.flip(-1))
    back = mirror_points(mirrored.landmarks.float(), image.shape[-1], flip)
    error = _mean(plain.predicted_error, mirrored.predicted_error)
    return LandmarkOutput(
        landmarks=(plain.landmarks.float() + back) / 2,
        predicted_error=error,
        confidence=_mean(plain.confidence, mirrored.confidence),
        iterations=_mean(plain.iterations, mirrored.iterations),
        failed=None if error is None else model.fails(error),
    )


def _mean(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else (a.float() + b.float()) / 2
