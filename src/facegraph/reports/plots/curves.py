"""Curves of one row or several: error distributions, error retention, a score against a swept value, training.

Convention: errors come as fractions of the normalising distance and are shown in per cent; what a cell of a table
prints (`Curve.y`) is shown in its printed unit. Paths are as `drawing.write_figure` takes them; every function returns
that of the PNG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from facegraph.errors import DataError
from facegraph.metrics.confidence import error_retention, failure_auroc, retention_area
from facegraph.metrics.functional import auc, failure_rate
from facegraph.reports.plots.drawing import (
    PUBLISHED,
    Style,
    new_figure,
    of_normaliser,
    place_legend,
    plain_numbers,
    style_of,
    value_axis,
    whole_numbers,
    write_figure,
)

_ORACLE, _RANDOM = (0, (1, 1.5)), (0, (6, 3))


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    Args:
        x, y: (P,) the swept value and the score in the unit to print; NaN where there is no score yet. An x that is NaN
            everywhere makes a level line (a row without a swept value, drawn across).
        low, high: (P,) ends of the error bars.
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


def plot_ced(errors: Mapping[str, np.ndarray], threshold: float, path: Path, normaliser: str, title: str = "") -> Path:
    """Cumulative error distribution of each row from 0 to threshold, with AUC and FR in the legend.

    Args:
        errors: label -> (M,) per-face errors as fractions; several seeds may follow each other.
        threshold: right end of the axis as a fraction.
        path: of the figure.
        normaliser: name of the distance.
        title: "" for one that names the threshold.

    Raises:
        DataError: no label, or a label without errors.
        ConfigError: threshold is not above zero.
    """
    _refuse_nothing(errors, "error distributions")
    figure = new_figure(8.4 if len(errors) > 5 else 6.8)
    axes = figure.add_subplot()
    for i, (label, values) in enumerate(errors.items()):
        area, failures = 100 * auc(values, threshold), 100 * failure_rate(values, threshold)
        # a step up by 1/M at each error; NaN sorts to the end and never becomes a step inside the axis
        x = np.concatenate([[0.0], np.sort(values)])
        y = np.arange(len(x)) / len(values)
        inside = x <= threshold
        x, y = np.append(x[inside], threshold), np.append(y[inside], y[inside][-1])
        colour, dash, _ = style_of(i)
        label = f"{label}: AUC {area:.2f}, FR {failures:.2f}"
        axes.step(100 * x, 100 * y, where="post", label=label, color=colour, linestyle=dash, linewidth=1.3)
    axes.set(xlim=(0, 100 * threshold), ylim=(0, 101))
    axes.set(xlabel=f"Error [{of_normaliser(normaliser)}]", ylabel="Faces with at most this error [%]")
    axes.set_title(title or f"Cumulative error distribution up to {100 * threshold:g} %", fontsize=11)
    axes.grid(color="0.9")
    place_legend(axes, "lower right")
    return write_figure(figure, path)


def plot_retention(
    faces: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Sequence[float], path: Path, normaliser: str
) -> Path:
    """What a confidence is worth: the error of the faces that are kept when the least sure ones are put aside.

    Each curve lies between that of the faces in the order of their error and the level of random order. The legend has
    the area under it and the AUROC of finding faces with an error above each threshold; a threshold that all faces
    keep, or none, is left out.

    Args:
        faces: label -> per-face errors (M,) as fractions and confidences (M,), higher is surer.
        thresholds: of a failure, fractions.
        path: of the figure.
        normaliser: name of the distance.

    Raises:
        DataError: no label, or a label without faces.
        ConfigError: a threshold is not above zero.
    """
    _refuse_nothing(faces, "confidences")
    figure = new_figure(6.8, 4.6)
    axes = figure.add_subplot()
    for i, (label, (errors, confidence)) in enumerate(faces.items()):
        colour = style_of(i).colour
        share, kept = error_retention(errors, confidence)
        best = error_retention(errors, -np.asarray(errors))[1]
        text = f"{label}: area {100 * retention_area(errors, confidence):.2f} %"
        found = {t: failure_auroc(errors, confidence, t) for t in thresholds}
        text += "".join(f", above {100 * t:g} %: AUROC {area:.2f}" for t, area in found.items() if np.isfinite(area))
        once = ("in the order of the true error", "in random order") if i == 0 else (None, None)
        axes.plot(100 * share, 100 * kept, color=colour, linewidth=1.5, label=text)
        axes.plot(100 * share, 100 * best, color=colour, linestyle=_ORACLE, linewidth=1.0, label=once[0])
        axes.axhline(100 * float(np.mean(errors)), color=colour, linestyle=_RANDOM, linewidth=1.0, label=once[1])
    axes.set(xlim=(0, 100), xlabel="Faces kept, the surest first [%]")
    axes.set_ylim(bottom=0)
    axes.set(ylabel=f"Mean error of the kept faces [{of_normaliser(normaliser)}]")
    axes.set_title("Error against the share of faces kept", fontsize=11)
    axes.grid(color="0.9")
    axes.legend(loc="lower right", fontsize="small")
    return write_figure(figure, path)


def plot_curves(
    ours: Sequence[Curve], published: Sequence[Curve], x_label: str, y_label: str, path: Path, title: str = ""
) -> Path:
    """A score against a swept value, a line per curve, with what was published beside it.

    Both share the axes where their scores lie close together. Where another recipe moved ours far away, the published
    curves get a panel of their own, so that the course of both can be read.

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
    colour, dash, label = style.colour, style.dash, curve.label
    if curve.published:
        colour, dash, label = PUBLISHED, (0, (3, 2)), f"{label}, published"
    bars = None if curve.low is None or curve.high is None else np.stack([curve.low, curve.high])
    if curve.level:
        axes.axhline(float(np.nanmean(curve.y)), color=colour, linestyle=dash, linewidth=1.2, label=label)
        if bars is not None and np.isfinite(bars).any(axis=1).all():
            axes.axhspan(*np.nanmean(bars, axis=1), color=colour, alpha=0.12, lw=0)
        return
    order = np.argsort(curve.x, kind="stable")
    order = order[np.isfinite(curve.y[order]) & np.isfinite(curve.x[order])]
    x, y = curve.x[order], curve.y[order]
    if bars is not None:
        bars = np.nan_to_num((bars[:, order] - y) * np.array([[-1.0], [1.0]])).clip(min=0.0)
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
        curves: label -> (epochs (E,), val NME (E,) as fractions) of each seed.
        path: of the figure.

    Raises:
        DataError: no curve with a point.
    """
    known = {label: [c for c in seeds if len(c[0])] for label, seeds in curves.items()}
    scores = [nme for seeds in known.values() for _, nme in seeds]
    _refuse_nothing(scores, "training curves")
    figure = new_figure(8.4 if len(known) > 5 else 6.8)
    axes = figure.add_subplot()
    for i, (label, seeds) in enumerate(known.items()):
        colour, dash, marker = style_of(i)
        name: str | None = label if len(seeds) == 1 else f"{label}, {len(seeds)} seeds"
        for epochs, nme in seeds:
            axes.plot(
                epochs, 100 * nme, color=colour, linestyle=dash, linewidth=1.1, alpha=0.9, label=name,
                marker=marker if len(epochs) == 1 else "",
            )  # fmt: skip
            name = None
    low, high = np.nanmin(np.concatenate(scores)), np.nanmax(np.concatenate(scores))
    if low > 0 and high / low > 4:
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.set(xlabel="Finished epochs", ylabel="NME on validation faces [%]")
    axes.set_title("Training: NME on validation faces cut from the training split", fontsize=11)
    axes.grid(color="0.9", which="both")
    place_legend(axes, "upper right")
    return write_figure(figure, path)


def _refuse_nothing(entries: Mapping[str, object] | Sequence[object], what: str) -> None:
    if not len(entries):
        raise DataError(f"there is nothing to draw: no {what}. Pass at least one row that has a result.")
