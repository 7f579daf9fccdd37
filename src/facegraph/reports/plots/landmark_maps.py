"""Errors by landmark of several rows, side by side on the mean face. Written as <path>.png and <path>.svg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.reports.plots.drawing import draw_face, new_figure, of_normaliser, write_figure

_COLUMNS = 4


def plot_landmark_maps(
    errors: Mapping[str, np.ndarray],
    shape: np.ndarray,
    scheme: LandmarkScheme | None,
    path: Path,
    normaliser: str,
    baseline: str | None = None,
    worst: int = 3,
) -> Path:
    """A face per row, landmarks coloured by their mean error, or by its difference to the baseline's.

    Args:
        errors: label -> (N,) mean error of each landmark as fractions.
        shape: (N, 2) face to draw on, any unit, y downwards. scheme: for the lines of the face.
        path: without suffix. normaliser: name of the distance, for the colour bar.
        baseline: a label; its own panel is left out and the others show their error less its.
        worst: how many landmarks carry their index: the largest errors, or the largest differences.

    Returns:
        path of the PNG.

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
    values, scale = _scale(values, baseline, of_normaliser(normaliser))
    columns = min(_COLUMNS, len(values))
    rows = -(-len(values) // columns)
    figure = new_figure(max(2.9 * columns + 1.2, 5.2), 3.1 * rows + (0.4 if rows == 1 else 0.0))
    panels = []
    for i, (label, v) in enumerate(values.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        panels.append(axes)
        draw_face(axes, shape, scheme)
        x, y = shape.T
        dots = axes.scatter(x, y, c=v, norm=scale.norm, cmap=scale.colours, s=26, edgecolors="0.25", lw=0.4, zorder=3)
        for landmark in np.argsort(-np.abs(np.nan_to_num(v)), kind="stable")[:worst]:
            text = f"{landmark}: {v[landmark]:.2f}" if len(values) == 1 else str(landmark)
            axes.annotate(text, shape[landmark], (4, 4), textcoords="offset points", fontsize=7, color="0.15")
        axes.set_title(f"{label}\nmean {np.nanmean(v):{scale.form}}", fontsize=9)
    figure.colorbar(dots, ax=panels, label=scale.label, shrink=0.85, aspect=30)
    return write_figure(figure, path)


class _Scale(NamedTuple):
    """How numbers become colours. form: of the mean in a title."""

    norm: Normalize
    colours: str
    form: str
    label: str


def _scale(values: dict[str, np.ndarray], baseline: str | None, unit: str) -> tuple[dict[str, np.ndarray], _Scale]:
    """What the panels show, in per cent, and one scale for all of them."""
    if baseline is not None and len(values) > 1:
        shown = {label: v - values[baseline] for label, v in values.items() if label != baseline}
        reach = max(float(np.nanmax(np.abs(v))) for v in shown.values()) or 1.0
        label = f"Mean error less that of {baseline}\n[{unit}]"
        return shown, _Scale(TwoSlopeNorm(0.0, -reach, reach), "RdBu_r", "+.2f", label)
    low, high = (float(end([end(v) for v in values.values()])) for end in (np.nanmin, np.nanmax))
    return values, _Scale(Normalize(low, high), "viridis", ".2f", f"Mean error [{unit}]")
