"""How much each landmark counts in DPR's loss, by the error that it has had in training.

The paper's formula is unknown: the weights follow from the errors without a constant to tune, and which landmarks gain,
the inexact or the exact ones, is not said. The forms here are readings of this description; `sweeps=dpr/weighting`
compares them. All take errors (B, N) of one stage, with which of them count, and return the stage's loss, a scalar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.losses.labelled import mean_of_labelled

_TINY = 1e-6


class LandmarkWeighting(nn.Module, ABC):
    """Mean over the labelled landmarks of a batch of weighted errors (B, N) of one stage, in any unit.

    Args:
        num_landmarks: N.
    """

    def __init__(self, num_landmarks: int) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks

    @abstractmethod
    def forward(self, errors: Tensor, labelled: Tensor) -> Tensor:
        """Errors (B, N), not negative, float32, and which of them count, (B, N) bool -> the loss, a scalar."""

    @property
    def weights(self) -> Tensor | None:
        """(N,) what a landmark's error is multiplied with now, divided by the mean over landmarks; detached.

        None where every landmark counts the same whatever its errors.
        """
        return None


class Equal(LandmarkWeighting):
    """Every landmark counts the same."""

    def forward(self, errors: Tensor, labelled: Tensor) -> Tensor:
        return mean_of_labelled(errors.flatten(), labelled.flatten())


class Uncertainty(LandmarkWeighting):
    """mean of exp(-s) e + s with a learned s of each landmark: inexact landmarks count less.

    For a given mean error E of a landmark the best s is log E, so its weight settles at 1 / E. The loss may be
    negative. Source: Kendall & Gal 2017, as one reading of DPR's "no manually tuned hyper-parameter". Starts at s = 0,
    every landmark alike; errors should be of the order of 1, because s moves by about the learning rate in a step.
    """

    def __init__(self, num_landmarks: int) -> None:
        super().__init__(num_landmarks)
        self.log_error = nn.Parameter(torch.zeros(num_landmarks))

    def forward(self, errors: Tensor, labelled: Tensor) -> Tensor:
        weighted = torch.exp(-self.log_error) * errors + self.log_error
        return mean_of_labelled(weighted.flatten(), labelled.flatten())

    @property
    def weights(self) -> Tensor:
        weights = torch.exp(-self.log_error.detach())
        return weights / weights.mean()


class RunningError(LandmarkWeighting):
    """Weights from a moving average of each landmark's mean error over the batches of all processes.

    The average is free of its start: after one batch it is that batch's mean, and a batch without a landmark leaves
    that landmark's as it is. Weights have mean 1 and no gradient. The
    average moves in training only and is saved with the criterion, so that a resumed run goes on as it would have.

    Args:
        decay: share of the old average that stays at each step, in [0, 1). 0.99 looks back some hundred steps.

    Raises:
        ConfigError: decay out of range.
    """

    error_sum: Tensor
    weight_sum: Tensor

    def __init__(self, num_landmarks: int, decay: float = 0.99) -> None:
        super().__init__(num_landmarks)
        if not 0 <= decay < 1:
            raise ConfigError(f"loss.weighting.decay={decay} is out of range; it must lie in [0, 1), for example 0.99.")
        self.decay = decay
        self.register_buffer("error_sum", torch.zeros(num_landmarks))
        self.register_buffer("weight_sum", torch.zeros(num_landmarks))

    def forward(self, errors: Tensor, labelled: Tensor) -> Tensor:
        if self.training:
            self._update(torch.where(labelled, errors.detach(), 0.0).sum(dim=0), labelled.sum(dim=0))
        return mean_of_labelled((self.weights * errors).flatten(), labelled.flatten())

    @property
    def weights(self) -> Tensor:
        mean, seen = self.error_sum / self.weight_sum.clamp_min(_TINY), self.weight_sum > 0
        mean = torch.where(seen, mean, mean.sum() / seen.sum().clamp_min(1))  # one that no face had yet is average
        # a landmark without error would take all the weight; before the first batch all are alike
        weights = self.of_mean_errors(torch.maximum(mean, _TINY * mean.max()).clamp_min(_TINY))
        return weights / weights.mean()

    @abstractmethod
    def of_mean_errors(self, mean_errors: Tensor) -> Tensor:
        """Positive weights (N,) of positive mean errors (N,), in any unit."""

    def _update(self, sums: Tensor, counts: Tensor) -> None:
        """Add one step.

        Args:
            sums: (N,) of the errors of this process's faces.
            counts: (N,), how many each is the sum of.
        """
        both = torch.stack([sums, counts.to(sums)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(both)  # processes may hold batches of different sizes: each face counts once
        sums, counts = both
        new = torch.where(counts > 0, 1 - self.decay, 0.0)  # a landmark that no face has keeps its average
        self.error_sum.lerp_(sums / counts.clamp_min(1), new)
        self.weight_sum.lerp_(torch.ones_like(self.weight_sum), new)


class InverseError(RunningError):
    """Weights proportional to 1 / mean error: inexact landmarks count less. Where Uncertainty settles, at once."""

    def of_mean_errors(self, mean_errors: Tensor) -> Tensor:
        return 1 / mean_errors


class HardLandmarks(RunningError):
    """Weights proportional to the mean error: inexact landmarks count more."""

    def of_mean_errors(self, mean_errors: Tensor) -> Tensor:
        return mean_errors
