"""What a model is trained with: (output, batch) -> {"loss", and its terms}, in pixels of a 256 px crop."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.graph.neighbours import top_k_neighbours
from facegraph.losses import functional
from facegraph.structures import REFERENCE_SIZE, FaceBatch, LandmarkOutput, ShapeStatistics


class PointCriterion(nn.Module, ABC):
    """A point loss on the landmarks, plus relative_weight times the same loss on relative locations (L-GRN).

    Args:
        statistics: landmark correlation, from which the neighbours of the relative term are taken.
        relative_weight: 0 for SCC, 1 for L-GRN. relative_neighbours: neighbours per landmark (L-GRN: 3).

    Raises:
        ConfigError: a negative weight, or relative_neighbours out of range.
    """

    laplacian: Tensor

    def __init__(self, statistics: ShapeStatistics, relative_weight: float = 0.0, relative_neighbours: int = 3) -> None:
        super().__init__()
        if relative_weight < 0:
            raise ConfigError(f"loss.relative_weight={relative_weight} is out of range; 0 switches the term off.")
        self.relative_weight = relative_weight
        if relative_weight > 0:
            neighbours = top_k_neighbours(statistics.correlation, relative_neighbours)
            matrix = functional.laplacian(neighbours, like=statistics.mean_shape)
            self.register_buffer("laplacian", matrix, persistent=False)

    @abstractmethod
    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        """Mean over coordinates of points (..., N, 2) in px of a 256 crop."""

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        scale = REFERENCE_SIZE / batch.image.shape[-1]
        with torch.autocast(output.landmarks.device.type, enabled=False):
            pred, target = output.landmarks.float() * scale, batch.landmarks * scale
            point = self.point_loss(pred, target)
            if self.relative_weight == 0:
                return {"loss": point}
            relative = self.point_loss(self.laplacian @ pred, self.laplacian @ target)
            return {"loss": point + self.relative_weight * relative, "point": point, "relative": relative}


class L1(PointCriterion):
    """Mean absolute error."""

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.l1(pred, target)


class L2(PointCriterion):
    """Mean squared error."""

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.l2(pred, target)


class SmoothL1(PointCriterion):
    """Quadratic below beta px, linear above."""

    def __init__(
        self,
        statistics: ShapeStatistics,
        beta: float = 1.0,
        relative_weight: float = 0.0,
        relative_neighbours: int = 3,
    ) -> None:
        super().__init__(statistics, relative_weight, relative_neighbours)
        self.beta = beta

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1(pred, target, self.beta)


class Wing(PointCriterion):
    """Wing loss; defaults as in its own paper's best setting (10, 2)."""

    def __init__(
        self,
        statistics: ShapeStatistics,
        omega: float = 10.0,
        epsilon: float = 2.0,
        relative_weight: float = 0.0,
        relative_neighbours: int = 3,
    ) -> None:
        super().__init__(statistics, relative_weight, relative_neighbours)
        functional.check_positive(omega=omega, epsilon=epsilon)
        self.omega, self.epsilon = omega, epsilon

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.wing(pred, target, self.omega, self.epsilon)


class SoftWing(PointCriterion):
    """Soft Wing loss with the SCC paper's constants."""

    def __init__(
        self,
        statistics: ShapeStatistics,
        omega1: float = 2.0,
        omega2: float = 20.0,
        epsilon: float = 0.5,
        relative_weight: float = 0.0,
        relative_neighbours: int = 3,
    ) -> None:
        super().__init__(statistics, relative_weight, relative_neighbours)
        functional.check_positive(omega1=omega1, omega2=omega2, epsilon=epsilon)
        self.omega1, self.omega2, self.epsilon = omega1, omega2, epsilon

    def point_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.soft_wing(pred, target, self.omega1, self.omega2, self.epsilon)
