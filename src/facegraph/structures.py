"""What travels between the parts: one face, one batch of faces, one prediction, the statistics of a training set; and
what every model answers.

Convention: points are (x, y) with integer values at pixel centres. "Image px" are pixels of the photograph that was
annotated, "crop px" are pixels of the square network input; a package border is crossed in crop px and errors are
measured in image px. A source may hold a photograph cut out and resized ("stored px") and says how by a matrix.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from facegraph.landmarks import LandmarkScheme

REFERENCE_SIZE = 256.0
"""Side in px of the crop in whose pixels heads regress and losses measure, so that a recipe serves all input sizes."""


@dataclass(frozen=True)
class FaceSample:
    """One annotated face as a source hands it out.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (N, 2) float64 image px; NaN where the annotation has none, unless a stand-in was put there, see
            data.faces.Faces.
        box: (4,) float64 x0, y0, x1, y1 in image px, around which the face is cut out.
        attributes: (K,) bool, in the order of the source's attribute names.
        id: unique within the source.
        image_to_stored: (3, 3) float64, image px -> px of `image`; the identity where that is the photograph.
        labelled: (N,) bool, which landmarks the annotation has; None for all.
    """

    image: np.ndarray
    landmarks: np.ndarray
    box: np.ndarray
    attributes: np.ndarray
    id: str
    image_to_stored: np.ndarray = field(default_factory=lambda: np.eye(3))
    labelled: np.ndarray | None = None


class FaceBatch(NamedTuple):
    """A batch of network inputs with all that is needed to score it. A single item has the same fields without B.

    Args:
        image: (B, 3, S, S) float32, normalised; uint8 RGB, channels last in memory, until the batch is on its device.
        landmarks: (B, N, 2) float32 crop px, always finite.
        labelled: (B, N) bool, which of them the annotation has: the others are stand-ins, and no loss and no score
            counts them.
        crop_to_image: (B, 2, 3) float32, maps crop px to image px.
        norm_distances: (B, M) float32 image px, one column per normaliser of the data set.
        attributes: (B, K) bool.
        index: (B,) int64, row of the face in its source.
    """

    image: Tensor
    landmarks: Tensor
    labelled: Tensor
    crop_to_image: Tensor
    norm_distances: Tensor
    attributes: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nothing needs


@dataclass(frozen=True, eq=False)
class LandmarkOutput:
    """What every alignment model returns; a system whose criterion needs more of it returns a subclass.

    Args:
        landmarks: (B, N, 2) float32 crop px.
        stage_landmarks: (B, T, N, 2) float32 crop px of a cascade's T stages, the last of which is `landmarks` unless
            the model says otherwise.
        heatmaps: (B, T, N, h, w) of T stages.
        predicted_error: (B,) float32, the model's own estimate of its error as a fraction of the first normaliser.
        confidence: (B,) float32, the higher the surer; only its order among predictions of one model means something.
        iterations: (B,), how many of its steps were run for a face, of a model that may stop early.
        failed: (B,) bool, whether the model itself reports a face as failed.
    """

    landmarks: Tensor
    stage_landmarks: Tensor | None = None
    heatmaps: Tensor | None = None
    predicted_error: Tensor | None = None
    confidence: Tensor | None = None
    iterations: Tensor | None = None
    failed: Tensor | None = None


class ShapeStatistics(NamedTuple):
    """What a model knows of the training landmarks before it sees an image. Saved in every checkpoint.

    Args:
        scheme: what the N landmarks are.
        mean_shape: (N, 2) float32, mean of the training landmarks: crop px divided by the crop's side.
        correlation: (N, N) float32 in [0, 1], symmetric, ones on the diagonal: how strongly two landmarks move together
            (the paper's C).
    """

    mean_shape: Tensor
    correlation: Tensor
    scheme: LandmarkScheme


class LandmarkModel(nn.Module):
    """A model: images (B, 3, S, S) -> LandmarkOutput. A system overrides the questions that it has an answer to.

    mean_shape, correlation: buffers, see ShapeStatistics; a checkpoint alone rebuilds the model and its graph.

    Args:
        statistics: of the training landmarks.
    """

    mean_shape: Tensor
    correlation: Tensor

    SETTINGS_AT_TEST: ClassVar[tuple[str, ...]] = ()
    """Settings of conf/model that an evaluation may change, because they need no other weights."""

    def __init__(self, statistics: ShapeStatistics) -> None:
        super().__init__()
        self.register_buffer("mean_shape", statistics.mean_shape.float())
        self.register_buffer("correlation", statistics.correlation.float())

    def protocol_facts(self) -> dict[str, float]:
        """Settings by name that change what a test measures, for the protocol card; those that are switched off left
        out."""
        return {}

    def graph(self) -> Tensor | None:
        """The graph over landmarks (N, N) that the model was built with; None for a model without."""
        return None

    def fails(self, predicted_error: Tensor) -> Tensor | None:
        """Whether the model reports faces as failed whose predicted errors (B,) these are; None if it reports none."""
        return None

    def complete(self) -> AbstractContextManager:
        """Within it every face gets all of the work, as is needed where costs are measured on a blank image."""
        return nullcontext()
