"""A report as a long table: a line per row, column and seed, and one per row and column over all seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from facegraph.reports.table.cells import Cell, Report, ReportRow
from facegraph.sweeps.table import Column

COLUMNS = (
    "table", "scale", "checkpoint", "row", "label", "series", "value", "column", "metric", "subset", "normaliser",
    "evaluation", "unit", "of", "seed", "state", "ours", "std", "seeds", "low", "high", "paper", "difference",
    "counted", "baseline", "baseline_difference", "baseline_low", "baseline_high", "p", "faces", "identity", "remark",
)  # fmt: skip
"""of: "seed" or "all seeds". ours, std, low, high, paper, counted and the differences are in the column's unit."""
_WHOLE = ("seed", "seeds", "faces")


def to_frame(report: Report) -> pd.DataFrame:
    """COLUMNS, numbers in full precision; what does not apply is missing."""
    lines = [
        {**_what(report, row, column), **line}
        for row in report.rows
        for column in report.columns
        for line in _lines(report, row, row.cells[column.name])
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(dict.fromkeys(_WHOLE, "Int64"))


def _what(report: Report, row: ReportRow, column: Column) -> dict[str, Any]:
    return {
        "table": report.table.name,
        "scale": report.scale,
        "checkpoint": report.checkpoint,
        "row": row.row.name,
        "label": row.row.label,
        "series": row.row.series,
        "value": row.row.value,
        "column": column.name,
        "metric": column.metric,
        "subset": column.subset,
        "normaliser": column.normaliser,
        "evaluation": column.evaluation,
        "unit": report.unit(column).symbol,
    }


def _lines(report: Report, row: ReportRow, cell: Cell) -> Iterator[dict[str, Any]]:
    identities = {training.seed: training.identity for training in row.trainings}
    for seed, state in cell.states.items():
        yield {
            "of": "seed",
            "seed": seed,
            "state": state,
            "ours": cell.values.get(seed),
            "identity": identities.get(seed),
        }
    against = cell.against
    yield {
        "of": "all seeds",
        "state": cell.state,
        "ours": cell.mean,
        "std": cell.std,
        "seeds": len(cell.values),
        "low": cell.interval.low if cell.interval else None,
        "high": cell.interval.high if cell.interval else None,
        "paper": cell.paper,
        "difference": cell.difference,
        "counted": cell.counted,
        "baseline": report.table.baseline if against else None,
        "baseline_difference": against.difference if against else None,
        "baseline_low": against.low if against else None,
        "baseline_high": against.high if against else None,
        "p": against.p if against else None,
        "faces": cell.faces,
        "remark": cell.remark or None,
    }
