"""The figures of a swept table, each drawn where the table has what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facegraph.geometry.completion import complete_shapes
from facegraph.geometry.procrustes import procrustes
from facegraph.landmarks import SCHEMES
from facegraph.metrics.names import NME
from facegraph.records import ProtocolCard, predictions_of, read_predictions
from facegraph.reports.plots.curves import Curve, plot_ced, plot_curves, plot_training
from facegraph.reports.plots.landmarks import plot_per_landmark
from facegraph.reports.plots.scatter import Model, plot_costs
from facegraph.reports.table.cells import Cell, Report, ReportRow
from facegraph.reports.table.training_log import training_curve
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import COSTS, heading
from facegraph.sweeps.table import Column

_SHORTEST_AXIS = 0.10
_WORTH_A_FIGURE = 1.02  # costs of rows that differ by less make no figure
_OVER_SEEDS = "bars: one standard deviation over seeds"
_OVER_FACES = "bars: 95 % interval over test faces"


@dataclass(frozen=True)
class Drawn:
    """A figure that was written.

    Args:
        path: of the PNG; an SVG of the same name lies beside it.
    """

    path: Path
    caption: str

    @property
    def svg(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.svg")


@dataclass(frozen=True)
class _Tested:
    """Rows that were scored on the same faces. seeds: row label -> its finished trainings."""

    card: ProtocolCard
    seeds: dict[str, list[Training]]


def draw_figures(report: Report, folder: Path, done: Callable[[str], None] = lambda name: None) -> list[Drawn]:
    """Write the figures of a table as PNG and SVG into a folder; existing ones are replaced.

    Returns:
        those that could be drawn; none of an unfinished sweep's first minutes.

    Raises:
        RunError: a damaged result or file of predictions.
    """
    figures: list[Drawn] = []
    for part in (_swept, _conditions, _ceds, _landmarks, _costs, _training):
        figures += part(report, Path(folder))
        done(part.__name__.strip("_"))
    return figures


def primary_column(report: Report) -> Column | None:
    """The NME over all faces of the runs' own test; failing that the first NME."""
    columns = [c for c in report.columns if c.metric == NME]
    plain = [c for c in columns if c.evaluation is None]
    return next((c for c in plain if c.subset is None), next(iter([*plain, *columns]), None))


def _swept(report: Report, folder: Path) -> list[Drawn]:
    """NME against the value that rows sweep, with the published curve."""
    column = _most_known(report)
    if column is None:
        return []
    series = dict.fromkeys(r.row.series for r in report.rows if r.row.value is not None)
    by_series = {s: [r for r in report.rows if r.row.value is not None and r.row.series == s] for s in series}
    lines = {name or column.label: rows for name, rows in by_series.items()}
    lines |= {r.row.label: [r] for r in report.trained if r.row.value is None}
    seeds = _several_seeds([r.cells[column.name] for r in report.trained])
    ours = [_curve(label, _values(rows), [r.cells[column.name] for r in rows], seeds) for label, rows in lines.items()]
    paper = [
        Curve(label, _values(rows), _numbers(r.cells[column.name].paper for r in rows), published=True)
        for label, rows in lines.items()
    ]
    if not any(np.isfinite(c.y + c.x).sum() > 1 for c in (*ours, *paper)):
        return []
    axis = report.table.axis or "swept value"
    path = plot_curves(ours, paper, axis, heading(column), folder / "swept", report.table.title)
    bars = _OVER_SEEDS if seeds else _OVER_FACES
    return [Drawn(path, f"{column.label} against {axis}; {bars}. Published values are those of {report.table.source}.")]


def _most_known(report: Report) -> Column | None:
    """The NME of the runs' own test that most of the rows with a swept value have, measured or published."""
    columns = [c for c in report.columns if c.metric == NME and c.evaluation is None]

    def known(column: Column) -> int:
        cells = [r.cells[column.name] for r in report.rows if r.row.value is not None]
        return sum((c.mean is not None) + (c.paper is not None) for c in cells)

    # of equally known ones the one over all faces
    return max(columns, key=lambda c: (known(c), c.subset is None), default=None)


