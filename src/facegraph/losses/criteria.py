"""What a model is trained with: (output, batch) -> {"loss", and its terms}, in pixels of a 256 px crop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.graph.neighbours import top_k_neighbours
from facegraph.losses import functional
from facegraph.losses.face_errors import predicted_error_term
from facegraph.losses.labelled import over_labelled
from facegraph.structures import REFERENCE_SIZE, FaceBatch, LandmarkOutput, ShapeStatistics

ERROR_WEIGHT = 0.05
"""Weight of the term that teaches a predicted error, MuSiCa's."""

Neighbours = Callable[[int], Sequence[Sequence[int]]]
"""Number of landmarks -> the list of each one's neighbours."""


@dataclass(eq=False, repr=False)
class PointCriterion(nn.Module, ABC):
    """A point loss on the landmarks, plus relative_weight times the same loss on relative locations (L-GRN).

    A subclass names its function of losses.functional, and the constants of that as further fields. Landmarks that are
    not labelled count nothing, and no relative location does that one of them is part of.

    Args:
        statistics: landmark correlation, from which the neighbours of the relative term are taken.
        relative_weight: 0 for SCC, 1 for L-GRN.
        relative_neighbours: neighbours per landmark (L-GRN: 3).
        error_weight: of the term |predicted error - error made|, there only where the model predicts its error. The
            term is a fraction of the normaliser, the others are px; as it moves nothing but the error head, the weight
            matters only to optimisers that are not invariant to the scale of a gradient.
        neighbours: N -> their lists, in place of those of the strongest correlation.

    Raises:
        ConfigError: a negative weight, relative_neighbours out of range, or a constant that is not positive.
    """

    statistics: InitVar[ShapeStatistics]
    relative_weight: float = 0.0
    relative_neighbours: InitVar[int] = 3
    error_weight: float = ERROR_WEIGHT
    neighbours: InitVar[Neighbours | None] = None
    laplacian: Tensor = field(init=False)

    def __post_init__(
        self, statistics: ShapeStatistics, relative_neighbours: int, neighbours: Neighbours | None
    ) -> None:
        super().__init__()
        for name in ("relative_weight", "error_weight"):
            if (weight := getattr(self, name)) < 0:
                raise ConfigError(f"loss.{name}={weight} is out of range; 0 switches the term off.")
        point = torch.zeros(1, 2)
        self.point_loss(point, point)  # refuses its constants before any data is read
        if self.relative_weight > 0:
            lists = (
                top_k_neighbours(statistics.correlation, relative_neighbours, "loss.relative_neighbours")
                if neighbours is None
                else neighbours(len(statistics.mean_shape))
            )
            matrix = functional.laplacian(lists, like=statistics.mean_shape)
            self.register_buffer("laplacian", matrix, persistent=False)

    @abstractmethod
    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        """Mean over coordinates of points (..., N, 2) in px of a 256 crop."""

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        scale = REFERENCE_SIZE / batch.image.shape[-1]
        with torch.autocast(output.landmarks.device.type, enabled=False):
            pred, target = output.landmarks.float() * scale, batch.landmarks * scale
            loss = point = over_labelled(self.point_loss, pred, target, batch.labelled)
            terms: dict[str, Tensor] = {}
            if self.relative_weight > 0:
                placed = self._placed(batch.labelled)
                terms["relative"] = functional.relative_location(
                    pred, target, self.laplacian, lambda p, t: over_labelled(self.point_loss, p, t, placed)
                )
                loss = loss + self.relative_weight * terms["relative"]
        error = predicted_error_term(output, batch)
        if error is not None:
            terms["predicted_error"] = error
            loss = loss + self.error_weight * error
        return {"loss": loss, "point": point, **terms} if terms else {"loss": loss}

    def _placed(self, labelled: Tensor) -> Tensor:
        """(B, N) which relative locations are made of labelled (B, N) landmarks alone."""
        missing = (~labelled).to(self.laplacian.dtype) @ (self.laplacian != 0).to(self.laplacian.dtype).T
        return missing == 0


class L1(PointCriterion):
    """Mean absolute error."""

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.l1(pred, target)


class L2(PointCriterion):
    """Mean squared error."""

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.l2(pred, target)


@dataclass(eq=False, repr=False)
class SmoothL1(PointCriterion):
    """Quadratic below beta px, linear above."""

    beta: float = 1.0

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1(pred, target, self.beta)


@dataclass(eq=False, repr=False)
class Wing(PointCriterion):
    """Wing loss; defaults as in its own paper's best setting (10, 2)."""

    omega: float = 10.0
    epsilon: float = 2.0

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.wing(pred, target, self.omega, self.epsilon)


@dataclass(eq=False, repr=False)
class SoftWing(PointCriterion):
    """Soft Wing loss with the SCC paper's constants."""

    omega1: float = 2.0
    omega2: float = 20.0
    epsilon: float = 0.5

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.soft_wing(pred, target, self.omega1, self.omega2, self.epsilon)
