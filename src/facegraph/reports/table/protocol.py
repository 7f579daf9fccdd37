"""Which numbers may stand in one column: those of one protocol, but for what rows vary on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facegraph.errors import RunError
from facegraph.records import ProtocolCard
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import COSTS
from facegraph.sweeps.table import Table

# field of a card -> keys of train.py that move it; a row that overrides one of these varies the field on purpose.
# What is not here says on which faces and how errors are measured, which no row may change.
MOVED_BY = {
    "trained_on": ("dataset", "experiment"),
    "train_faces": ("dataset", "data", "experiment"),
    "val_faces": ("dataset", "data", "experiment"),
    "validation": ("dataset", "data", "experiment"),
    "thresholds": ("dataset", "experiment"),
    "crop": ("box", "dataset", "experiment"),
    "crop_margin": ("box", "dataset", "experiment"),
    "input_size": ("input_size", "experiment"),
    "epochs": ("trainer", "experiment", "debug"),
    "optimiser_steps": ("trainer", "data", "dataset", "experiment", "debug"),
    "checkpoint_rule": ("callbacks", "dataset", "experiment"),
    "test_time_flip": ("test_time_flip", "experiment"),
    "initial_weights": ("init_from", "experiment"),
    "model_facts": ("model", "experiment"),
    "padding": ("box", "dataset", "experiment"),
    "partly_labelled": ("dataset", "experiment"),
}
_SPLIT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Deviation:
    """A row whose card differs from the reference row's in a condition.

    Args:
        fields: name -> (its value, reference's).
    """

    row: str
    reference: str
    evaluation: str | None
    fields: Mapping[str, tuple[Any, Any]]

    def text(self, labels: Mapping[str, str]) -> str:
        listed = ", ".join(f"{name} {mine!r} instead of {other!r}" for name, (mine, other) in self.fields.items())
        where = "" if self.evaluation is None else f" under {self.evaluation}"
        return f"{labels[self.row]}{where}: {listed} (as {labels[self.reference]})"


def joined(found: Sequence[Deviation], labels: Mapping[str, str]) -> str:
    """Deviations in words, each once for all rows and conditions that have it."""
    rows: dict[str, dict[str, None]] = {}
    for deviation in found:
        what = replace(deviation, evaluation=None).text(labels).removeprefix(labels[deviation.row])
        rows.setdefault(what, {})[labels[deviation.row]] = None
    return "; ".join(f"{', '.join(names)}{what}" for what, names in rows.items())


def deviations(
    table: Table, trainings: Mapping[str, Sequence[Training]], scale: str
) -> tuple[list[Deviation], list[Deviation]]:
    """(those that no override of the row explains, those that it varies on purpose), against the baseline row or the
    first one that is done."""
    refused, meant = [], []
    for evaluation in dict.fromkeys(c.evaluation for c in table.columns if c.metric not in COSTS):
        cards = {
            row.name: [r.protocol for t in trainings.get(row.name, ()) if (r := t.result(evaluation)) is not None]
            for row in table.trained
            if evaluation is None or evaluation in {e.name for e in table.evaluations_of(row)}
        }
        done = [name for name, found in cards.items() if found]
        if not done:
            continue
        reference = table.baseline if table.baseline in done else done[0]
        assert reference is not None
        first = cards[reference][0]
        for name in done:
            moved = _moved(own_overrides(table, name, scale), own_overrides(table, reference, scale))
            differing = {k: v for card in cards[name] for k, v in _differences(card, first).items()}
            on_purpose = {k: v for k, v in differing.items() if _explains(moved, k)}
            unexplained = {k: v for k, v in differing.items() if k not in on_purpose}
            if unexplained:
                refused.append(Deviation(name, reference, evaluation, unexplained))
            if on_purpose:
                meant.append(Deviation(name, reference, evaluation, on_purpose))
    return refused, meant


def refuse(table: Table, found: Sequence[Deviation]) -> None:
    """Raises RunError: numbers of different protocols would stand in one column."""
    if not found:
        return
    labels = {row.name: row.label for row in table.rows}
    listed = "; ".join(deviation.text(labels) for deviation in found)
    raise RunError(
        f"table {table.name} would put different protocols into one column: {listed}. Train or score these rows alike, "
        "or print them with footnotes: --mix-protocols."
    )


def own_overrides(table: Table, row: str, scale: str) -> tuple[str, ...]:
    """What a row changes against the base, at a scale."""
    entry = table.row(row)
    return (*(entry.overrides or ()), *entry.at_scale.get(scale, ()))


def _moved(mine: Sequence[str], other: Sequence[str]) -> set[str]:
    """Keys that one of two rows overrides and the other does not, or differently."""
    return {override.split("=", 1)[0].lstrip("+~").split("@")[0] for override in set(mine) ^ set(other)}


def _explains(keys: set[str], name: str) -> bool:
    return any(key == k or key.startswith((f"{k}.", f"{k}/")) for key in keys for k in MOVED_BY.get(name, ()))


def _differences(card: ProtocolCard, reference: ProtocolCard) -> dict[str, tuple[Any, Any]]:
    """Fields that differ, but for the seed and for what a seed decides: validation is cut by photograph, so that its
    share, and with it the steps of an epoch, is not to the face the same for all seeds."""
    found = card.differences(reference)
    found.pop("seed", None)
    total, other = card.train_faces + card.val_faces, reference.train_faces + reference.val_faces
    near = abs(card.train_faces - reference.train_faces) <= _SPLIT_TOLERANCE * total
    if total == other and near and card.seed != reference.seed:
        split = {found.pop(name, None) for name in ("train_faces", "val_faces")} != {None}
        mine, theirs = (c.optimiser_steps / max(c.epochs, 1) for c in (card, reference))
        if split and abs(mine - theirs) <= max(1.0, _SPLIT_TOLERANCE * theirs):
            found.pop("optimiser_steps", None)
    return found
