"""Curves of several rows: error distributions, a score against a swept value, training.

Convention: errors come as fractions of the normalising distance and are shown in per cent; what a cell of a table
prints (`Curve.y`) is shown in its printed unit. All functions write <path>.png and <path>.svg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from facegraph.errors import DataError
from facegraph.metrics.functional import auc, failure_rate
from facegraph.reports.plots.drawing import (
    PUBLISHED,
    Style,
    new_figure,
    of_normaliser,
    place_legend,
    style_of,
    value_axis,
    write_figure,
)


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    x, y: (P,) the swept value and the score in the unit to print; NaN where there is no score yet. An x that is NaN
    everywhere makes a level line (a row without a swept value, drawn across). low, high: (P,) ends of the error bars.
    published: drawn without bars, in grey dashes of the same marker.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    published: bool = False

    @property
    def level(self) -> bool:
        return not np.isfinite(self.x).any()


def plot_ceds(errors: Mapping[str, np.ndarray], threshold: float, path: Path, normaliser: str, title: str = "") -> Path:
    """Cumulative error distribution of each row from 0 to threshold.

    Args:
        errors: label -> (M,) per-face errors as fractions; several seeds may follow each other. Kept order.
        threshold: right end of the axis as a fraction. path: without suffix. normaliser: name of the distance.

    Returns:
        path of the PNG.

    Raises:
        DataError: no label, or a label without errors. ConfigError: threshold is not above zero.
    """
    _refuse_nothing(errors, "error distributions")
    figure = new_figure(8.4 if len(errors) > 5 else 6.8)
    axes = figure.add_subplot()
    for i, (label, values) in enumerate(errors.items()):
        area, failures = 100 * auc(values, threshold), 100 * failure_rate(values, threshold)
        # NaN sorts to the end and never becomes a step inside the axis
        x = np.concatenate([[0.0], np.sort(values)])
        y = np.arange(len(x)) / len(values)
        inside = x <= threshold
        x, y = np.append(x[inside], threshold), np.append(y[inside], y[inside][-1])
        style = style_of(i)
        label = f"{label}: AUC {area:.1f}, FR {failures:.1f}"
        axes.step(100 * x, 100 * y, where="post", label=label, color=style.colour, linestyle=style.dash, linewidth=1.3)
    axes.set(xlim=(0, 100 * threshold), ylim=(0, 101))
    axes.set(xlabel=f"Error [{of_normaliser(normaliser)}]", ylabel="Faces with at most this error [%]")
    axes.set_title(title or f"Cumulative error distribution up to {100 * threshold:g} %", fontsize=11)
    axes.grid(color="0.9")
    place_legend(axes, "lower right")
    return write_figure(figure, path)


def plot_curves(
    ours: Sequence[Curve], published: Sequence[Curve], x_label: str, y_label: str, path: Path, title: str = ""
) -> Path:
    """A score against a swept value, a line per curve, with what was published beside it.

    Both share the axes where their scores lie close together. Where another recipe moved ours far away, the published
    curves get a panel of their own, so that the course of both can be read.

    Args:
        ours, published: at least one curve in all. path: without suffix.

    Returns:
        path of the PNG.

    Raises:
        DataError: nothing to draw.
    """
    drawn, printed = ([c for c in curves if np.isfinite(c.y).any()] for curves in (ours, published))
    _refuse_nothing([*drawn, *printed], f"curves over {x_label}")
    labels = list(dict.fromkeys(curve.label for curve in (*ours, *published)))
    styles = {label: style_of(i) for i, label in enumerate(labels)}
    panels = [drawn, printed] if _apart(drawn, printed) else [[*drawn, *printed]]
    figure = new_figure((7.6 if len(panels) == 1 else 10.4) + (1.6 if len(drawn) + len(printed) > 5 else 0.0))
    for i, curves in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        value_axis(axes, np.concatenate([c.x for c in (*drawn, *printed)]))
        for curve in curves:
            _draw(axes, curve, styles[curve.label])
        axes.grid(color="0.9")
        axes.set(xlabel=x_label, ylabel=y_label)
        if len(panels) > 1:
            axes.set_title(("facegraph", "published, with its own recipe")[i], fontsize=10)
        place_legend(axes)
    if title:
        figure.suptitle(title, fontsize=11)
    return write_figure(figure, path)


def _draw(axes: Axes, curve: Curve, style: Style) -> None:
    colour = PUBLISHED if curve.published else style.colour
    label = f"{curve.label}, published" if curve.published else curve.label
    dash = (0, (3, 2)) if curve.published else style.dash
    if curve.level:
        axes.axhline(float(np.nanmean(curve.y)), color=colour, linestyle=dash, linewidth=1.2, label=label)
        low, high = curve.low, curve.high
        if low is not None and high is not None and np.isfinite(low).any() and np.isfinite(high).any():
            axes.axhspan(float(np.nanmean(low)), float(np.nanmean(high)), color=colour, alpha=0.12, lw=0)
        return
    order = np.argsort(curve.x, kind="stable")
    order = order[np.isfinite(curve.y[order]) & np.isfinite(curve.x[order])]
    x, y = curve.x[order], curve.y[order]
    bars = None
    if curve.low is not None and curve.high is not None:
        bars = np.nan_to_num(np.stack([y - curve.low[order], curve.high[order] - y]).clip(min=0.0))
    axes.errorbar(
        x, y, bars, label=label, color=colour, linestyle=dash, linewidth=1.3, marker=style.marker, markersize=5,
        markerfacecolor="white" if curve.published else colour, capsize=2.5, elinewidth=0.9,
    )  # fmt: skip


def _apart(ours: Sequence[Curve], published: Sequence[Curve]) -> bool:
    """Whether common axes would flatten both families of curves."""
    if not ours or not published:
        return False
    spans = [(min(np.nanmin(c.y) for c in cs), max(np.nanmax(c.y) for c in cs)) for cs in (ours, published)]
    common = max(high for _, high in spans) - min(low for low, _ in spans)
    return bool(common > 3.0 * max(high - low for low, high in spans))


def plot_training(curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], path: Path) -> Path:
    """Validation error per epoch: a thin line per seed, all of a row in one colour.

    Args:
        curves: label -> (epochs (E,), val NME (E,) as fractions) of each seed. path: without suffix.

    Returns:
        path of the PNG.

    Raises:
        DataError: no curve with a point.
    """
    known = {label: [c for c in seeds if len(c[0])] for label, seeds in curves.items()}
    _refuse_nothing([c for seeds in known.values() for c in seeds], "training curves")
    figure = new_figure(8.4 if len(known) > 5 else 6.8)
    axes = figure.add_subplot()
    for i, (label, seeds) in enumerate(known.items()):
        style = style_of(i)
        for number, (epochs, scores) in enumerate(seeds):
            alone = style.marker if len(epochs) == 1 else ""
            name = (label if len(seeds) == 1 else f"{label}, {len(seeds)} seeds") if number == 0 else None
            axes.plot(
                epochs, 100 * scores, color=style.colour, linestyle=style.dash, linewidth=1.1, alpha=0.9, label=name,
                marker=alone,
            )  # fmt: skip
    lows, highs = zip(*((np.nanmin(y), np.nanmax(y)) for seeds in known.values() for _, y in seeds), strict=True)
    if min(lows) > 0 and max(highs) / min(lows) > 4:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
    axes.set(xlabel="Finished epochs", ylabel="NME on validation faces [%]")
    axes.set_title("Training: NME on validation faces cut from the training split", fontsize=11)
    axes.grid(color="0.9", which="both")
    place_legend(axes, "upper right")
    return write_figure(figure, path)


def _refuse_nothing(entries: Mapping[str, np.ndarray] | Sequence[object], what: str) -> None:
    if not len(entries):
        raise DataError(f"there is nothing to draw: no {what}. Pass at least one row that has a result.")
