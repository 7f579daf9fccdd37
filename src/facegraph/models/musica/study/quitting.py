"""What quitting early costs and saves, and how well a model's predicted error is calibrated: figure and table.

Convention: errors are fractions of the data set's first normaliser unless they are said to be in the model's own unit,
that of its training loss, as its predicted errors and thresholds are. All are shown in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from rich.table import Table

from facegraph.errors import DataError
from facegraph.models.musica.settings import ALWAYS
from facegraph.reports.plots.drawing import COLOURS, new_figure, of_normaliser, write_figure

_BINS = 10


@dataclass(frozen=True)
class QuitPoint:
    """One threshold, on the test faces.

    Attributes:
        threshold: predicted error, in the model's own unit, below which a face quits; None: none does.
        nme, val_nme: mean error of test and of validation faces; val_nme None without any.
        iterations, macs: means over faces, of iterations and of multiply-adds.
        shares: (T,) share of faces whose last iteration was the first, second, ...
        chosen: by how much the NME of the validation faces may get worse for this threshold to be the one of the fewest
            iterations, such as "1 %, 2 %"; empty if it is never that.
    """

    threshold: float | None
    nme: float
    val_nme: float | None
    iterations: float
    macs: float
    shares: tuple[float, ...]
    chosen: str = ""


@dataclass(frozen=True)
class RealRun:
    """A threshold with which the model was really run.

    Attributes:
        nme, iterations: over the test faces.
        differing: faces that ran another number of iterations than the record says.
        seconds: batch size -> processor time of one face.
    """

    threshold: float | None
    nme: float
    iterations: float
    differing: int
    seconds: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predicted against true error of faces that ran all iterations.

    Attributes:
        predicted, own: (M,) predicted and true error after the last iteration, in the model's own unit.
        rank_correlation: Spearman's of the predicted error and the NME, after each iteration.
        auroc: failure threshold of the NME -> area under the ROC curve of finding failures by the predicted error of
            the last iteration; NaN without failures.
    """

    predicted: np.ndarray
    own: np.ndarray
    rank_correlation: tuple[float, ...]
    auroc: Mapping[float, float]


def threshold_text(threshold: float | None) -> str:
    """A threshold in per cent.

    >>> threshold_text(0.0512), threshold_text(None), threshold_text(1e9)
    ('5.12', 'never', 'always')
    """
    if threshold is None:
        return "never"
    return "always" if threshold >= ALWAYS else f"{100 * threshold:.3g}"


def plot_quitting(
    points: Sequence[QuitPoint],
    fixed: Sequence[QuitPoint],
    real: Sequence[RealRun],
    calibration: Calibration,
    normaliser: str,
    path: Path,
) -> Path:
    """NME against mean iterations and against multiply-adds, and predicted against true error in the model's unit.

    Args:
        points: by threshold.
        fixed: every face stopped after 1, 2, ..., T iterations, whatever it predicts.
        real: thresholds that were really run.
        normaliser: name of the distance.
        path: without suffix.

    Returns:
        path of the PNG.

    Raises:
        DataError: no point.
    """
    if not points:
        raise DataError("there is nothing to draw: no threshold. Pass at least one with its result.")
    figure = new_figure(13.6, 4.4)
    first, second, third = figure.subplots(1, 3)
    cost_of = {p.threshold: p.macs for p in points}
    marks = [(r.iterations, cost_of.get(r.threshold, np.nan), r.nme) for r in real]
    _draw_tradeoff(first, [p.iterations for p in points], points, [p.iterations for p in fixed], fixed)
    _draw_tradeoff(second, [p.macs / 1e6 for p in points], points, [p.macs / 1e6 for p in fixed], fixed)
    unit = of_normaliser(normaliser)
    for axes, column, factor, label in ((first, 0, 1.0, "Iterations, mean over faces"),
                                        (second, 1, 1e-6, "Multiply-adds, mean over faces [M]")):  # fmt: skip
        axes.plot(
            [factor * m[column] for m in marks], [100 * m[2] for m in marks], "x", color="0.1", markersize=8,
            markeredgewidth=1.6, label="really run", zorder=5,
        )  # fmt: skip
        axes.set(xlabel=label, ylabel=f"NME of test faces [{unit}]")
        axes.grid(color="0.9")
    first.legend(fontsize="small")
    _draw_calibration(third, calibration)
    return write_figure(figure, path)


