"""Sample predictions as single pictures, drawn as the contact sheet samples.png draws them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.records import predictions_of
from facegraph.results import SHOWN_FACES, in_stored, spread_rows
from facegraph.viz import face_tile

TILE = 256  # px


class SampledFace(NamedTuple):
    """id: name of the face. error: by the primary normaliser, a fraction. picture: (TILE, TILE, 3) uint8 RGB, truth
    green, prediction red. attributes: those the face has."""

    id: str
    error: float
    picture: np.ndarray
    attributes: tuple[str, ...]


def sample_faces(frame: pd.DataFrame, source: FaceSource, dataset: LandmarkDataset) -> list[SampledFace]:
    """Test faces evenly spread over the ranking of errors, the best first: those of samples.png.

    Args:
        frame: predictions of one checkpoint on the faces of source.

    Raises:
        DataError: the frame holds several checkpoints, or an image cannot be read.
    """
    faces, errors = predictions_of(frame), frame[f"nme_{dataset.normalisers[0]}"].to_numpy()
    rows = spread_rows(errors, SHOWN_FACES)
    predictions = in_stored(faces.prediction[rows], faces.row[rows], source)
    truths = in_stored(faces.truth[rows], faces.row[rows], source)
    return [
        SampledFace(
            id=faces.ids[row],
            error=float(errors[row]),
            picture=face_tile(source.image(int(faces.row[row])), prediction, truth, dataset.scheme, TILE),
            attributes=tuple(name for name, flag in faces.attributes.items() if flag[row]),
        )
        for row, prediction, truth in zip(rows, predictions, truths, strict=True)
    ]
