"""A report as blocks of words, before any markup: what stands in which line and column."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from facegraph.metrics.bootstrap import Interval
from facegraph.reports.table.cells import ABSENT, PUBLISHED, Cell, Report, ReportRow
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import COSTS, Unit, heading, measure_text
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Column

MOST_COLUMNS = 9
_FULL_UP_TO = 2
INDENT = "  "
_SMALLEST_P = 0.001
_WITHOUT_VALUE = {ABSENT: "-", FAILED: "failed", NEW: "not run", PARTIAL: "begun"}


@dataclass(frozen=True)
class Words:
    """Text of a cell.

    Args:
        best: of its column.
        faint: not measured by us.
        mark: of a footnote.
    """

    text: str
    best: bool = False
    faint: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """A part of a report that fits a page.

    Args:
        title: "" where the report is one block.
        rows: a cell per header.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]

    def starts_row(self, line: int) -> bool:
        """Whether a line is the first of a row of the report; the others say more about the row above."""
        return line >= len(self.rows) or not self.rows[line][0].text.startswith(INDENT)

    def divides(self, line: int) -> bool:
        """Whether a rule below a line helps to read: between rows of the report of which one takes several lines."""
        above, below = not self.starts_row(line), not self.starts_row(line + 2)
        return line + 1 < len(self.rows) and self.starts_row(line + 1) and (above or below)


def blocks(report: Report, width: int | None = None) -> tuple[Block, ...]:
    """One or two columns: all numbers in a line. More: the value in a line, the paper's, interval and p below it;
    blocks by measure where there are more than MOST_COLUMNS.

    Args:
        width: characters there are; None for a page that takes MOST_COLUMNS side by side.
    """
    if len(report.columns) <= _FULL_UP_TO:
        full = _full(report)
        if width is None or sum(widths(full)) <= width:
            return (full,)
    measures = _by_measure(report.columns)
    # labels that end in a per cent sign have their unit in the title
    titled = len(report.columns) > MOST_COLUMNS or any(c.label.endswith("%") for c in report.columns)
    groups = measures if titled else [list(report.columns)]
    return tuple(block for group in groups for block in _fitting(report, group, titled, width))


def widths(block: Block) -> list[int]:
    """Characters that each column of a block takes in a terminal, with two blanks between."""
    lines = [block.header, *([words.text for words in row] for row in block.rows)]
    return [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]


def _fitting(report: Report, columns: Sequence[Column], titled: bool, width: int | None) -> list[Block]:
    """As few blocks of equal numbers of columns as fit."""
    for number in range(1, len(columns) + 1):
        size = math.ceil(len(columns) / number)
        parts = [columns[start : start + size] for start in range(0, len(columns), size)]
        found = [_stacked(report, part, _title(report, part) if titled else "") for part in parts]
        if size <= MOST_COLUMNS and (width is None or all(sum(widths(block)) <= width for block in found)):
            break
    return found


class Unfinished(NamedTuple):
    """A training that is not done.

    Args:
        seed, folder: None for a row that the sweep left out.
        why: in words.
    """

    label: str
    seed: int | None
    why: str
    state: str
    folder: Path | None


def unfinished(report: Report) -> list[Unfinished]:
    """All trainings of the table that are not done."""
    found: list[Unfinished] = []
    for row in report.trained:
        if not row.trainings:
            found.append(Unfinished(row.row.label, None, "not a part of this sweep yet", NEW, None))
        for training in row.trainings:
            if training.state != DONE:
                found.append(Unfinished(row.row.label, training.seed, _why(training), training.state, training.folder))
    return found


def _why(training: Training) -> str:
    """Why a training is not done."""
    if training.state == NEW:
        return "not run yet"
    progress = training.progress
    reached = f"epoch {progress.epoch} of {progress.epochs}" if progress else "begun"
    if training.state != FAILED:
        return f"not finished, {reached}"
    if training.failure is None:
        return f"failed, {reached}; see its log"
    return f"{training.failure.kind}: {training.failure.message}"