def _conditions(report: Report, folder: Path) -> list[Drawn]:
    """A score against the value that conditions sweep, a line per row."""
    values = {e.name: e.value for e in report.table.evaluations if e.value is not None}
    groups: dict[tuple[str, str | None, str | None], list[Column]] = {}
    for c in report.columns:
        if c.evaluation in values:
            groups.setdefault((c.metric, c.subset, c.normaliser), []).append(c)
    figures = []
    for key, columns in groups.items():
        if len({c.evaluation for c in columns}) < 2:
            continue
        x = _numbers(values[c.evaluation] for c in columns if c.evaluation is not None)
        seeds = _several_seeds([r.cells[c.name] for r in report.trained for c in columns])
        ours = [_curve(r.row.label, x, [r.cells[c.name] for c in columns], seeds) for r in report.trained]
        paper = [
            Curve(r.row.label, x, _numbers(r.cells[c.name].paper for c in columns), published=True)
            for r in report.rows
            if any(r.cells[c.name].paper is not None for c in columns)
        ]
        if any(np.isfinite(c.y).any() for c in (*ours, *paper)):
            name = "_".join(["conditions", *(re.sub(r"\W+", "-", part) for part in key if part and part != NME)])
            axis, unit = report.table.axis or "condition", report.unit(columns[0])
            metric = key[0].upper() + (f", {key[1]}" if key[1] else "")
            path = plot_curves(ours, paper, axis, unit.after(metric), folder / name, report.table.title)
            bars = _OVER_SEEDS if seeds else _OVER_FACES
            figures.append(Drawn(path, f"{metric} against {axis}, a line per row; {bars}."))
    return figures


def _ceds(report: Report, folder: Path) -> list[Drawn]:
    figures = []
    for i, tested in enumerate(_tested(report)):
        name = _normaliser(report, tested.card)
        errors = {}
        for label, seeds in tested.seeds.items():
            faces = [f for t in seeds if (f := t.faces(report.checkpoint)) is not None and name in f.errors]
            if faces:
                errors[label] = np.concatenate([f.errors[name] for f in faces])
        if errors:
            limit = max(_SHORTEST_AXIS, *tested.card.thresholds.get(name, ()))
            where = f"{tested.card.dataset} {tested.card.split}"
            path = plot_ced(
                errors, limit, folder / _numbered("ced", i), name, f"Cumulative error distribution, {where}"
            )
            text = f"Share of faces of {where} up to an error; seeds pooled; AUC and FR up to and at {100 * limit:g} %."
            figures.append(Drawn(path, text))
    return figures


def _landmarks(report: Report, folder: Path) -> list[Drawn]:
    figures = []
    baseline = report.row(report.table.baseline).row.label if report.table.baseline else None
    for i, tested in enumerate(_tested(report)):
        errors = {label: _per_landmark(seeds, report.checkpoint) for label, seeds in tested.seeds.items()}
        known = (t for seeds in tested.seeds.values() for t in seeds if t.faces(report.checkpoint) is not None)
        first = next(known, None)
        if first is None:  # no predictions are left, hence no face to draw on
            continue
        frame = read_predictions(first.folder)
        truth = predictions_of(frame[frame["checkpoint"] == report.checkpoint]).truth.astype(np.float64)
        face = procrustes(complete_shapes(truth))[1]
        scheme = SCHEMES.get(tested.card.scheme)
        against = baseline if baseline in errors and len(errors) > 1 else None
        path = folder / _numbered("per_landmark", i)
        written = plot_per_landmark(errors, face, scheme, path, tested.card.normaliser, against)
        what = f"less that of {against}; blue is better" if against else "of each row"
        figures.append(Drawn(written, f"Mean error by landmark {what}, on the mean face of {tested.card.dataset}."))
    return figures


