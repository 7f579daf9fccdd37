"""What a cascade that judges itself returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from facegraph.structures import LandmarkOutput


@dataclass(frozen=True, eq=False, kw_only=True)
class CascadeOutput(LandmarkOutput):
    """Landmarks of every iteration with the error that the model predicts for each.

    Of a face that stopped after k iterations the entries of all later ones repeat its last; predicted_error is that
    last one and confidence exp(-predicted_error), above 1 for a negative prediction.

    predicted_error has another unit than LandmarkOutput says: that of the training loss, as stage_errors and both
    thresholds of the model. It is no NME: by default the sum of |dx| and |dy|, for landmarks and eye corners, see
    CascadeLoss.

    Attributes:
        stage_errors: (B, T) float32, predicted error after each iteration.
        iterations: (B,) int64, how many were run, 1 to T.
        failed: (B,) bool, predicted error above the model's fail_threshold or NaN; None without a threshold.
        attention: (B, T, M) float32 in [0, 1], mean over the features of each patch's attention; None without
            attention.
    """

    stage_errors: Tensor
    iterations: Tensor
    failed: Tensor | None = None
    attention: Tensor | None = None