def _draw_tradeoff(
    axes: Axes, x: Sequence[float], points: Sequence[QuitPoint], at: Sequence[float], fixed: Sequence[QuitPoint]
) -> None:
    order = np.argsort(x, kind="stable")
    y = [100 * p.nme for p in points]
    axes.plot(
        np.array(x)[order], np.array(y)[order], "-o", color=COLOURS[0], linewidth=1.3, markersize=3.5,
        label="by predicted error",
    )  # fmt: skip
    axes.plot(
        at, [100 * p.nme for p in fixed], "--s", color="0.5", linewidth=1.0, markersize=6, markerfacecolor="white",
        label="same number for all faces", zorder=1,
    )  # fmt: skip
    chosen = [i for i, p in enumerate(points) if p.chosen]
    if chosen:
        axes.plot(
            [x[i] for i in chosen], [y[i] for i in chosen], "o", color=COLOURS[1], markersize=8, zorder=4,
            label="chosen on validation faces",
        )  # fmt: skip


def _draw_calibration(axes: Axes, calibration: Calibration) -> None:
    predicted, true = calibration.predicted, calibration.own
    known = np.isfinite(predicted) & np.isfinite(true)
    # a predicted error may be negative, which a logarithmic axis has no place for
    floor = 1e-3
    x, y = (100 * np.maximum(values[known], floor) for values in (predicted, true))
    axes.scatter(x, y, s=7, color=COLOURS[0], alpha=0.4, linewidths=0)
    if len(x):
        means = np.array([[part[:, 0].mean(), part[:, 1].mean()] for part in binned(x, y, _BINS)])
        axes.plot(*means.T, "-o", color=COLOURS[1], markersize=5, label=f"means of {len(means)} equal groups")
        ends = [min(x.min(), y.min()) * 0.9, max(x.max(), y.max()) * 1.1]
        axes.plot(ends, ends, color="0.3", linewidth=0.9, label="predicted = true")
        axes.set(xlim=ends, ylim=ends)
    axes.set(xscale="log", yscale="log", xlabel="Predicted error [%]", ylabel="Error as the training loss has it [%]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    areas = ", ".join(f"{area:.3f} at {100 * limit:g} %" for limit, area in calibration.auroc.items())
    axes.set_title(
        f"rank correlation with NME {calibration.rank_correlation[-1]:.3f}\nAUROC of NME failures: {areas}", fontsize=10
    )
    axes.grid(color="0.93", which="both")
    axes.legend(fontsize="small", loc="upper left")


def binned(x: np.ndarray, y: np.ndarray, count: int) -> list[np.ndarray]:
    """Pairs (K, 2) of (x, y) in groups of equal size by rising x; fewer groups than count where faces are few."""
    pairs = np.stack([x, y], axis=-1)[np.argsort(x, kind="stable")]
    return [part for part in np.array_split(pairs, min(count, len(pairs))) if len(part)]


def quit_table(points: Sequence[QuitPoint], fixed: Sequence[QuitPoint]) -> Table:
    """Thresholds with what they cost and save, fixed numbers of iterations below."""
    table = Table(
        title="quitting when the predicted error is below a threshold, per cent",
        caption="MAC: multiply-adds. chosen for: the fewest iterations while the NME of the validation faces gets "
        "worse by no more than that share.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("threshold", justify="right")
    for column in ("NME", "val. NME", "iterations", "MAC", "end after 1, 2, ...", "chosen for"):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(threshold_text(point.threshold), *_cells(point), point.chosen)
    table.add_section()
    for number, point in enumerate(fixed, 1):
        table.add_row(f"{number} for all", *_cells(point), "")
    return table


def _cells(point: QuitPoint) -> tuple[str, ...]:
    val = "-" if point.val_nme is None else f"{100 * point.val_nme:.3f}"
    shares = " ".join(f"{100 * share:.0f}" for share in point.shares)
    return f"{100 * point.nme:.3f}", val, f"{point.iterations:.2f}", f"{point.macs / 1e6:.2f} M", shares


def real_table(real: Sequence[RealRun]) -> Table:
    """Thresholds with which the model was really run, with the time of one face."""
    table = Table(title="really run with a threshold; processor time of one face", title_justify="left")
    batches = sorted(real[0].seconds) if real else []
    times = [f"ms, batch {batch}" for batch in batches]
    for column in ("threshold, %", "NME, %", "iterations", "unlike record", *times):
        table.add_column(column, justify="right")
    for run in real:
        milliseconds = (f"{1000 * run.seconds[batch]:.2f}" for batch in batches)
        numbers = (f"{100 * run.nme:.3f}", f"{run.iterations:.2f}", str(run.differing))
        table.add_row(threshold_text(run.threshold), *numbers, *milliseconds)
    return table
