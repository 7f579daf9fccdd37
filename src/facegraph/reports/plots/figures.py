"""Figures of a run as PNG: error curves, errors by landmark, the graph of a head.

Convention: errors are fractions of the normalising distance and are shown in per cent; shapes are drawn like images,
with y downwards. Figures are built without pyplot, so nothing is kept between calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.metrics.functional import auc, failure_rate

_DPI = 150
_GREY = "0.75"


def plot_ced(errors: Mapping[str, np.ndarray], threshold: float, path: Path, normaliser: str = "inter_ocular") -> Path:
    """Cumulative error distributions from 0 to threshold, one step curve per label, with AUC and FR in the legend.

    Args:
        errors: label -> (M,) per-face errors as fractions.
        threshold: right end of the axis as a fraction.
        path: PNG to write; an existing one is replaced.
        normaliser: name of the distance the errors are fractions of, for the axis label.

    Raises:
        DataError: no label, or a label without errors.
        ConfigError: threshold is not above zero.
    """
    if not errors:
        raise DataError("no errors to draw; pass at least one label with its per-face errors.")
    figure = Figure(figsize=(6.4, 4.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for label, values in errors.items():
        area, failures = 100 * auc(values, threshold), 100 * failure_rate(values, threshold)
        # the curve is a step up by 1/M at each error; NaN sorts to the end and never becomes a step inside the axis
        x = np.concatenate([[0.0], np.sort(values)])
        y = np.arange(len(x)) / len(values)
        inside = x <= threshold
        x, y = np.append(x[inside], threshold), np.append(y[inside], y[inside][-1])
        axes.step(100 * x, 100 * y, where="post", label=f"{label}: AUC {area:.2f} %, FR {failures:.2f} %")
    axes.set(
        xlim=(0, 100 * threshold),
        ylim=(0, 101),
        xlabel=f"Error [% of the {_words(normaliser)} distance]",
        ylabel="Faces with at most this error [%]",
        title=f"Cumulative error distribution up to {100 * threshold:g} %",
    )
    axes.grid(color="0.9")
    axes.legend(loc="lower right", fontsize="small")
    return _save(figure, path)


def plot_per_landmark(
    errors: np.ndarray,
    mean_shape: np.ndarray,
    scheme: LandmarkScheme,
    path: Path,
    normaliser: str = "inter_ocular",
    worst: int = 5,
) -> Path:
    """Mean error of each landmark as a coloured dot on the mean face; the worst landmarks carry their index.

    Args:
        errors: (N,) mean error over faces as fractions, `per_landmark` of a summary.
        mean_shape: (N, 2) any unit, y downwards. path: PNG to write; an existing one is replaced.
        normaliser: name of the distance, for the colour bar. worst: how many landmarks to number.

    Raises:
        DataError: errors or mean_shape do not have the scheme's number of landmarks.
    """
    errors = np.asarray(errors, dtype=np.float64)
    if errors.shape != (scheme.num_landmarks,):
        raise DataError(
            f"errors have shape {errors.shape}; scheme '{scheme.name}' needs ({scheme.num_landmarks},). Pass one mean "
            "error per landmark."
        )
    figure, axes = _face_axes(mean_shape, scheme)
    dots = axes.scatter(
        mean_shape[:, 0],
        mean_shape[:, 1],
        c=100 * errors,
        s=48,
        cmap="viridis",
        edgecolors="0.2",
        linewidths=0.5,
        zorder=3,
    )
    unit = f"% of the {_words(normaliser)} distance"
    figure.colorbar(dots, ax=axes, label=f"Mean error [{unit}]", shrink=0.8)
    for i in np.argsort(-errors, kind="stable")[:worst]:
        axes.annotate(str(i), mean_shape[i], xytext=(6, 6), textcoords="offset points", fontsize=9, color="tab:red")
    axes.set_title(f"Error by landmark: mean {100 * errors.mean():.2f} %\nnumbers mark the {worst} worst", fontsize=11)
    return _save(figure, path)


def plot_graph(
    edges: np.ndarray, weights: np.ndarray, mean_shape: np.ndarray, scheme: LandmarkScheme, path: Path
) -> Path:
    """A graph over landmarks on the mean face; colour and width of an edge follow its weight.

    Edges from a landmark to itself are counted in the title and not drawn. Of two directions of one pair the heavier
    one lies on top.

    Args:
        edges: (E, 2) int landmark indices. weights: (E,) any unit.
        mean_shape: (N, 2) any unit, y downwards. path: PNG to write; an existing one is replaced.

    Raises:
        DataError: shapes that do not fit, or an index outside the scheme.
    """
    edges, weights = np.asarray(edges), np.asarray(weights, dtype=np.float64)
    if edges.ndim != 2 or edges.shape[1] != 2 or weights.shape != edges.shape[:1]:
        raise DataError(f"edges have shape {edges.shape}, weights {weights.shape}; (E, 2) and (E,) are needed.")
    if edges.size and (edges.min() < 0 or edges.max() >= scheme.num_landmarks):
        raise DataError(
            f"edges reach from {edges.min()} to {edges.max()}; scheme '{scheme.name}' has the landmarks "
            f"0..{scheme.num_landmarks - 1}. Pass the scheme that the graph was built for."
        )
    figure, axes = _face_axes(mean_shape, scheme, contour_style=":")
    between = edges[:, 0] != edges[:, 1]
    order = np.flatnonzero(between)[np.argsort(weights[between], kind="stable")]
    strength = weights[order]
    span = np.ptp(strength) if len(strength) else 0.0
    relative = (strength - strength.min()) / span if span > 0 else np.ones_like(strength)
    lines = LineCollection(list(mean_shape[edges[order]]), cmap="viridis_r", linewidths=0.6 + 1.6 * relative, zorder=2)
    lines.set_array(strength)
    axes.add_collection(lines)
    if len(strength):
        figure.colorbar(lines, ax=axes, label="Edge weight", shrink=0.8)
    axes.scatter(mean_shape[:, 0], mean_shape[:, 1], c="0.15", s=10, zorder=3)
    loops = int((~between).sum())
    title = f"Graph of {scheme.num_landmarks} landmarks: {len(order)} edges"
    axes.set_title(f"{title}\n{loops} self loops not drawn; dotted: contours of the face", fontsize=11)
    return _save(figure, path)


def _face_axes(mean_shape: np.ndarray, scheme: LandmarkScheme, contour_style: str = "-") -> tuple[Figure, Axes]:
    if mean_shape.shape != (scheme.num_landmarks, 2):
        raise DataError(
            f"the mean shape has shape {mean_shape.shape}; scheme '{scheme.name}' needs ({scheme.num_landmarks}, 2). "
            "Pass the mean shape of the data set."
        )
    figure = Figure(figsize=(6.0, 5.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for contour in scheme.contours:
        indices = [*contour.indices, contour.indices[0]] if contour.closed else list(contour.indices)
        axes.plot(*mean_shape[indices].T, color=_GREY, linewidth=1.0, linestyle=contour_style, zorder=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.margins(0.06)
    axes.set_axis_off()
    return figure, axes


def _words(name: str) -> str:
    return {"box": "box size", "inter_ocular": "inter-ocular", "inter_pupil": "inter-pupil"}.get(name, name)


def _save(figure: Figure, path: Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path
