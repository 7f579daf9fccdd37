"""Which patches a cascade listens to: its attention weights on the mean face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.reports.plots.drawing import draw_face, new_figure, write_figure

_COLOURS = "viridis"
_SMALLEST, _LARGEST = 10.0, 130.0  # area of a dot in points^2
_COLUMN, _HEIGHT = 3.6, 4.2  # inches


def mean_attention(attention: np.ndarray, iterations: np.ndarray | None = None) -> np.ndarray:
    """(T, M) mean over faces of attention weights (F, T, M).

    Args:
        iterations: (F,) how many were run for each face, 1..T: a face counts for those alone. An iteration that no face
            reached is NaN.

    Raises:
        DataError: no face, or shapes that do not fit.
    """
    attention = np.asarray(attention, dtype=np.float64)
    if attention.ndim != 3 or len(attention) == 0:
        raise DataError(f"attention has shape {attention.shape}; (F, T, M) of at least one face is needed.")
    if iterations is None:
        return attention.mean(axis=0)
    if np.shape(iterations) != attention.shape[:1]:
        raise DataError(f"iterations have shape {np.shape(iterations)}; ({len(attention)},) is needed, one per face.")
    ran = np.arange(attention.shape[1]) < np.asarray(iterations)[:, None]  # (F, T)
    count = ran.sum(axis=0)[:, None]
    total = (attention * ran[:, :, None]).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def plot_attention(
    weights: np.ndarray, patch_points: np.ndarray, mean_shape: np.ndarray, scheme: LandmarkScheme, path: Path
) -> Path:
    """A dot for each patch on the mean face, one face per iteration; colour and size follow the mean attention weight.

    The scale is that of all iterations together, from the least to the largest weight.

    Args:
        weights: (T, M) mean attention weight of each patch in each iteration, as `mean_attention` has it; an iteration
            of NaN is left out of the scale, shows no dots and says so.
        patch_points: (M, 2) where the patches lie, mean_shape[patch_indices] of the model.
        mean_shape: (N, 2) any unit, y downwards.
        path: PNG to write; an existing one is replaced.

    Raises:
        DataError: shapes that do not fit, or no finite weight.
    """
    weights, patch_points = np.asarray(weights, dtype=np.float64), np.asarray(patch_points)
    mean_shape = np.asarray(mean_shape)
    _check(weights, patch_points, mean_shape, scheme)
    scale = Normalize(float(np.nanmin(weights)), float(np.nanmax(weights)))
    figure = new_figure(_COLUMN * len(weights) + 0.8, _HEIGHT)
    panels = figure.subplots(1, len(weights), squeeze=False)[0]
    for iteration, (axes, row) in enumerate(zip(panels, weights, strict=True), 1):
        draw_face(axes, mean_shape, scheme)
        _dots(axes, row, patch_points, scale)
        found = f"mean {row.mean():.3f}" if not np.isnan(row).all() else "not reached"
        axes.set_title(f"iteration {iteration}: {found}")
    label = "Mean attention weight of a patch"
    figure.colorbar(ScalarMappable(scale, _COLOURS), ax=panels.tolist(), label=label, shrink=0.8)
    return write_figure(figure, path)


def _dots(axes: Axes, weights: np.ndarray, points: np.ndarray, scale: Normalize) -> None:
    low, high = float(scale.vmin or 0), float(scale.vmax or 0)
    relative = (weights - low) / (high - low) if high > low else np.ones_like(weights)
    area = _SMALLEST + (_LARGEST - _SMALLEST) * relative
    x, y = points.T
    axes.scatter(x, y, c=weights, norm=scale, s=area, cmap=_COLOURS, edgecolors="0.2", linewidths=0.4, zorder=3)


def _check(weights: np.ndarray, patch_points: np.ndarray, mean_shape: np.ndarray, scheme: LandmarkScheme) -> None:
    if weights.ndim != 2 or len(weights) == 0 or patch_points.shape != (weights.shape[1], 2):
        raise DataError(
            f"weights have shape {weights.shape}, patch points {patch_points.shape}; (T, M) and (M, 2) are needed."
        )
    if mean_shape.shape != (scheme.num_landmarks, 2):
        raise DataError(
            f"the mean shape has shape {mean_shape.shape}; scheme '{scheme.name}' needs ({scheme.num_landmarks}, 2). "
            "Pass the mean shape of the model's checkpoint."
        )
    if not np.isfinite(weights).any():
        raise DataError("no attention weight is a finite number; the model's output cannot be drawn.")
