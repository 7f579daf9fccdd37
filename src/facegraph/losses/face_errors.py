"""The error of each face as training sees it, in the unit that confidences are judged by."""

from __future__ import annotations

import torch
from torch import Tensor

from facegraph.geometry.points import scale_of
from facegraph.losses.labelled import mean_of_labelled
from facegraph.structures import FaceBatch, LandmarkOutput


def crop_norms(batch: FaceBatch) -> Tensor:
    """(B,) first normaliser of each face in crop px."""
    return batch.norm_distances[:, 0] / scale_of(batch.crop_to_image)


def face_errors(landmarks: Tensor, batch: FaceBatch) -> Tensor:
    """(B,) mean distance of labelled landmarks (B, N, 2) crop px from the truth, as a fraction of the first normaliser.

    Exact where the crop is not stretched; otherwise distances are taken in the stretched crop.
    """
    distances = (landmarks.float() - batch.landmarks).norm(dim=-1)
    return mean_of_labelled(distances, batch.labelled) / crop_norms(batch)


def predicted_error_term(output: LandmarkOutput, batch: FaceBatch) -> Tensor | None:
    """Mean distance, a fraction of the first normaliser, of the predicted error from the error that was made.

    The error that was made is detached: the term teaches the estimate and never moves a landmark. None where the model
    predicts no error. Source: MuSiCa's term |e - E|, which does not detach e.
    """
    if output.predicted_error is None:
        return None
    with torch.autocast(output.landmarks.device.type, enabled=False):
        made = face_errors(output.landmarks.detach(), batch)
        return (output.predicted_error.float() - made).abs().mean()
