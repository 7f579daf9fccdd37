"""A report: a swept table with what was measured, beside what was published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facegraph.metrics.bootstrap import Interval, Paired
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import Unit, unit_of
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Column, Row, Table

ABSENT, PUBLISHED = "absent", "published"


@dataclass(frozen=True)
class Cell:
    """A row's value in a column. All numbers are in the unit that the column prints (facegraph.reports.table.units).

    Args:
        state: DONE where at least one seed has a value, otherwise the furthest of its trainings' states; ABSENT where
            the row has no such number (no faces of that subset, another condition); PUBLISHED for a row that is only
            published.
        values: seed -> value.
        states: seed -> state, of all its trainings.
        mean: over seeds.
        std: over seeds with n - 1; None with one seed.
        paper: the published value.
        counted: a cost counted beforehand from the released code.
        interval: 95 % over test faces, of the mean; None without predictions, for too few faces and for costs.
        against: comparison with the baseline row on the same faces and seeds (difference: this row - baseline); None
            for the baseline itself, without one, for too few faces, for another protocol, and for costs.
        faces: number of test faces of the value.
        remark: why there is no value or no test, or not of all seeds; one line.
        comparable: whether the value was measured as the others of its column are.
    """

    state: str
    values: Mapping[int, float] = field(default_factory=dict)
    states: Mapping[int, str] = field(default_factory=dict)
    mean: float | None = None
    std: float | None = None
    paper: float | None = None
    interval: Interval | None = None
    against: Paired | None = None
    faces: int | None = None
    remark: str = ""
    comparable: bool = True
    counted: float | None = None

    @property
    def difference(self) -> float | None:
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    @property
    def whole(self) -> bool:
        """All seeds have a value."""
        return self.state == DONE and len(self.values) == len(self.states)


@dataclass(frozen=True)
class ReportRow:
    """A row of a table with what was trained for it.

    Args:
        row: as the sweep file has it.
        trainings: by seed.
        cells: column name -> cell.
        mark: of its footnote, or "".
    """

    row: Row
    trainings: tuple[Training, ...]
    cells: Mapping[str, Cell]
    mark: str = ""

    @property
    def state(self) -> str:
        """PUBLISHED; DONE when all seeds are; otherwise the worst of FAILED, NEW, PARTIAL."""
        if self.row.overrides is None:
            return PUBLISHED
        states = {t.state for t in self.trainings} or {NEW}
        return next((s for s in (FAILED, NEW, PARTIAL) if s in states), DONE)


@dataclass(frozen=True)
class Note:
    """A footnote.

    Args:
        mark: that rows carry; "" for one of the whole table.
    """

    mark: str
    text: str


@dataclass(frozen=True)
class Report:
    """A table with its values.

    Args:
        scale: paper, small or smoke; "" for run folders without a sweep.
        checkpoint: last or best.
        folder: of the sweep.
        command: what was typed after train.py.
        rows: in the table's order.
    """

    table: Table
    scale: str
    checkpoint: str
    folder: Path
    command: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    notes: tuple[Note, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.table.columns

    @property
    def trained(self) -> tuple[ReportRow, ...]:
        return tuple(row for row in self.rows if row.row.overrides is not None)

    def row(self, name: str) -> ReportRow:
        """Raises KeyError: no such row."""
        return next((r for r in self.rows if r.row.name == name), None) or _missing(name)

    def cell(self, row: str, column: str) -> Cell:
        return self.row(row).cells[column]

    def unit(self, column: Column) -> Unit:
        return unit_of(column.metric)

    def best(self, column: Column) -> str | None:
        """Name of the trained row with the best mean, the first of equal ones; None where there is nothing to choose:
        fewer than two values, or all of them printed alike."""
        found = self._means(column)
        if len({self.unit(column).text(mean) for mean in found.values()}) < 2:
            return None
        return (min if self.unit(column).lower else max)(found, key=lambda name: found[name])

    def is_best(self, row: str, column: Column) -> bool:
        """Whether a row prints the same mean as the best one."""
        best, found, unit = self.best(column), self._means(column), self.unit(column)
        return best is not None and row in found and unit.text(found[row]) == unit.text(found[best])

    def _means(self, column: Column) -> dict[str, float]:
        cells = {r.row.name: r.cells[column.name] for r in self.trained}
        means = {name: cell.mean for name, cell in cells.items() if cell.comparable}
        return {name: mean for name, mean in means.items() if mean is not None and not math.isnan(mean)}


def _missing(name: str) -> ReportRow:
    raise KeyError(f"the report has no row '{name}'")
