"""What all figures share: colours that colour-blind readers tell apart, axes, legends, faces, PNG and SVG files.

Figures are built without pyplot, so nothing is kept between calls, and written so that equal numbers give equal files.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from facegraph.files.atomic import write_atomically
from facegraph.landmarks import LandmarkScheme

DPI = 150
# Okabe and Ito's colours, whose order of lightness also differs in print; their yellow is lost on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
PUBLISHED = "0.45"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKERS = "osD^vPX*"
_LEGEND_INSIDE, _LONG_LABEL = 5, 44
_SHORTEST_TICK = 0.035  # of the axis: labels of ticks that are closer would touch
_METADATA: dict[str, dict[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


class Style(NamedTuple):
    """How one row is drawn in all figures of a page."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


def style_of(index: int) -> Style:
    """Style of the index-th row; 28 differ."""
    dash = _DASHES[index // len(COLOURS) % len(_DASHES)]
    return Style(COLOURS[index % len(COLOURS)], dash, _MARKERS[index % len(_MARKERS)])


def new_figure(width: float = 6.8, height: float = 4.4) -> Figure:
    """An empty figure of a size in inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure; existing files are replaced, parent folders made.

    Args:
        figure: what to write.
        path: name.png for a PNG; any other name, which may hold a dot, for name.png and name.svg.

    Returns:
        Path of the PNG.
    """
    path = Path(path)
    alone = path.suffix == ".png"
    name = path.stem if alone else path.name
    for kind in ("png",) if alone else ("svg", "png"):
        content = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "facegraph"}):
            figure.savefig(content, format=kind, metadata=_METADATA[kind])
        write_atomically(path.with_name(f"{name}.{kind}"), content.getvalue())
    return path.with_name(f"{name}.png")


def place_legend(axes: Axes, inside: Literal["best", "upper left", "upper right", "lower right"] = "best") -> None:
    """A legend within the axes for a few entries, beside them for many or long ones; none without entries."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    if len(labels) > _LEGEND_INSIDE or max(map(len, labels)) > _LONG_LABEL:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize="small")
    else:
        axes.legend(handles, labels, loc=inside, fontsize="small")


def value_axis(axes: Axes, values: np.ndarray) -> None:
    """Put the ticks of the x axis where the swept values are; logarithmic where these span a factor of ten or more."""
    ticks = np.unique(values[np.isfinite(values)])
    if not len(ticks):
        return
    logarithmic = len(ticks) > 2 and ticks[0] > 0 and ticks[-1] / ticks[0] >= 10
    if logarithmic:
        axes.set_xscale("log")
    places = np.log10(ticks) if logarithmic else ticks
    span = max(places[-1] - places[0], 1e-12)
    shown: list[int] = []
    for i, place in enumerate(places):
        if not shown or (place - places[shown[-1]]) / span > _SHORTEST_TICK:
            shown.append(i)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks[shown])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks[shown]])


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers alone."""
    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))


def plain_numbers(axis: Axis) -> None:
    """Numbers of a logarithmic axis as people write them, at 1, 2 and 5 of each decade."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")


def of_normaliser(name: str) -> str:
    """Unit of an error for the label of an axis.

    >>> of_normaliser("inter_ocular")
    '% of the inter-ocular distance'
    """
    words = {"box": "box size", "inter_ocular": "inter-ocular distance", "inter_pupil": "inter-pupil distance"}
    return f"% of the {words.get(name, f'distance {name}')}"


def draw_face(axes: Axes, shape: np.ndarray, scheme: LandmarkScheme | None, dash: str = "-") -> None:
    """The grey lines of a face (N, 2), drawn as in an image with y downwards; none without a scheme of N landmarks."""
    for contour in scheme.contours if scheme is not None and scheme.num_landmarks == len(shape) else ():
        indices = [*contour.indices, contour.indices[0]] if contour.closed else list(contour.indices)
        axes.plot(*shape[indices].T, color="0.75", linewidth=1.0, linestyle=dash, zorder=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.margins(0.06)
    axes.set_axis_off()
