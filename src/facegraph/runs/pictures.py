"""The pictures of a run folder, drawn from its predictions when the test is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.geometry.affine import transform_points
from facegraph.graph.neighbours import edge_table, graph_mask, top_k_neighbours
from facegraph.records import CONFIDENCE, RunResult, predictions_of
from facegraph.reports.plots.curves import plot_ced, plot_retention
from facegraph.reports.plots.landmarks import plot_graph, plot_per_landmark
from facegraph.structures import LandmarkModel, ShapeStatistics
from facegraph.tracking.records import SampledFace
from facegraph.viz import faces as viz

CED_LIMIT = 0.10
SHOWN_FACES = 16
TILE = 256  # px
DRAWN_NEIGHBOURS = 3


def write_pictures(
    folder: Path,
    result: RunResult,
    frames: Mapping[str, pd.DataFrame],
    source: FaceSource,
    dataset: LandmarkDataset,
    statistics: ShapeStatistics,
    model: LandmarkModel,
) -> None:
    """Draw errors, faces and graph of a test. A picture that cannot be drawn costs no run: a note says which and why.

    Args:
        folder: of the run.
        result: what result.json will hold.
        frames: checkpoint -> predictions; faces and landmarks are those of the first.
        source: the test faces.
        dataset: they are of.
        statistics: mean shape and correlation that the model was built with.
        model: whose graph is drawn.
    """
    shape, primary = statistics.mean_shape.numpy(), dataset.normalisers[0]
    errors = {name: frame[f"nme_{primary}"].to_numpy() for name, frame in frames.items()}
    sure = {name: (errors[name], f[CONFIDENCE].to_numpy()) for name, f in frames.items() if CONFIDENCE in f.columns}
    shown = next(iter(frames))

    def ced(path: Path) -> None:
        plot_ced(errors, max(CED_LIMIT, *dataset.thresholds_of(primary)), path, primary)

    def retention(path: Path) -> None:
        if sure:
            plot_retention(sure, dataset.thresholds_of(primary), path, primary)

    def per_landmark(path: Path) -> None:
        means = np.array(result.metrics["test"][shown]["per_landmark"], dtype=np.float64)
        plot_per_landmark({"Error by landmark": means}, shape, dataset.scheme, path, primary)

    def graph(path: Path) -> None:
        mask, correlation = model.graph(), statistics.correlation.cpu()
        known = not np.array_equal(correlation, np.eye(len(correlation)))  # released weights come without
        if mask is None and known and len(correlation) > 1:
            neighbours = top_k_neighbours(correlation, min(DRAWN_NEIGHBOURS, len(correlation) - 1))
            mask = graph_mask(neighbours, symmetric=False)
        if mask is not None:
            edges, weights = edge_table(mask.cpu(), correlation)
            plot_graph(edges.numpy(), weights.numpy(), shape, dataset.scheme, path)

    def worst(path: Path) -> None:
        _draw_faces(np.arange(len(errors[shown])), frames[shown], errors[shown], source, dataset, path)

    def samples(path: Path) -> None:
        rows = spread_rows(errors[shown], SHOWN_FACES)
        _draw_faces(rows, frames[shown], errors[shown], source, dataset, path)

    for draw in (ced, per_landmark, graph, retention, worst, samples):
        path = folder / f"{draw.__name__}.png"
        try:
            draw(path)
        except Exception as error:
            path.unlink(missing_ok=True)
            print(f"note: {path.name} could not be drawn: {type(error).__name__}: {error}")


def sample_faces(frame: pd.DataFrame, source: FaceSource, dataset: LandmarkDataset) -> list[SampledFace]:
    """Test faces evenly spread over the ranking of errors, the best first: those of samples.png.

    Args:
        frame: predictions of one checkpoint on the faces of source.
        source: the test faces.
        dataset: they are of.

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
            picture=viz.face_tile(source.image(int(faces.row[row])), prediction, truth, dataset.scheme, TILE),
            attributes=tuple(name for name, flag in faces.attributes.items() if flag[row]),
        )
        for row, prediction, truth in zip(rows, predictions, truths, strict=True)
    ]


def _draw_faces(
    rows: np.ndarray,
    frame: pd.DataFrame,
    errors: np.ndarray,
    source: FaceSource,
    dataset: LandmarkDataset,
    path: Path,
) -> None:
    """The faces with the largest errors among some rows."""
    faces = predictions_of(frame)
    viz.worst_faces(
        lambda i: source.image(int(faces.row[rows[i]])),
        in_stored(faces.prediction[rows], faces.row[rows], source),
        in_stored(faces.truth[rows], faces.row[rows], source),
        errors[rows],
        [faces.ids[row] for row in rows],
        dataset.scheme,
        path,
        count=SHOWN_FACES,
    )


def spread_rows(errors: np.ndarray, count: int) -> np.ndarray:
    """Rows of at most count faces, evenly spread over the ranking from the smallest to the largest error (M,)."""
    return np.argsort(errors, kind="stable")[np.linspace(0, len(errors) - 1, min(count, len(errors))).astype(int)]


def in_stored(points: np.ndarray, rows: np.ndarray, source: FaceSource) -> np.ndarray:
    """Points (M, N, 2) of some rows from px of their photographs to px of the images that the source hands out."""
    mapped = (transform_points(source.image_to_stored(int(r)), p) for r, p in zip(rows, points, strict=True))
    return np.stack([m.astype(np.float64) for m in mapped])
