"""A report as blocks of words, before any markup: what stands in which line and column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facegraph.metrics.bootstrap import Interval
from facegraph.reports.cells import ABSENT, PUBLISHED, Cell, Report, ReportRow
from facegraph.reports.units import Unit, heading, measure_text
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Column

MOST_COLUMNS = 9
_FULL_UP_TO = 2
_SMALLEST_P = 0.001
_WITHOUT_VALUE = {ABSENT: "-", FAILED: "failed", NEW: "not run", PARTIAL: "begun"}


@dataclass(frozen=True)
class Words:
    """Text of a cell. best: of its column. faint: not measured by us. mark: of a footnote."""

    text: str
    best: bool = False
    faint: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """A part of a report that fits a page. title: "" where the report is one block. rows: a cell per header."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]


def blocks(report: Report, most: int = MOST_COLUMNS) -> tuple[Block, ...]:
    """One or two columns: all numbers in a line. More: the value in a line, the paper's, interval and p below it;
    blocks by measure where there are more than `most` columns."""
    if len(report.columns) <= min(_FULL_UP_TO, most):
        return (_full(report),)
    parts = _split(report.columns, most)
    return tuple(_stacked(report, part, _title(part) if len(parts) > 1 else "") for part in parts)


def unfinished(report: Report) -> list[tuple[str, int, str]]:
    """(label of the row, seed, why) of each training that is not done."""
    found = []
    for row in report.trained:
        if not row.trainings:
            found.append((row.row.label, 0, "not planned yet: run the sweep again"))
        for training in row.trainings:
            if training.state == NEW:
                found.append((row.row.label, training.seed, "not run yet"))
            elif training.state == FAILED and training.failure is not None:
                found.append((row.row.label, training.seed, f"{training.failure.kind}: {training.failure.message}"))
            elif training.state != DONE:
                progress = training.progress
                words = f"epoch {progress.epoch} of {progress.epochs}" if progress else "begun"
                found.append((row.row.label, training.seed, f"not finished, {words}"))
    return found


def value_text(cell: Cell, unit: Unit) -> str:
    """Mean and spread over seeds, or why there is no value: `4.40 ± 0.02`, `4.40 (1 of 3)`, `epoch 12/60`."""
    if cell.state == PUBLISHED:
        return unit.text(cell.paper)
    if cell.mean is None:
        words = cell.remark.replace(" of ", "/") if cell.state == PARTIAL else ""
        return words or _WITHOUT_VALUE.get(cell.state, cell.state)
    spread = "" if cell.std is None else f" ± {unit.text(cell.std)}"
    return unit.text(cell.mean) + spread + ("" if cell.whole else f" ({len(cell.values)} of {len(cell.states)})")


def interval_text(interval: Interval | None, unit: Unit) -> str:
    return "-" if interval is None else f"[{unit.text(interval.low)}, {unit.text(interval.high)}]"


def p_text(p: float | None) -> str:
    """
    >>> p_text(0.0342), p_text(0.0002), p_text(None)
    ('0.034', '<0.001', '-')
    """
    if p is None:
        return "-"
    return f"<{_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.3f}"


def _split(columns: Sequence[Column], most: int) -> list[list[Column]]:
    if len(columns) <= most:
        return [list(columns)]
    groups: dict[tuple[str, str | None], list[Column]] = {}
    for column in columns:
        groups.setdefault((column.metric, column.normaliser), []).append(column)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


def _title(columns: Sequence[Column]) -> str:
    first = columns[0]
    return measure_text(first.metric) + (f", {first.normaliser}" if first.normaliser else "")


def _label(row: ReportRow) -> Words:
    return Words(row.row.label, faint=row.row.overrides is None, mark=row.mark)


def _value(report: Report, row: ReportRow, column: Column) -> Words:
    cell = row.cells[column.name]
    best = report.best(column) == row.row.name
    return Words(value_text(cell, report.unit(column)), best=best, faint=cell.state != DONE)


def _full(report: Report) -> Block:
    header: list[str] = [""]
    columns: list[list[Words]] = []
    versus = "" if report.table.baseline is None else report.table.row(report.table.baseline).label
    for column in report.columns:
        unit, cells = report.unit(column), [row.cells[column.name] for row in report.rows]
        measured = [
            Words("-") if cell.state == PUBLISHED else _value(report, row, column)
            for row, cell in zip(report.rows, cells, strict=True)
        ]
        parts = {
            heading(column): measured,
            "paper": [Words(unit.text(c.paper), faint=True) for c in cells],
            "ours - paper": [Words(unit.signed(c.difference)) for c in cells],
            "95 % interval": [Words(interval_text(c.interval, unit)) for c in cells],
            f"- {versus}": [Words(unit.signed(c.against.difference if c.against else None)) for c in cells],
            "p": [Words(p_text(c.against.p if c.against else None)) for c in cells],
        }
        for title, words in parts.items():
            if title == heading(column) or any(w.text != "-" for w in words):
                header.append(title)
                columns.append(words)
    lines = zip(map(_label, report.rows), *columns, strict=True)
    return Block("", tuple(header), tuple(lines))


def _stacked(report: Report, columns: Sequence[Column], title: str) -> Block:
    lines: list[tuple[Words, ...]] = []
    for row in report.rows:
        if row.row.overrides is None and all(row.cells[c.name].state == ABSENT for c in columns):
            continue
        lines.append((_label(row), *(_value(report, row, column) for column in columns)))
        if row.row.overrides is not None:
            lines += _below(report, row, columns)
    return Block(title, ("", *(heading(column) for column in columns)), tuple(lines))


def _below(report: Report, row: ReportRow, columns: Sequence[Column]) -> Iterator[tuple[Words, ...]]:
    """Lines under a row's values; those without a number are left out."""
    cells = [(row.cells[column.name], report.unit(column)) for column in columns]
    baseline = report.table.baseline
    versus = "" if baseline is None else report.table.row(baseline).label
    parts = {
        "paper": [unit.text(cell.paper) for cell, unit in cells],
        "ours - paper": [unit.signed(cell.difference) for cell, unit in cells],
        "95 % interval": [interval_text(cell.interval, unit) for cell, unit in cells],
        f"p against {versus}": [p_text(cell.against.p if cell.against else None) for cell, _ in cells],
    }
    for name, texts in parts.items():
        if any(text != "-" for text in texts):
            yield tuple(Words(text, faint=True) for text in (f"  {name}", *texts))
