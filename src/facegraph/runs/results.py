"""What is written when a test is done: numbers, faces, pictures, a table on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from torch import Tensor

from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.errors import NonFiniteError
from facegraph.geometry.affine import transform_points
from facegraph.graph.neighbours import edge_table
from facegraph.machine.screen import Screen
from facegraph.metrics.modules import PredictionRows
from facegraph.records import CONFIDENCE, RunResult, prediction_frame, predictions_of, summarise, write_predictions
from facegraph.reports.plots.curves import plot_ced, plot_retention
from facegraph.reports.plots.landmarks import plot_graph, plot_per_landmark
from facegraph.reports.table.marks import confidence_table, results_table, subsets_table
from facegraph.structures import ShapeStatistics
from facegraph.viz import faces as viz

CED_LIMIT = 0.10
SHOWN_FACES = 16


def frame_of(rows: PredictionRows, source: FaceSource, dataset: LandmarkDataset, checkpoint: str) -> pd.DataFrame:
    """Table of predictions of one checkpoint; rows come from the test split in the order of its table."""
    table = source.table
    index = rows.index.cpu().numpy()
    distances, attributes = rows.norm_distances.cpu().numpy(), rows.attributes.cpu().numpy()
    return prediction_frame(
        ids=[table.ids[i] for i in index],
        index=index,
        prediction=rows.prediction.cpu().numpy(),
        truth=rows.truth.cpu().numpy(),
        norm_distances={name: distances[:, i] for i, name in enumerate(dataset.normalisers)},
        attributes={name: attributes[:, i] for i, name in enumerate(table.attribute_names)},
        checkpoint=checkpoint,
        confidence=rows.confidence.cpu().numpy(),
        predicted_error=rows.predicted_error.cpu().numpy(),
        iterations=rows.iterations.cpu().numpy(),
        failed=rows.failed.cpu().numpy(),
    )


def thresholds_by_normaliser(dataset: LandmarkDataset) -> dict[str, tuple[float, ...]]:
    return {name: dataset.thresholds_of(name) for name in dataset.normalisers}


def test_metrics(frames: Mapping[str, pd.DataFrame], dataset: LandmarkDataset) -> dict[str, Any]:
    """checkpoint -> numbers, as result.json keeps them under metrics.test.

    Raises:
        NonFiniteError: a face without usable landmarks: the mean over the others is no score of the test.
    """
    for checkpoint, frame in frames.items():
        broken = frame.loc[~np.isfinite(frame[f"nme_{dataset.normalisers[0]}"]), "id"].tolist()
        if broken:
            named = ", ".join(map(str, broken[:4]))
            raise NonFiniteError(
                f"checkpoint {checkpoint} gives no finite landmarks for {len(broken)} of {len(frame)} test faces "
                f"({named}{', ...' if len(broken) > 4 else ''}), so there is no result. Look at these faces, score in "
                "trainer.precision=32-true (eval.py: precision=32-true), or train again with a lower optimizer.lr."
            )
    return {
        name: summarise(frame, dataset.normalisers, thresholds_by_normaliser(dataset)) for name, frame in frames.items()
    }


def write_results(
    folder: Path,
    result: RunResult,
    frames: Mapping[str, pd.DataFrame],
    source: FaceSource,
    dataset: LandmarkDataset,
    statistics: ShapeStatistics,
    graph: Callable[[], Tensor | None],
) -> None:
    """Predictions and pictures first, result.json last: a folder with a result.json is whole.

    A picture that cannot be drawn costs no run: a note says which and why.
    """
    write_predictions(pd.concat(frames.values(), ignore_index=True), folder)
    for name, draw in _pictures(result, frames, source, dataset, statistics, graph).items():
        try:
            draw(folder / name)
        except Exception as error:
            (folder / name).unlink(missing_ok=True)
            print(f"note: {name} could not be drawn: {type(error).__name__}: {error}")
    result.write(folder)


def _pictures(
    result: RunResult,
    frames: Mapping[str, pd.DataFrame],
    source: FaceSource,
    dataset: LandmarkDataset,
    statistics: ShapeStatistics,
    graph: Callable[[], Tensor | None],
) -> dict[str, Callable[[Path], object]]:
    """File name -> what draws it."""
    shape, primary = statistics.mean_shape.numpy(), dataset.normalisers[0]
    errors = {name: frame[f"nme_{primary}"].to_numpy() for name, frame in frames.items()}
    sure = {name: (errors[name], f[CONFIDENCE].to_numpy()) for name, f in frames.items() if CONFIDENCE in f.columns}
    shown = next(iter(frames))

    def ced(path: Path) -> None:
        plot_ced(errors, max(CED_LIMIT, *dataset.thresholds_of(primary)), path, primary)

    def retention(path: Path) -> None:
        plot_retention(sure, dataset.thresholds_of(primary), path, primary)

    def per_landmark(path: Path) -> None:
        means = np.array(result.metrics["test"][shown]["per_landmark"], dtype=np.float64)
        plot_per_landmark({"Error by landmark": means}, shape, dataset.scheme, path, primary)

    def edges_of(path: Path) -> None:
        mask = graph()
        if mask is not None:
            edges, weights = edge_table(mask.cpu(), statistics.correlation.cpu())
            plot_graph(edges.numpy(), weights.numpy(), shape, dataset.scheme, path)

    def worst(path: Path) -> None:
        _draw_faces(np.arange(len(errors[shown])), frames[shown], errors[shown], source, dataset, path)

    def samples(path: Path) -> None:
        rows = spread_rows(errors[shown], SHOWN_FACES)
        _draw_faces(rows, frames[shown], errors[shown], source, dataset, path)

    pictures = {"ced.png": ced, "per_landmark.png": per_landmark, "graph.png": edges_of}
    return {**pictures, **({"retention.png": retention} if sure else {}), "worst.png": worst, "samples.png": samples}


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


def print_results(result: RunResult, folder: Path, console: Console | None = None) -> None:
    console = console or Screen()
    console.print(results_table(result))
    if any(entry["subsets"] for entry in result.metrics["test"].values()):
        console.print(subsets_table(result))
    if any(CONFIDENCE in entry for entry in result.metrics["test"].values()):
        console.print(confidence_table(result))
    console.print(f"Everything of this run is in [bold]{folder}[/bold]: {_listing(folder)}", highlight=False)


def _listing(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".parquet", ".png")))
