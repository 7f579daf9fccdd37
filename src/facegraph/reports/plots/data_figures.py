"""Figures of a data set: poses before and after balancing, where landmarks fall in the crop, boxes.

Convention: crops are drawn like images, with y downwards and integers at pixel centres. Paths are as
`drawing.write_figure` takes them; every function returns that of the PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from facegraph.errors import DataError
from facegraph.reports.plots.drawing import new_figure, whole_numbers, write_figure

_BLUE, _ORANGE = "#3a7fc4", "#e8862e"


def plot_balancing(scores: np.ndarray, repeats: np.ndarray, bins: int, path: Path) -> Path:
    """Histogram of the pose score: faces as they are, and draws per epoch with each face repeated.

    Args:
        scores: (M,) pose scores.
        repeats: (M,) int draws of each face per epoch, 1 or more.
        bins: of equal width between the smallest and the largest score.
        path: of the figure.

    Raises:
        DataError: no face, or lengths that differ.
    """
    scores, repeats = np.asarray(scores, dtype=np.float64), np.asarray(repeats)
    if not len(scores) or scores.shape != repeats.shape:
        raise DataError(
            f"poses of {len(scores)} faces with repeats of {len(repeats)} cannot be drawn; pass one repeat per face "
            "and at least one face."
        )
    edges = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-9), bins + 1)
    before, after = np.histogram(scores, edges)[0], np.histogram(scores, edges, weights=repeats)[0]
    figure = new_figure(7.2, 4.2)
    axes = figure.add_subplot()
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    labelled = (
        (before, -0.21, _BLUE, f"as they are: {before.sum():,} faces"),
        (after, 0.21, _ORANGE, f"balanced: {int(after.sum()):,} draws per epoch"),
    )
    for counts, shift, colour, label in labelled:
        bars = axes.bar(centres + shift * width, counts, 0.4 * width, color=colour, label=label)
        axes.bar_label(bars, [f"{int(n)}" for n in counts], fontsize=7, padding=1)
    axes.set(xlabel="Pose score: first principal component of the aligned shapes", ylabel="Faces or draws")
    axes.set_title(f"Pose balancing in {bins} bins, a face drawn at most {int(repeats.max())} times", fontsize=11)
    axes.set_xticks(edges, [f"{edge:.2f}" for edge in edges], fontsize=7)
    axes.margins(y=0.12)
    axes.legend(fontsize="small")
    return write_figure(figure, path)


def plot_landmark_heat(panels: Mapping[str, np.ndarray], input_size: int, path: Path) -> Path:
    """Where landmarks fall in the crop, one panel per label; the frame is the crop, what lies beyond is lost.

    Args:
        panels: label -> (M, N, 2) landmarks in crop px.
        input_size: side of the crop, px.
        path: of the figure.

    Raises:
        DataError: no panel, one without landmarks, or a landmark that is not finite.
    """
    shapes = {label: np.shape(points) for label, points in panels.items()}
    if not panels or any(0 in shape for shape in shapes.values()):
        raise DataError(
            f"landmark heat of panels {shapes} cannot be drawn; pass at least one label, each with at least one face."
        )
    if not all(np.isfinite(points).all() for points in panels.values()):
        raise DataError("landmark heat of points that are not finite cannot be drawn; leave those faces out.")
    edges = np.linspace(-0.25 * input_size - 0.5, 1.25 * input_size - 0.5, 97)
    figure = new_figure(4.6 * len(panels), 4.0)
    for i, (label, points) in enumerate(panels.items()):
        flat = np.reshape(points, (-1, 2))
        outside = np.mean(((flat < -0.5) | (flat > input_size - 0.5)).any(axis=-1))
        heat = np.histogram2d(flat[:, 1], flat[:, 0], bins=(edges, edges))[0]
        axes = figure.add_subplot(1, len(panels), i + 1)
        # where no landmark is in view the scale still needs an end
        scale = LogNorm(1, max(heat.max(), 2))
        mesh = axes.pcolormesh(edges, edges, np.ma.masked_equal(heat, 0), cmap="magma_r", norm=scale)
        axes.add_patch(Rectangle((-0.5, -0.5), input_size, input_size, fill=False, edgecolor="0.3", linewidth=1.2))
        axes.set(xlim=edges[[0, -1]], ylim=edges[[-1, 0]], aspect="equal", xlabel="x [crop px]", ylabel="y [crop px]")
        axes.set_title(f"{label}\n{100 * outside:.2f} % of landmarks outside the crop", fontsize=10)
        figure.colorbar(mesh, ax=axes, label="Landmarks per cell", shrink=0.8)
    return write_figure(figure, path)


def plot_boxes(sides: np.ndarray, ratios: np.ndarray, path: Path) -> Path:
    """Histograms of face sizes and, where faces have an official box, of its side over that of the landmark box.

    Args:
        sides: (M,) longer side of the landmark box, px of the photograph.
        ratios: (M,) longer side of the official box over that of the landmark box; NaN where there is none.
        path: of the figure.

    Raises:
        DataError: no face.
    """
    sides, ratios = np.asarray(sides, dtype=np.float64), np.asarray(ratios, dtype=np.float64)
    if not len(sides):
        raise DataError("boxes of no face cannot be drawn; pass at least one.")
    known = ratios[np.isfinite(ratios)]
    panels = 2 if len(known) else 1
    figure = new_figure(4.6 * panels, 3.6)
    axes = figure.add_subplot(1, panels, 1)
    low, high = max(sides.min(), 1.0), max(sides.max(), 2.0)
    axes.hist(sides, bins=list(np.geomspace(low * 0.99, max(high, low * 1.05) * 1.01, 33)), color=_BLUE)
    axes.set(xscale="log", xlabel="Longer side of the landmark box [px]", ylabel="Faces")
    ticks = [t for t in (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096) if low * 0.7 <= t <= high * 1.4]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    whole_numbers(axes.yaxis)
    axes.set_title(f"Face size: median {np.median(sides):.0f} px of the photograph", fontsize=10)
    if len(known):
        axes = figure.add_subplot(1, panels, 2)
        widths = np.linspace(min(known.min(), 0.95), max(np.quantile(known, 0.995), 1.05), 33)
        axes.hist(known, bins=list(widths), color=_BLUE)
        axes.axvline(1.0, color="0.4", linestyle=":")
        axes.set(xlabel="Side of the official over the landmark box", ylabel="Faces")
        whole_numbers(axes.yaxis)
        axes.set_title(f"Official box: median {np.median(known):.2f} x the landmark box", fontsize=10)
    return write_figure(figure, path)
