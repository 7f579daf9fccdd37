"""The loss of the cascade: landmark error after each iteration, and the loss on the prediction of that error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.landmarks import INTER_OCULAR
from facegraph.losses.labelled import mean_of_labelled
from facegraph.models.musica.output import CascadeOutput
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics

_NEGLIGIBLE = 0.01  # px
_L2_SOFTENING = 1e-3  # px^2
_SMALLEST_DISTANCE = 1.0  # px; eye corners meet in profile


class CascadeLoss(nn.Module):
    """Sum over iterations of (1 - w) * mean(e) + w * mean |e - E|, over the faces.

    e is the error of the landmarks after the iteration as a fraction of the inter-ocular distance, E what the model
    predicted for it. Source: the released code. form `l1`: e = mean over labelled landmarks of |dx| + |dy|, where one
    within 0.01 crop px counts as zero, over |dx| + |dy| between the eye corners. form `l2`: mean of
    sqrt(0.001 + dx^2 + dy^2) over the distance of the corners. Deviation: a distance of the corners below 1 px counts
    as 1 px.

    Args:
        statistics: the scheme, whose normaliser `inter_ocular` names the eye corners.
        form: see above.
        error_weight: w, paper 0.05.
        detach_error: True keeps |e - E| from moving the landmarks; the released code does not.

    Raises:
        ConfigError: another form, a weight outside [0, 1], a scheme without inter_ocular.
    """

    def __init__(
        self,
        statistics: ShapeStatistics,
        form: str = "l1",
        error_weight: float = 0.05,
        detach_error: bool = False,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ConfigError(f"loss.form={form!r} is unknown; choose from {sorted(FORMS)}.")
        if not 0 <= error_weight <= 1:
            raise ConfigError(f"loss.error_weight={error_weight} is out of range; it must lie in [0, 1] (paper: 0.05).")
        scheme = statistics.scheme
        if INTER_OCULAR not in scheme.normalisers:
            raise ConfigError(
                f"scheme '{scheme.name}' has no normaliser '{INTER_OCULAR}', only {sorted(scheme.normalisers)}; "
                "loss=musica measures by the eye corners. Add the pair to the scheme's normalisers."
            )
        self.corners = scheme.normalisers[INTER_OCULAR]
        self.form = form
        self.error_weight = error_weight
        self.detach_error = detach_error

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        """Terms: error_<k> and prediction_<k>, means over the faces for iteration k = 1..T; prediction is |e - E|.

        Raises:
            ConfigError: the output is of a model that does not predict its error after each iteration.
        """
        if not isinstance(output, CascadeOutput) or output.stage_landmarks is None:
            raise ConfigError(
                "loss=musica needs the iterations and predicted errors of model=musica; use model=musica, or another "
                "loss such as loss=l1."
            )
        with torch.autocast(output.landmarks.device.type, enabled=False):
            errors = self.errors(output.stage_landmarks.float(), batch.landmarks, batch.labelled)
            judged = errors.detach() if self.detach_error else errors
            missed = (judged - output.stage_errors.float()).abs().mean(dim=0)
            errors = errors.mean(dim=0)
            loss = ((1 - self.error_weight) * errors + self.error_weight * missed).sum()
        terms = {f"error_{k}": e for k, e in enumerate(errors.detach(), 1)}
        terms |= {f"prediction_{k}": p for k, p in enumerate(missed.detach(), 1)}
        return {"loss": loss, **terms}

    def errors(self, stage_landmarks: Tensor, truth: Tensor, labelled: Tensor) -> Tensor:
        """(B, T) errors e of landmarks (B, T, N, 2) against (B, N, 2), both crop px, as fractions.

        Args:
            labelled: (B, N) bool, the landmarks that count; a corner of the eyes that does not is where truth has it.
        """
        left, right = (truth[:, list(group)].mean(dim=1) for group in self.corners)
        per_landmark, distance = FORMS[self.form]
        norm = distance(right - left).clamp(min=_SMALLEST_DISTANCE)
        return mean_of_labelled(per_landmark(stage_landmarks - truth[:, None]), labelled[:, None]) / norm[:, None]


def _l1(difference: Tensor) -> Tensor:
    return difference.abs().sum(dim=-1)


def _l1_of_landmarks(difference: Tensor) -> Tensor:
    length = _l1(difference)
    return torch.where(length < _NEGLIGIBLE, 0.0, length)


def _l2(difference: Tensor) -> Tensor:
    return difference.norm(dim=-1)


def _l2_of_landmarks(difference: Tensor) -> Tensor:
    return (_L2_SOFTENING + difference.square().sum(dim=-1)).sqrt()


_Length = Callable[[Tensor], Tensor]
# how long the miss of a landmark is, and how far apart the eye corners are: (..., 2) -> (...)
FORMS: dict[str, tuple[_Length, _Length]] = {"l1": (_l1_of_landmarks, _l1), "l2": (_l2_of_landmarks, _l2)}
