"""What is written when a test is done: numbers, faces, pictures, a table on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from torch import Tensor

from facegraph import viz
from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.graph.neighbours import edge_table
from facegraph.metrics.modules import PredictionRows
from facegraph.records import RESULT_FILE, RunResult, prediction_frame, summarise, write_predictions
from facegraph.reports.figures import plot_ced, plot_graph, plot_per_landmark
from facegraph.reports.tables import results_table, subsets_table
from facegraph.structures import ShapeStatistics

CED_LIMIT = 0.10


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
    )


def test_metrics(frames: Mapping[str, pd.DataFrame], dataset: LandmarkDataset) -> dict[str, Any]:
    """checkpoint -> numbers, as result.json keeps them under metrics.test."""
    return {name: summarise(frame, dataset.normalisers, dataset.thresholds) for name, frame in frames.items()}


def write_results(
    folder: Path,
    result: RunResult,
    frames: Mapping[str, pd.DataFrame],
    source: FaceSource,
    dataset: LandmarkDataset,
    statistics: ShapeStatistics,
    mask: Tensor,
) -> None:
    """Pictures and predictions first, result.json last: a folder with a result.json is whole."""
    shape = statistics.mean_shape.numpy()
    primary = dataset.normalisers[0]
    errors = {name: frame[f"nme_{primary}"].to_numpy() for name, frame in frames.items()}
    write_predictions(pd.concat(frames.values(), ignore_index=True), folder)
    plot_ced(errors, max(CED_LIMIT, *dataset.thresholds), folder / "ced.png", primary)
    shown = next(iter(frames))
    per_landmark = np.array(result.metrics["test"][shown]["per_landmark"], dtype=np.float64)
    plot_per_landmark(per_landmark, shape, dataset.scheme, folder / "per_landmark.png", primary)
    edges, weights = edge_table(mask.cpu(), statistics.correlation.cpu())
    plot_graph(edges.numpy(), weights.numpy(), shape, dataset.scheme, folder / "graph.png")
    _write_worst(frames[shown], errors[shown], source, dataset, folder / "worst.png")
    result.write(folder)


def _write_worst(
    frame: pd.DataFrame, errors: np.ndarray, source: FaceSource, dataset: LandmarkDataset, path: Path
) -> None:
    n = dataset.scheme.num_landmarks

    def points(prefix: str) -> np.ndarray:
        names = [f"{prefix}_{axis}{i}" for i in range(n) for axis in "xy"]
        return frame[names].to_numpy(dtype=np.float64).reshape(-1, n, 2)

    rows = frame["index"].to_numpy()
    viz.worst_faces(
        lambda i: source.image(int(rows[i])),
        points("pred"),
        points("true"),
        errors,
        list(frame["id"]),
        dataset.scheme,
        path,
    )


def print_results(result: RunResult, folder: Path, console: Console | None = None) -> None:
    console = console or Console()
    console.print(results_table(result))
    if any(entry["subsets"] for entry in result.metrics["test"].values()):
        console.print(subsets_table(result))
    console.print(f"Everything of this run is in [bold]{folder}[/bold]: {_listing(folder)}", highlight=False)


def _listing(folder: Path) -> str:
    names: Sequence[str] = (RESULT_FILE, "predictions.parquet", "ced.png", "worst.png", "per_landmark.png", "graph.png")
    return ", ".join(name for name in names if (folder / name).exists())
