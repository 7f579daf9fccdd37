"""What all alignment models keep with their weights."""

from __future__ import annotations

from torch import Tensor, nn

from facegraph.structures import ShapeStatistics


class AlignmentModel(nn.Module):
    """Keeps the statistics of the training landmarks as buffers: a checkpoint alone rebuilds the model and its graph.

    Args:
        statistics: see ShapeStatistics.
    """

    mean_shape: Tensor
    correlation: Tensor

    def __init__(self, statistics: ShapeStatistics) -> None:
        super().__init__()
        self.register_buffer("mean_shape", statistics.mean_shape.float())
        self.register_buffer("correlation", statistics.correlation.float())
