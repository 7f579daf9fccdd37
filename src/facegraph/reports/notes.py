"""Footnotes of a report: what a reader must know before he compares two of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from facegraph.metrics.bootstrap import RESAMPLES
from facegraph.records import Provenance
from facegraph.reports.cells import Note
from facegraph.reports.protocol import Deviation
from facegraph.reports.runs import Training
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
    without_failures: bool = False,
) -> tuple[Note, ...]:
    """All footnotes, those of single rows first.

    mixed: rows of another protocol, printed because it was asked for. meant: what rows vary on purpose.
    without_failures: whether a failure rate of the table is 0.
    """
    labels = {row.name: row.label for row in table.rows}
    general = [
        _statistics(table, trainings, checkpoint),
        *([_NO_FAILURES] if without_failures else []),
        *_scale(table, scale),
        *(f"varies on purpose: {deviation.text(labels)}." for deviation in meant),
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


def _statistics(table: Table, trainings: Mapping[str, Sequence[Training]], checkpoint: str) -> str:
    most = max((len(found) for found in trainings.values()), default=0)
    spreads = ("", "One seed: no spread over seeds is known. ", "± is the standard deviation over seeds (n - 1). ")
    spread = spreads[min(most, 2)]
    text = (
        f"Checkpoint {checkpoint}. {spread}Intervals cover the choice of test faces (95 %, {RESAMPLES:,} resamples of "
        "faces, seeds averaged per face), not the choice of seeds."
    )
    if table.baseline is None:
        return text
    return (
        f"{text} p: two-sided paired bootstrap test on the same faces against {table.row(table.baseline).label}, not "
        "corrected for the number of rows; it too says nothing about other seeds."
    )


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
