"""Accuracy against cost of several models, as <path>.png and <path>.svg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from facegraph.errors import DataError
from facegraph.reports.plots.drawing import COLOURS, PUBLISHED, new_figure, style_of, write_figure

_LARGEST = 900.0  # area of a mark, square points
_SMALLEST = 30.0
_BAR = 1.0  # half the width of an interval's line, points
# another one each time the colours begin again, with what makes their areas equal
_SHAPES = (("o", 1.0), ("s", np.pi / 4), ("D", np.pi / 8), ("^", np.pi / 2))
_LOGARITHMIC = 5.0  # cheap models would crowd at the end of an even axis


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
        models: with a finite cost above zero and a finite score. path: without suffix.

    Returns:
        path of the PNG.

    Raises:
        DataError: no model.
    """
    if not models:
        raise DataError(f"there is nothing to draw: no model with {cost_label}. Pass at least one with a result.")
    figure = new_figure(7.6, 5.0)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = max((m.params for m in models if m.params), default=1.0)
    areas = [_area(m.params, largest) for m in models]
    for i, (model, area) in enumerate(zip(models, areas, strict=True)):
        _draw_model(axes, model, area, i)
    costs = np.array([m.cost for m in models])
    if costs.min() > 0 and costs.max() / costs.min() > _LOGARITHMIC:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
    axes.margins(x=0.18, y=0.18)
    axes.grid(color="0.9")
    axes.set(xlabel=cost_label, ylabel=score_label)
    sized = f"area: parameters, the largest {largest:.1f} M" if any(m.params for m in models) else ""
    axes.set_title("\n".join(filter(None, (title, sized))), fontsize=11)
    names = [f"{m.label} (published)" if m.published else m.label for m in models]
    bars = np.array([(m.low, m.high) if m.low is not None and m.high is not None else (np.nan,) * 2 for m in models])
    _label_apart(axes, costs, np.array([m.score for m in models]), np.sqrt(areas) / 2, names, bars)
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


def _area(params: float | None, largest: float) -> float:
    return max(_SMALLEST, _LARGEST * params / largest) if params else _SMALLEST


def _label_apart(
    axes: Axes, x: np.ndarray, y: np.ndarray, radii: np.ndarray, labels: Sequence[str], bars: np.ndarray
) -> None:
    """Write each label at the nearest place beside its mark that no mark, bar, label or edge of the axes takes.

    bars: (K, 2) ends on the y axis, NaN where a mark has none.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    figure.set_layout_engine("none")  # places in px hold only as long as the axes stay where they are
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    points = axes.transData.transform(np.stack([x, y], axis=-1))
    pixels = figure.dpi / 72
    taken = [_square(p, r * pixels) for p, r in zip(points, radii, strict=True)]
    for place, ends in zip(x, bars, strict=True):
        if np.isfinite(ends).all():
            low, high = axes.transData.transform([(place, end) for end in ends])
            taken.append(Bbox.from_extents(low[0] - _BAR * pixels, low[1], high[0] + _BAR * pixels, high[1]))
    frame = axes.get_window_extent(renderer)
    for i in np.argsort(-points[:, 1]):
        text = axes.annotate(labels[i], (x[i], y[i]), (0, 0), fontsize=8, textcoords="offset points", va="center")
        size = text.get_window_extent(renderer)
        best: tuple[float, tuple[float, float], Bbox] | None = None
        for dx, dy in _places(radii[i], size.width / pixels, size.height / pixels):
            left, bottom = points[i][0] + dx * pixels, points[i][1] + dy * pixels - size.height / 2
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            hidden = sum(_overlap(box, other) for other in taken) + 2 * (
                size.width * size.height - _overlap(box, frame)
            )
            if best is None or hidden < best[0]:
                best = (hidden, (dx, dy), box)
            if hidden <= 1e-6:
                break
        assert best is not None
        text.set_position(best[1])
        taken.append(best[2])
        _leader(axes, (x[i], y[i]), best, radii[i], pixels, points[i])


def _places(radius: float, width: float, height: float) -> list[tuple[float, float]]:
    """Offsets in points of a label's left middle from its mark, the nearest first."""
    places = []
    for gap in (2.0, 10.0, 20.0, 32.0, 46.0, 62.0, 80.0):
        reach = radius + gap
        across, up = reach, reach + height / 2
        places += [(across, 0.0), (-across - width, 0.0), (-width / 2, up), (-width / 2, -up)]
        places += [(across * 0.7, up * 0.7), (across * 0.7, -up * 0.7)]
        places += [(-across * 0.7 - width, up * 0.7), (-across * 0.7 - width, -up * 0.7)]
    return places


def _leader(
    axes: Axes,
    mark: tuple[float, float],
    place: tuple[float, tuple[float, float], Bbox],
    radius: float,
    pixels: float,
    point: np.ndarray,
) -> None:
    """A thin line to a label that is not next to its mark."""
    box = place[2]
    nearest = np.array([np.clip(point[0], box.x0, box.x1), np.clip(point[1], box.y0, box.y1)])
    if np.linalg.norm(nearest - point) > (radius + 8) * pixels:
        end = axes.transData.inverted().transform(nearest)
        line = Line2D([mark[0], end[0]], [mark[1], end[1]], color="0.6", linewidth=0.7, zorder=1)
        axes.add_artist(line)  # unlike plot, this leaves the limits of the axes alone


def _square(centre: np.ndarray, radius: float) -> Bbox:
    return Bbox.from_bounds(centre[0] - radius, centre[1] - radius, 2 * radius, 2 * radius)


def _overlap(a: Bbox, b: Bbox) -> float:
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(width * height) if width > 0 and height > 0 else 0.0


def _plain_numbers(axis: Axis) -> None:
    """Numbers of a logarithmic axis as people write them, at 1, 2 and 5 of each decade."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
