"""Sample predictions as single pictures, drawn as the contact sheet samples.png draws them."""

from __future__ import annotations

import pandas as pd

from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.records import predictions_of
from facegraph.runs.results import SHOWN_FACES, in_stored, spread_rows
from facegraph.tracking.records import SampledFace
from facegraph.viz.faces import face_tile

TILE = 256  # px


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
