"""facegraph summary and facegraph graph: what a model costs, how landmarks are connected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from rich.table import Table

from facegraph.cli.guard import guarded
from facegraph.errors import ConfigError, DataError
from facegraph.files import plain_json, plain_tensors
from facegraph.geometry.procrustes import procrustes
from facegraph.graph.correlation import landmark_correlation
from facegraph.graph.neighbours import edge_table, graph_mask, top_k_neighbours
from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.machine.screen import Screen
from facegraph.metrics.cost import Complexity, measure
from facegraph.reports.plots.landmarks import plot_graph
from facegraph.runs.compose import build_model, compose, statistics_for, training_landmarks

_MOST_BYTES = 4_000_000_000
"""Of a file of landmarks: two million faces."""
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides as for train.py, such as experiment=scc_wflw head.top_k=5")
]


def summary(
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Parameters, multiply-adds and latency of the model that these overrides compose."""
    guarded(lambda: _summary(overrides or [], as_json))


def graph(
    overrides: Overrides = None,
    landmarks: Annotated[Path | None, typer.Option(help="A .npy file, (faces, points, 2) float.")] = None,
    top_k: Annotated[int, typer.Option(help="Neighbours per landmark.")] = 3,
    frame: Annotated[str, typer.Option(help="procrustes, box or image.")] = "procrustes",
    out: Annotated[Path, typer.Option(help="Folder for edges.csv and graph.png.")] = Path("outputs/graph"),
) -> None:
    """Landmark graph of a file of landmarks or of a data set's training faces: edges.csv and a picture."""
    guarded(lambda: _graph(overrides or [], landmarks, top_k, frame, out))


def _summary(overrides: list[str], as_json: bool) -> None:
    cfg = compose(overrides)
    statistics, source = statistics_for(cfg)
    costs = measure(build_model(cfg, statistics), cfg.input_size)
    if as_json:
        print(plain_json.dump(costs.to_dict()))
        return
    landmarks = statistics.mean_shape.shape[0]
    Screen().print(_summary_table(costs, f"{landmarks} landmarks, {cfg.input_size} px input; graph from {source}"))


def _summary_table(costs: Complexity, title: str) -> Table:
    table = Table(title=title)
    for column in ("module", "parameters", "multiply-adds"):
        table.add_column(column, justify="left" if column == "module" else "right")
    for module in costs.modules:
        table.add_row("  " * module.name.count(".") + module.name, f"{module.params:,}", f"{module.macs / 1e6:,.2f} M")
    table.add_section()
    table.add_row("all", f"{costs.params:,}", f"{costs.macs / 1e9:.3f} G")
    table.add_row("all, as the thop tool counts", "", f"{costs.macs_thop / 1e9:.3f} G")
    for device, milliseconds in costs.latency_ms.items():
        table.add_row(f"one face on {device}", "", f"{milliseconds:.1f} ms")
    return table


def _graph(overrides: list[str], landmarks: Path | None, top_k: int, frame: str, out: Path) -> None:
    points, scheme = _points(overrides, landmarks)
    most = points.shape[1] - 1
    if not 1 <= top_k <= most:
        raise ConfigError(f"--top-k is {top_k}; with {most + 1} landmarks 1 to {most} neighbours are possible.")
    correlation = torch.from_numpy(landmark_correlation(points, frame))
    mask = graph_mask(top_k_neighbours(correlation, top_k), symmetric=False)
    edges, weights = (t.numpy() for t in edge_table(mask, correlation))
    existing = [name for name in ("edges.csv", "graph.png") if (out / name).exists()]
    if existing:
        raise DataError(f"{out} holds {' and '.join(existing)} already; nothing is overwritten. Choose another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {out} cannot be made: {error}. Give another --out.") from error
    table = pd.DataFrame({"src": edges[:, 0], "dst": edges[:, 1], "weight": weights})
    table.to_csv(out / "edges.csv", index=False)
    plot_graph(edges, weights, procrustes(points)[1], scheme, out / "graph.png")
    print(f"{len(edges)} edges of {len(points)} faces in {out / 'edges.csv'}, drawn in {out / 'graph.png'}")


def _points(overrides: list[str], path: Path | None) -> tuple[np.ndarray, LandmarkScheme]:
    """(M, N, 2) landmarks and a scheme to draw them with."""
    if path is None:
        return training_landmarks(compose(overrides))
    if overrides:
        raise DataError(f"--landmarks and overrides {overrides} exclude each other; give one of them.")
    try:
        points = plain_tensors.load_array(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}. Save an array with numpy.save.") from None
    if points.ndim != 3 or points.shape[-1] != 2:
        raise DataError(f"{path} holds {points.dtype} of shape {points.shape}; (faces, points, 2) numbers are needed.")
    if not np.isfinite(points).all():
        face = int(np.argwhere(~np.isfinite(points))[0][0])
        raise DataError(f"{path}: face {face} holds a value that is not finite; remove it.")
    return points.astype(np.float64), _scheme_of(points.shape[1])


def _scheme_of(num_landmarks: int) -> LandmarkScheme:
    known = {scheme.num_landmarks: scheme for scheme in SCHEMES.values()}
    nameless = LandmarkScheme(f"{num_landmarks} points", tuple(range(num_landmarks)), normalisers={})
    return known.get(num_landmarks, nameless)
