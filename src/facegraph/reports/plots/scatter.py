"""Accuracy against cost of several models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from facegraph.errors import DataError
from facegraph.reports.plots.drawing import COLOURS, PUBLISHED, new_figure, plain_numbers, style_of, write_figure

_LARGEST, _SMALLEST = 900.0, 30.0  # area of a mark, square points
# another one each time the colours begin again, with what makes their areas equal
_SHAPES = (("o", 1.0), ("s", np.pi / 4), ("D", np.pi / 8), ("^", np.pi / 2))
_LOGARITHMIC = 5.0  # cheap models would crowd at the end of an even axis
_GAPS = (2.0, 10.0, 20.0, 32.0, 46.0, 62.0, 80.0)  # between a mark and its label, points
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7))


@dataclass(frozen=True)
class Model:
    """A mark of the cost figure: cost and score in the units to print; params in M, None if unknown."""

    label: str
    cost: float
    score: float
    params: float | None = None
    low: float | None = None
    high: float | None = None
    published: bool = False


def plot_costs(models: Sequence[Model], cost_label: str, score_label: str, path: Path, title: str = "") -> Path:
    """Score against cost, a mark per model whose area grows with the number of parameters; better is lower left.

    Args:
        models: with a finite cost above zero and a finite score.
        cost_label: of the x axis.
        score_label: of the y axis.
        path: as `drawing.write_figure` takes it.
        title: above the figure.

    Returns:
        Path of the PNG.

    Raises:
        DataError: no model.
    """
    if not models:
        raise DataError(f"there is nothing to draw: no model with {cost_label}. Pass at least one with a result.")
    figure = new_figure(7.6, 5.0)
    axes = figure.add_subplot()
    largest = max((m.params for m in models if m.params), default=1.0)
    areas = [max(_SMALLEST, _LARGEST * (m.params or 0.0) / largest) for m in models]
    for i, (model, area) in enumerate(zip(models, areas, strict=True)):
        _draw_model(axes, model, area, i)
    costs = [m.cost for m in models]
    if min(costs) > 0 and max(costs) / min(costs) > _LOGARITHMIC:
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
    axes.margins(x=0.18, y=0.18)
    axes.grid(color="0.9")
    axes.set(xlabel=cost_label, ylabel=score_label)
    sized = f"area: parameters, the largest {largest:.1f} M" if any(m.params for m in models) else ""
    axes.set_title("\n".join(filter(None, (title, sized))), fontsize=11)
    _label_apart(figure, axes, models, np.sqrt(areas) / 2)
    return write_figure(figure, path)


def _draw_model(axes: Axes, model: Model, area: float, index: int) -> None:
    """See-through, the smaller above the larger, with a dot in the middle: models of equal cost overlap."""
    colour = PUBLISHED if model.published else style_of(index).colour
    shape, share = ("o", 1.0) if model.published else _SHAPES[index // len(COLOURS) % len(_SHAPES)]
    face = "none" if model.published else to_rgba(colour, 0.5)
    axes.scatter(
        model.cost, model.score, s=share * area, marker=shape, facecolor=face, edgecolor=colour, linewidth=1.2,
        zorder=3 - 0.9 * area / _LARGEST,
    )  # fmt: skip
    axes.plot(model.cost, model.score, ".", color=colour, markersize=3, zorder=5)
    if model.low is not None and model.high is not None:
        axes.vlines(model.cost, model.low, model.high, color=colour, linewidth=1.2, zorder=4)


def _label_apart(figure: Figure, axes: Axes, models: Sequence[Model], radii: np.ndarray) -> None:
    """Write each label at the nearest place beside its mark that no mark, bar, label or edge of the axes takes.

    A thin line leads to a label that is not next to its mark. radii: (K,) of the marks in points.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # places in px hold only as long as the axes stay where they are
    at, pixels = axes.transData, figure.dpi / 72
    points = at.transform([(m.cost, m.score) for m in models])
    taken = [Bbox([p - r * pixels, p + r * pixels]) for p, r in zip(points, radii, strict=True)]
    ends = [(m.cost, m.low, m.high) for m in models if m.low is not None and m.high is not None]
    bars = [at.transform([(cost, low), (cost, high)]) for cost, low, high in ends]
    taken += [Bbox([low - pixels, high + pixels]) for low, high in bars]
    frame = axes.get_window_extent(canvas.get_renderer())
    for i in np.argsort(-points[:, 1]):
        model, point = models[i], points[i]
        text = axes.annotate(
            f"{model.label} (published)" if model.published else model.label, (model.cost, model.score), (0, 0),
            fontsize=8, textcoords="offset points", va="center",
        )  # fmt: skip
        size = text.get_window_extent(canvas.get_renderer())

        def hidden(box: Bbox) -> float:
            outside = box.width * box.height - _overlap(box, frame)
            return round(sum(_overlap(box, other) for other in taken) + 2 * outside, 6)

        box = min(_places(point, radii[i], size, pixels), key=hidden)
        text.set_position(((box.x0 - point[0]) / pixels, ((box.y0 + box.y1) / 2 - point[1]) / pixels))
        taken.append(box)
        nearest = point.clip(box.min, box.max)
        if np.linalg.norm(nearest - point) > (radii[i] + 8) * pixels:
            x, y = at.inverted().transform([point, nearest]).T
            # unlike plot, this leaves the limits of the axes alone
            axes.add_artist(Line2D(x, y, color="0.6", linewidth=0.7, zorder=1))


def _places(point: np.ndarray, radius: float, size: Bbox, pixels: float) -> Iterator[Bbox]:
    """Boxes of a label beside a mark, in px, the nearest first. radius: of the mark in points."""
    for gap in _GAPS:
        reach = (radius + gap) * pixels
        for x, y in _SIDES:
            left = point[0] + x * reach - (0.0 if x > 0 else size.width if x < 0 else size.width / 2)
            middle = point[1] + y * (reach + size.height / 2)
            yield Bbox.from_bounds(left, middle - size.height / 2, size.width, size.height)


def _overlap(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return 0.0 if shared is None else float(shared.width * shared.height)