def command_text(report: Report) -> str:
    """The command that makes the whole table, whichever rows and seeds the last call had; "" for run folders."""
    if not report.command:
        return ""
    typed = list(report.command)
    if not any(override.startswith("sweeps=") for override in typed):
        return shlex.join(["python", "train.py", "-m", *typed])
    rows = [row.row.name for row in report.trained if row.trainings]
    seeds = sorted({training.seed for row in report.trained for training in row.trainings})
    kept = [o for o in typed if o.split("=", 1)[0] not in ("rows", "seed")]
    if 0 < len(rows) < len(report.trained):
        kept.append(f"rows=[{','.join(rows)}]")
    if seeds and seeds != [0]:
        kept.append(f"seed={','.join(map(str, seeds))}")
    return shlex.join(["python", "train.py", *kept])


def value_text(cell: Cell, unit: Unit) -> str:
    """Mean and spread over seeds, or why there is no value: `4.40 ± 0.02`, `4.40 (1 of 3)`, `epoch 12/60`."""
    if cell.state == PUBLISHED:
        return unit.text(cell.paper)
    if cell.mean is None and cell.values:
        return "not finite"
    if cell.mean is None:
        words = cell.remark.replace(" of ", "/") if cell.state == PARTIAL else ""
        return words or _WITHOUT_VALUE.get(cell.state, cell.state)
    # a cost that every seed has exactly, such as params, has no spread to speak of
    exact = cell.std is None or (cell.std == 0 and unit in COSTS.values())
    spread = "" if exact else f" ± {unit.text(cell.std)}"
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


def _by_measure(columns: Sequence[Column]) -> list[list[Column]]:
    groups: dict[tuple[str, str | None], list[Column]] = {}
    for column in columns:
        groups.setdefault((column.metric, column.normaliser), []).append(column)
    return list(groups.values())


def _title(report: Report, columns: Sequence[Column]) -> str:
    first = columns[0]
    normaliser = f", {first.normaliser}" if first.normaliser else ""
    return f"{report.unit(first).after(measure_text(first.metric))}{normaliser}"


def _short_label(column: Column) -> str:
    """Label of a column below a title that names its measure: `NME pose` is pose."""
    kind = measure_text(column.metric).split("@")[0]
    return column.label.removeprefix(f"{kind} ")


def _label(row: ReportRow) -> Words:
    return Words(row.row.label, faint=row.row.overrides is None, mark=row.mark)


def _value(report: Report, row: ReportRow, column: Column) -> Words:
    cell = row.cells[column.name]
    best = report.is_best(row.row.name, column)
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
            "counted": [Words(unit.text(c.counted), faint=True) for c in cells],
            "95 % interval": [Words(interval_text(c.interval, unit)) for c in cells],
            f"minus {versus}": [Words(unit.signed(c.against.difference if c.against else None)) for c in cells],
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
    header = (_short_label(column) if title else heading(column) for column in columns)
    return Block(title, ("", *header), tuple(lines))


def _below(report: Report, row: ReportRow, columns: Sequence[Column]) -> Iterator[tuple[Words, ...]]:
    """Lines under a row's values; those without a number are left out."""
    cells = [(row.cells[column.name], report.unit(column)) for column in columns]
    baseline = report.table.baseline
    versus = "" if baseline is None else report.table.row(baseline).label
    parts = {
        "paper": [unit.text(cell.paper) for cell, unit in cells],
        "ours - paper": [unit.signed(cell.difference) for cell, unit in cells],
        "counted": [unit.text(cell.counted) for cell, unit in cells],
        "95 % interval": [interval_text(cell.interval, unit) for cell, unit in cells],
        f"p against {versus}": [p_text(cell.against.p if cell.against else None) for cell, _ in cells],
    }
    for name, texts in parts.items():
        if any(text != "-" for text in texts):
            yield tuple(Words(text, faint=True) for text in (f"{INDENT}{name}", *texts))
