"""Numbers of landmarks on a face: errors, of one row or of several side by side, and the graph of a head.

Convention: errors are fractions of the normalising distance and are shown in per cent; shapes are (N, 2) of any unit
with y downwards. Paths are as `drawing.write_figure` takes them; every function returns that of the PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, TwoSlopeNorm

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.reports.plots.drawing import draw_face, new_figure, of_normaliser, write_figure

_COLUMNS = 4


def plot_per_landmark(
    errors: Mapping[str, np.ndarray],
    shape: np.ndarray,
    scheme: LandmarkScheme | None,
    path: Path,
    normaliser: str,
    baseline: str | None = None,
) -> Path:
    """A face per row, landmarks coloured by their mean error, or by its difference to the baseline's.

    The landmarks of the largest errors, or of the largest differences, carry their index.

    Args:
        errors: label -> (N,) mean error of each landmark.
        shape: (N, 2) face to draw on.
        scheme: for the lines of the face.
        path: of the figure.
        normaliser: name of the distance.
        baseline: a label; its own panel is left out and the others show their error less its.

    Raises:
        DataError: no row, an unknown baseline, or another number of landmarks than the shape has.
    """
    values = {label: 100 * np.asarray(e, dtype=np.float64) for label, e in errors.items()}
    wrong = {label: v.shape for label, v in values.items() if v.shape != shape[:, 0].shape}
    if not values or wrong or (baseline is not None and baseline not in values):
        raise DataError(
            f"errors by landmark of {list(values)} with baseline {baseline} cannot be drawn on a face of {len(shape)} "
            f"landmarks (other shapes: {wrong}); pass at least one row, each with one error per landmark."
        )
    unit = of_normaliser(normaliser)
    if baseline is not None and len(values) > 1:
        values = {label: v - values[baseline] for label, v in values.items() if label != baseline}
        reach = max(float(np.nanmax(np.abs(v))) for v in values.values()) or 1.0
        scale: Normalize = TwoSlopeNorm(0.0, -reach, reach)
        what, form, colours = f"Mean error less that of {baseline}\n[{unit}]", "+.2f", "RdBu_r"
    else:
        together = np.concatenate(list(values.values()))
        scale = Normalize(float(np.nanmin(together)), float(np.nanmax(together)))
        what, form, colours = f"Mean error [{unit}]", ".2f", "viridis"
    alone = len(values) == 1
    columns, area, font, worst = (1, 48, 9, 5) if alone else (min(_COLUMNS, len(values)), 26, 7, 3)
    rows = -(-len(values) // columns)
    figure = new_figure(6.0, 5.4) if alone else new_figure(2.9 * columns + 1.2, 3.1 * rows + (0.4 if rows == 1 else 0))
    panels = []
    for i, (label, v) in enumerate(values.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        panels.append(axes)
        draw_face(axes, shape, scheme)
        dots = axes.scatter(
            shape[:, 0], shape[:, 1], c=v, norm=scale, cmap=colours, s=area, edgecolors="0.25", lw=0.4, zorder=3
        )
        for landmark in np.argsort(-np.abs(np.nan_to_num(v)), kind="stable")[:worst]:
            axes.annotate(
                str(landmark), shape[landmark], (4, 4), textcoords="offset points", fontsize=font, color="0.15"
            )
        axes.set_title(f"{label}\nmean {np.nanmean(v):{form}}", fontsize=font + 2)
    figure.colorbar(dots, ax=panels, label=what, shrink=0.85, aspect=30)
    return write_figure(figure, path)


def plot_graph(edges: np.ndarray, weights: np.ndarray, shape: np.ndarray, scheme: LandmarkScheme, path: Path) -> Path:
    """A graph over landmarks on a face; colour and width of an edge follow its weight.

    Edges from a landmark to itself are counted in the title and not drawn. Of two directions of one pair the heavier
    one lies on top.

    Args:
        edges: (E, 2) int landmark indices.
        weights: (E,) any unit.
        shape: (N, 2) face to draw on.
        scheme: for the lines of the face.
        path: of the figure.

    Raises:
        DataError: shapes that do not fit, or an index outside the scheme.
    """
    edges, weights, count = np.asarray(edges), np.asarray(weights, dtype=np.float64), scheme.num_landmarks
    if edges.ndim != 2 or edges.shape[1] != 2 or weights.shape != edges.shape[:1] or shape.shape != (count, 2):
        raise DataError(
            f"edges have shape {edges.shape}, weights {weights.shape}, the face {shape.shape}; (E, 2), (E,) and "
            f"({count}, 2) are needed."
        )
    if edges.size and (edges.min() < 0 or edges.max() >= count):
        raise DataError(
            f"edges reach from {edges.min()} to {edges.max()}; scheme '{scheme.name}' has the landmarks "
            f"0..{count - 1}. Pass the scheme that the graph was built for."
        )
    figure = new_figure(6.0, 5.4)
    axes = figure.add_subplot()
    draw_face(axes, shape, scheme, ":")
    between = edges[:, 0] != edges[:, 1]
    order = np.flatnonzero(between)[np.argsort(weights[between], kind="stable")]
    strength = weights[order]
    span = np.ptp(strength) if len(strength) else 0.0
    relative = (strength - strength.min()) / span if span > 0 else np.ones_like(strength)
    lines = LineCollection(list(shape[edges[order]]), cmap="viridis_r", linewidths=0.6 + 1.6 * relative, zorder=2)
    lines.set_array(strength)
    axes.add_collection(lines)
    if len(strength):
        figure.colorbar(lines, ax=axes, label="Edge weight", shrink=0.8)
    axes.scatter(shape[:, 0], shape[:, 1], c="0.15", s=10, zorder=3)
    title = f"Graph of {count} landmarks: {len(order)} edges"
    loops = int((~between).sum())
    axes.set_title(f"{title}\n{loops} self loops not drawn; dotted: contours of the face", fontsize=11)
    return write_figure(figure, path)
