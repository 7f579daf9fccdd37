"""Weights that a paper's authors published, read into the names and the colour order of facegraph's model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from facegraph.landmarks import LandmarkScheme


@dataclass(frozen=True)
class ReleasedWeights:
    """What a system's `read_released` hands to the converter.

    Attributes:
        state: names of the model's state dict -> values, without mean_shape and correlation.
        overrides: of train.py, which compose the model that the state fits, and the data set, crop and normalisation it
            was trained with.
        mean_shape: (N, 2) crop px over the crop's side, None where none was published.
        notes: what was matched, left out or cannot be known, one line each, for the screen.
    """

    state: dict[str, Tensor]
    overrides: tuple[str, ...]
    scheme: LandmarkScheme
    mean_shape: Tensor | None
    notes: tuple[str, ...]