def _costs(report: Report, folder: Path) -> list[Drawn]:
    column = primary_column(report)
    figures = []
    for metric, label in (("macs", "Multiply-adds per face [G]"), ("latency_ms", "Time of one face [ms]")):
        models = [m for r in report.rows if column and (m := _model(report, r, column, metric)) is not None]
        costs = [m.cost for m in models]
        if column and len(models) > 1 and max(costs) / min(costs) >= _WORTH_A_FIGURE:
            path = plot_costs(models, label, heading(column), folder / f"cost_{metric}", report.table.title)
            text = f"{column.label} against cost; areas are numbers of parameters, open marks are published."
            figures.append(Drawn(path, text))
    return figures


def _model(report: Report, row: ReportRow, column: Column, metric: str) -> Model | None:
    """A row of the cost figure; None without both score and cost."""
    trained = row.row.overrides is not None
    cell = row.cells[column.name]
    score = cell.mean if trained else cell.paper
    cost, params = (_cost(report, row, m) for m in (metric, "params"))
    if score is None or not cost or not np.isfinite(score):
        return None
    low, high = cell.interval or (None, None)
    return Model(row.row.label, cost, score, params, low, high, published=not trained)


def _cost(report: Report, row: ReportRow, metric: str) -> float | None:
    """In the unit that a column of that metric prints, from such a column or else from what the runs recorded."""
    column = next((c for c in report.columns if c.metric == metric), None)
    if row.row.overrides is None:
        return row.cells[column.name].paper if column else None
    if column is not None and row.cells[column.name].mean is not None:
        return row.cells[column.name].mean
    results = [result for t in row.trainings if (result := t.result()) is not None]
    known = [value for r in results if (value := getattr(r.provenance, metric, None)) is not None]
    return COSTS[metric].factor * float(np.mean(known)) if known else None


def _training(report: Report, folder: Path) -> list[Drawn]:
    curves = {r.row.label: [training_curve(t.folder) for t in r.trainings] for r in report.trained}
    known = {label: c for label, seeds in curves.items() if (c := [s for s in seeds if len(s[0])])}
    if not known:
        return []
    text = "Validation NME by epoch, a line per seed; unfinished trainings as far as they are."
    return [Drawn(plot_training(known, folder / "training"), text)]


def _tested(report: Report) -> list[_Tested]:
    """Finished rows by the faces that they were scored on: another data set is another figure."""
    groups: dict[str, _Tested] = {}
    for row in report.trained:
        for training in row.trainings:
            result = training.result()
            if result is not None and report.checkpoint in result.metrics["test"]:
                group = groups.setdefault(result.protocol.test_hash, _Tested(result.protocol, {}))
                group.seeds.setdefault(row.row.label, []).append(training)
    return list(groups.values())


def _per_landmark(seeds: list[Training], checkpoint: str) -> np.ndarray:
    """(N,) mean error of each landmark over seeds, fractions."""
    results = [result for t in seeds if (result := t.result()) is not None]
    return np.mean([np.array(r.metrics["test"][checkpoint]["per_landmark"], dtype=np.float64) for r in results], axis=0)


def _normaliser(report: Report, card: ProtocolCard) -> str:
    column = primary_column(report)
    return (column.normaliser if column else None) or card.normaliser


def _curve(label: str, x: np.ndarray, cells: list[Cell], seeds: bool) -> Curve:
    y = _numbers(c.mean for c in cells)
    if seeds:
        spread = _numbers(c.std for c in cells)
        return Curve(label, x, y, y - spread, y + spread)
    ends = [c.interval or (None, None) for c in cells]
    return Curve(label, x, y, _numbers(low for low, _ in ends), _numbers(high for _, high in ends))


def _several_seeds(cells: list[Cell]) -> bool:
    known = [c for c in cells if c.mean is not None]
    return bool(known) and all(c.std is not None for c in known)


def _values(rows: list[ReportRow]) -> np.ndarray:
    return _numbers(r.row.value for r in rows)


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _numbered(name: str, index: int) -> str:
    return name if index == 0 else f"{name}_{index + 1}"
