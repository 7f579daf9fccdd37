"""Footnotes of a report: what a reader must know before he compares two of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from facegraph.metrics.bootstrap import FEWEST_FACES, RESAMPLES
from facegraph.records import Provenance
from facegraph.reports.table.cells import Cell, Note
from facegraph.reports.table.protocol import Deviation, joined
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import COSTS, is_rate
from facegraph.sweeps.status import DONE
from facegraph.sweeps.table import Table

_SHORT = 9
_NO_FAILURES = (
    "Resampling cannot widen a failure rate of 0: with none of M faces failed, rates of up to 3 / M are compatible at "
    "95 %."
)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def notes_of(
    table: Table,
    trainings: Mapping[str, Sequence[Training]],
    scale: str,
    checkpoint: str,
    mixed: Sequence[Deviation],
    meant: Sequence[Deviation],
    columns: Mapping[str, Mapping[str, Cell]],
) -> tuple[Note, ...]:
    """All footnotes, those of single rows first.

    Args:
        mixed: rows of another protocol, printed because it was asked for.
        meant: what rows vary on purpose.
        columns: column name -> row name -> cell.
    """
    labels = {row.name: row.label for row in table.rows}
    rates = [cell for c in table.columns if is_rate(c.metric) for cell in columns[c.name].values()]
    general = [
        _statistics(table, checkpoint, [cell for cells in columns.values() for cell in cells.values()]),
        *([_NO_FAILURES] if any(cell.mean == 0 for cell in rates) else []),
        *_few_faces(table, columns),
        *_not_finite(labels, columns),
        *_seeds(table, labels, trainings),
        *_other_checkpoint(table, trainings, checkpoint),
        *_scale(table, scale),
        *_counted(table),
        *([f"Varies on purpose: {joined(meant, labels)}."] if meant else []),
        *_origins(labels, trainings),
        *_without_predictions(labels, trainings, checkpoint),
    ]
    return (*_mixed(mixed, labels), *(Note("", text) for text in general))


def marks_of(mixed: Sequence[Deviation]) -> dict[str, str]:
    """Row -> mark of its footnote: a, b, ... z, aa, bb."""
    names = list(dict.fromkeys(deviation.row for deviation in mixed))
    return {name: _ALPHABET[i % 26] * (1 + i // 26) for i, name in enumerate(names)}


def _mixed(mixed: Sequence[Deviation], labels: Mapping[str, str]) -> list[Note]:
    found = []
    for row, mark in marks_of(mixed).items():
        listed = "; ".join(deviation.text(labels) for deviation in mixed if deviation.row == row)
        found.append(Note(mark, f"another protocol than the rest of its column: {listed}."))
    return found


def _statistics(table: Table, checkpoint: str, cells: Sequence[Cell]) -> str:
    """What stands behind the numbers that the table has."""
    parts = [f"Checkpoint {checkpoint}."]
    if any(cell.std is not None for cell in cells):
        parts.append("± is the standard deviation over seeds (n - 1).")
    elif any(cell.mean is not None for cell in cells):
        parts.append("One seed per row: no spread over seeds is known.")
    if any(cell.interval is not None for cell in cells):
        parts.append(
            f"Intervals cover the choice of test faces (95 %, {RESAMPLES:,} resamples of faces, seeds averaged per "
            "face), not the choice of seeds."
        )
    if table.baseline is not None and any(cell.against is not None for cell in cells):
        seeds = any(cell.against is not None and len(cell.values) > 1 for cell in cells)
        covered = "it covers other seeds as well" if seeds else "it too says nothing about other seeds"
        parts.append(
            f"p: two-sided paired bootstrap test on the same faces and seeds against {table.row(table.baseline).label},"
            f" not corrected for the number of rows; {covered}."
        )
    return " ".join(parts)


def _few_faces(table: Table, columns: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    found = {
        column.label: min(counts)
        for column in table.columns
        if (counts := [c.faces for c in columns[column.name].values() if c.faces and c.faces < FEWEST_FACES])
    }
    listed = ", ".join(f"{label} ({count})" for label, count in found.items())
    return [f"Fewer than {FEWEST_FACES} faces are too few for an interval or a test: {listed}."] if found else []


def _not_finite(labels: Mapping[str, str], columns: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    found = {
        f"{labels[row]}: {cell.remark}"
        for cells in columns.values()
        for row, cell in cells.items()
        if cell.values and cell.mean is None
    }
    return [f"{text}." for text in sorted(found)]


def _seeds(table: Table, labels: Mapping[str, str], trainings: Mapping[str, Sequence[Training]]) -> list[str]:
    """Rows whose means are over fewer seeds than those of others."""
    done = {row: {t.seed for t in found if t.state_of() == DONE} for row, found in trainings.items()}
    every: set[int] = set().union(*done.values()) if done else set()
    fewer = [f"{labels[row]} ({_numbers(seeds)})" for row, seeds in done.items() if seeds and seeds != every]
    if not fewer:
        return []
    tests = "" if table.baseline is None else "; tests use the seeds that a row and the baseline both have"
    return [f"Not all rows have the seeds {_numbers(every)} yet: {', '.join(fewer)}. Means are over those{tests}."]


def _numbers(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _other_checkpoint(table: Table, trainings: Mapping[str, Sequence[Training]], checkpoint: str) -> list[str]:
    """Conditions that were scored with another checkpoint than the one shown."""
    found: dict[str, None] = {}
    others: dict[str, None] = {}
    for name in dict.fromkeys(c.evaluation for c in table.columns if c.metric not in COSTS):
        results = [r for row in trainings.values() for t in row if (r := t.result(name)) is not None]
        lacking = [r.metrics["test"] for r in results if checkpoint not in r.metrics["test"]]
        if lacking:
            found["the run's own test" if name is None else name] = None
            others |= dict.fromkeys(other for test in lacking for other in test)
    if not found:
        return []
    return [
        f"Not scored with checkpoint {checkpoint}, but with {', '.join(others)}: {_listed(list(found))}. "
        f"--checkpoint {next(iter(others), 'last')} shows these numbers."
    ]


def _scale(table: Table, scale: str) -> list[str]:
    if not any(row.paper for row in table.rows):
        return []
    found = [f"Published values: {table.source}; as printed there, their protocol is not known in every field."]
    if scale and scale != "paper":
        found.insert(0, (
            f"scale={scale}: trained by another, shorter recipe than the published values, perhaps on other data; the "
            "differences to the paper say nothing about how well it is reproduced."
        ))  # fmt: skip
    return found


def _counted(table: Table) -> list[str]:
    found = [c.label for c in table.columns if any(c.name in row.counted for row in table.rows)]
    listed = ", ".join(found)
    return [f"Counted from the released code or weights, at their size, not published: {listed}."] if found else []


def _origins(labels: Mapping[str, str], trainings: Mapping[str, Sequence[Training]]) -> list[str]:
    """Commits, uncommitted changes, devices and versions of torch, where rows differ in them."""
    origins = [
        (labels[row], result.provenance)
        for row, found in trainings.items()
        for training in found
        if (result := training.result()) is not None
    ]
    readers: dict[str, Callable[[Provenance], str]] = {
        "commits": lambda p: (p.commit or "unknown")[:_SHORT],
        "devices": lambda p: p.device.split(",")[0],
        "versions of torch": lambda p: p.versions.get("torch", "unknown"),
    }
    notes = []
    for what, read in readers.items():
        groups: dict[str, list[str]] = {}
        for label, origin in origins:
            groups.setdefault(read(origin), []).append(label)
        if len(groups) > 1:
            listed = "; ".join(f"{value} ({_listed(rows)})" for value, rows in groups.items())
            notes.append(f"Trained with different {what}: {listed}.")
    dirty = [label for label, origin in origins if origin.dirty]
    if dirty:
        notes.append(f"Trained from a checkout with uncommitted changes: {_listed(dirty)}.")
    return notes


def _without_predictions(
    labels: Mapping[str, str], trainings: Mapping[str, Sequence[Training]], checkpoint: str
) -> list[str]:
    lacking = [
        labels[row]
        for row, found in trainings.items()
        for training in found
        if training.state_of() == DONE and training.faces(checkpoint) is None
    ]
    return [f"No predictions, hence no interval and no test: {_listed(lacking)}."] if lacking else []


def _listed(labels: Sequence[str]) -> str:
    unique = list(dict.fromkeys(labels))
    return ", ".join(unique) if len(unique) <= 12 else f"{', '.join(unique[:10])} and {len(unique) - 10} more"
