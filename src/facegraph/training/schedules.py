"""Learning rates: schedules in epochs, stepped once per optimiser step, and rules for a changed batch.

A schedule is called with the optimiser, the optimiser steps per epoch and in all; torch's schedulers do the rest.
A rule is called once, before the schedule is made, with the global batch: the faces of one optimiser step, that is
data.batch_size * processes * trainer.accumulate_grad_batches. Its factor multiplies the optimiser's learning rate, so
that a schedule's peak and all of its warm-up are scaled alike; lengths in epochs stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from facegraph.errors import ConfigError

Schedule = Callable[[Optimizer, int, int], LRScheduler]
LearningRateRule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The optimiser's learning rate throughout."""

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        return ConstantLR(optimizer, factor=1.0, total_iters=0)


@dataclass(frozen=True)
class MultiStep:
    """Multiply by gamma after each of the given epochs (SCC: 0.2 after every 100; released code: after 200 and 350).

    Raises:
        ConfigError: an epoch below 0, or gamma not positive.
    """

    milestones: Sequence[float]
    gamma: float

    def __post_init__(self) -> None:
        if min(self.milestones, default=0) < 0:
            raise ConfigError(f"scheduler.milestones={list(self.milestones)} are epochs, which start at 0.")
        _check_gamma(self.gamma)

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        return MultiStepLR(optimizer, [round(epoch * steps_per_epoch) for epoch in self.milestones], self.gamma)


@dataclass(frozen=True)
class EveryEpochs:
    """Multiply by gamma after every `epochs` epochs (FAN: 0.7).

    Raises:
        ConfigError: epochs or gamma not positive.
    """

    epochs: float
    gamma: float

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise ConfigError(f"scheduler.epochs={self.epochs} is out of range; it must be positive, for example 8.")
        _check_gamma(self.gamma)

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        return StepLR(optimizer, max(1, round(self.epochs * steps_per_epoch)), self.gamma)


@dataclass(frozen=True)
class Staircase:
    """Multiply by gamma after every so many optimiser steps, whatever an epoch is (MuSiCa: 0.1 after every 15,000).

    Raises:
        ConfigError: every_steps below 1, or gamma not positive.
    """

    every_steps: int
    gamma: float

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ConfigError(f"scheduler.every_steps={self.every_steps} is out of range; it must be 1 or more.")
        _check_gamma(self.gamma)

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        return StepLR(optimizer, step_size=self.every_steps, gamma=self.gamma)


@dataclass(frozen=True)
class OneCycle:
    """Rise from lr / 25 to the optimiser's lr over warmup (a share of all steps), then fall to almost nothing.

    Raises:
        ConfigError: warmup outside [0, 1].
    """

    warmup: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise ConfigError(
                f"scheduler.warmup={self.warmup} is out of range; it is a share of all steps, 0 to 1, for example 0.2."
            )

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        peaks = [group["lr"] for group in optimizer.param_groups]
        # torch divides by zero where the warm-up is exactly one step
        share = float(self.warmup) if self.warmup * total_steps != 1 else self.warmup + 1e-6
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=total_steps, pct_start=share, cycle_momentum=False)


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over some epochs, then a half cosine down to zero.

    Raises:
        ConfigError: warmup_epochs below 0.
    """

    warmup_epochs: float = 1.0

    def __post_init__(self) -> None:
        if self.warmup_epochs < 0:
            raise ConfigError(f"scheduler.warmup_epochs={self.warmup_epochs} is out of range; it must be 0 or more.")

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int) -> LRScheduler:
        warmup = min(round(self.warmup_epochs * steps_per_epoch), total_steps - 1)
        falling = CosineAnnealingLR(optimizer, T_max=max(total_steps - warmup, 1))
        if warmup < 1:
            return falling
        rising = LinearLR(optimizer, start_factor=1.0 / (warmup + 1), total_iters=warmup)
        return SequentialLR(optimizer, [rising, falling], milestones=[warmup])


@dataclass(frozen=True)
class UnchangedRate:
    """optimizer.lr as it stands, whatever the global batch."""

    def __call__(self, global_batch: int) -> float:
        return 1.0


@dataclass(frozen=True)
class LinearRate:
    """lr * batch / reference, as is usual with SGD. Source: Goyal et al. 2017 (Accurate, Large Minibatch SGD).

    Their rule comes with a warm-up of a few epochs, which scheduler=cosine and one_cycle have.

    Args:
        reference: faces per optimiser step for which optimizer.lr was chosen.

    Raises:
        ConfigError: reference below 1.
    """

    reference: int

    def __post_init__(self) -> None:
        _check_reference(self.reference)

    def __call__(self, global_batch: int) -> float:
        return global_batch / self.reference


@dataclass(frozen=True)
class SquareRootRate:
    """lr * sqrt(batch / reference), as is usual with Adam. Source: Malladi et al. 2022 (On the SDEs and Scaling Rules
    for Adaptive Gradient Algorithms). Deviation: only the learning rate is scaled, betas and epsilon stay.

    Args:
        reference: faces per optimiser step for which optimizer.lr was chosen.

    Raises:
        ConfigError: reference below 1.
    """

    reference: int

    def __post_init__(self) -> None:
        _check_reference(self.reference)

    def __call__(self, global_batch: int) -> float:
        return math.sqrt(global_batch / self.reference)


def _check_gamma(gamma: float) -> None:
    if not gamma > 0:
        raise ConfigError(f"scheduler.gamma={gamma} is out of range; it must be positive, for example 0.1.")


def _check_reference(reference: int) -> None:
    if reference < 1:
        raise ConfigError(
            f"lr_rule.reference={reference} is out of range; give the faces per optimiser step that optimizer.lr was "
            "chosen for, 1 or more, for example 64."
        )
