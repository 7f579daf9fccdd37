"""What figures of several rows share: colours that colour-blind readers tell apart, legends, PNG and SVG files.

Figures are built without pyplot, so nothing is kept between calls, and written so that equal numbers give equal files.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from facegraph.files.atomic import write_atomically
from facegraph.geometry.completion import complete_shapes
from facegraph.geometry.procrustes import procrustes
from facegraph.landmarks import LandmarkScheme

DPI = 150
# Okabe and Ito's colours, whose order of lightness also differs in print; their yellow is lost on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
PUBLISHED = "0.45"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKERS = "osD^vPX*"
_LEGEND_INSIDE = 5
_SHORTEST_TICK = 0.035  # of the axis: labels of ticks that are closer would touch


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
    """Write <path>.png and <path>.svg and return the PNG; existing ones are replaced, parent folders made.

    Args:
        path: without suffix.
    """
    path = Path(path)
    # a name may hold a dot (0.5), so the suffix is added, not exchanged
    png, svg = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg"))
    shapes = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "facegraph"}):
        figure.savefig(shapes, format="svg", metadata={"Date": None, "Creator": None})
    write_picture(figure, png)
    write_atomically(svg, shapes.getvalue())
    return png


def write_picture(figure: Figure, path: Path) -> Path:
    """Write a PNG and return its path; an existing one is replaced, parent folders made.

    Args:
        path: with its suffix.
    """
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", metadata={"Software": None})
    write_atomically(Path(path), pixels.getvalue())
    return Path(path)


def place_legend(axes: Axes, inside: Literal["best", "upper left", "upper right", "lower right"] = "best") -> None:
    """A legend within the axes for a few entries, beside them for many or long ones; none without entries."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    if len(labels) > _LEGEND_INSIDE or max(map(len, labels)) > 44:
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


def of_normaliser(name: str) -> str:
    """Unit of an error for the label of an axis.

    >>> of_normaliser("inter_ocular")
    '% of the inter-ocular distance'
    """
    words = {"box": "box size", "inter_ocular": "inter-ocular distance", "inter_pupil": "inter-pupil distance"}
    return f"% of the {words.get(name, f'distance {name}')}"


def mean_face(landmarks: np.ndarray) -> np.ndarray:
    """Mean shape of faces after each was moved, scaled and turned onto it (Procrustes alignment).

    Args:
        landmarks: (M, N, 2) any unit, y downwards; NaN where a face has no landmark.

    Returns:
        (N, 2) centred at zero, root of the summed squares 1; upright as the average face is.
    """
    return procrustes(complete_shapes(np.asarray(landmarks, dtype=np.float64)))[1]


def draw_face(axes: Axes, shape: np.ndarray, scheme: LandmarkScheme | None) -> None:
    """The grey lines of a face (N, 2), y downwards, on axes without ticks; without a scheme there are no lines."""
    for contour in scheme.contours if scheme is not None and scheme.num_landmarks == len(shape) else ():
        indices = [*contour.indices, contour.indices[0]] if contour.closed else list(contour.indices)
        axes.plot(*shape[indices].T, color="0.75", linewidth=1.0, zorder=1)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.margins(0.06)
    axes.set_axis_off()
