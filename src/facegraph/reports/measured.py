"""Cells from run folders: values over seeds, intervals over faces, comparisons with the baseline row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facegraph.metrics.bootstrap import Interval, Paired, intervals, paired_tests
from facegraph.metrics.face_scores import face_scores
from facegraph.reports.cells import ABSENT, PUBLISHED, Cell
from facegraph.reports.runs import Faces, Training
from facegraph.reports.units import COSTS, unit_of
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Column, Row, Table

Trainings = Mapping[str, Sequence[Training]]


class _Scores(NamedTuple):
    """A row's numbers per face in a column. ids: (M,) sorted. means: (M,) over seeds."""

    ids: np.ndarray
    means: np.ndarray


def cells_of(table: Table, trainings: Trainings, column: Column, checkpoint: str) -> dict[str, Cell]:
    """A column: row -> cell, of every row of the table.

    Raises:
        RunError: a damaged file. ConfigError: an unknown metric.
    """
    cells = {row.name: _cell(row, trainings.get(row.name, ()), column, checkpoint, table) for row in table.rows}
    if column.metric in COSTS:
        return cells
    scores = {
        name: s
        for name, cell in cells.items()
        if cell.state == DONE and (s := _scores(trainings[name], column, checkpoint)) is not None
    }
    factor = unit_of(column.metric).factor
    found = _intervals(scores)
    against = _against(scores, table.baseline)
    for name, s in scores.items():
        cells[name] = replace(
            cells[name],
            interval=Interval(*(factor * float(end) for end in found[name]))
            if not np.isnan(found[name]).any()
            else None,
            against=_scaled(against[name], factor) if name in against else None,
            faces=len(s.ids),
        )
    return cells


def _cell(row: Row, trainings: Sequence[Training], column: Column, checkpoint: str, table: Table) -> Cell:
    paper = row.paper.get(column.name)
    if row.overrides is None:
        return Cell(PUBLISHED if paper is not None else ABSENT, paper=paper)
    if column.evaluation is not None and column.evaluation not in {e.name for e in table.evaluations_of(row)}:
        return Cell(ABSENT, paper=paper, remark=f"not scored under {column.evaluation}")
    states = {t.seed: t.state_of(column.evaluation) for t in trainings}
    done = [t for t in trainings if states[t.seed] == DONE]
    values, lacking = {}, ""
    for training in done:
        value = _value(training, column, checkpoint)
        if isinstance(value, str):
            lacking = value
        else:
            values[training.seed] = value * unit_of(column.metric).factor
    if not values:
        state, remark = (ABSENT, lacking) if lacking else _unfinished(trainings, states)
        return Cell(state, {}, states, paper=paper, remark=remark)
    numbers = np.array(list(values.values()))
    missing = len(states) - len(values)
    rest = [t for t in trainings if t.seed not in values]
    remark = f"{len(values)} of {len(states)} seeds; {lacking or _unfinished(rest, states)[1]}" if missing else ""
    return Cell(
        DONE,
        values,
        states,
        mean=float(numbers.mean()),
        std=float(numbers.std(ddof=1)) if len(numbers) > 1 else None,
        paper=paper,
        remark=remark,
    )


def _value(training: Training, column: Column, checkpoint: str) -> float | str:
    """A fraction or a cost; words where the training is done but has no such number."""
    result = training.result(column.evaluation)
    assert result is not None
    if column.metric in COSTS:
        cost = getattr(result.provenance, column.metric)
        return f"{column.metric} was not measured" if cost is None else float(cost)
    faces = training.faces(checkpoint, column.evaluation)
    normaliser = column.normaliser or result.protocol.normaliser
    if faces is None:
        return _recorded(result.metrics.get("test", {}).get(checkpoint), column, normaliser, checkpoint)
    errors = _selected(faces, column, normaliser)
    if isinstance(errors, str):
        return errors
    return float(np.mean(face_scores(column.metric, errors[1])))


def _recorded(summary: Mapping | None, column: Column, normaliser: str, checkpoint: str) -> float | str:
    """The number that result.json keeps, for a folder whose predictions are gone."""
    if summary is None:
        return f"no test of checkpoint {checkpoint}"
    if column.subset is not None:
        measures = summary["subsets"].get(column.subset, {}) if column.normaliser is None else {}
    else:
        measures = summary["normalisers"].get(normaliser, {})
    value = measures.get(column.metric)
    return f"neither predictions nor {column.metric} in its result" if value is None else float(value)


def _selected(faces: Faces, column: Column, normaliser: str) -> tuple[np.ndarray, np.ndarray] | str:
    """Ids and errors of the faces that a column counts."""
    if normaliser not in faces.errors:
        return f"no normaliser {normaliser} among {', '.join(sorted(faces.errors))}"
    if column.subset is None:
        return faces.ids, faces.errors[normaliser]
    if column.subset not in faces.attributes:
        return f"no subset {column.subset}"
    counted = faces.attributes[column.subset]
    if not counted.any():
        return f"no face in subset {column.subset}"
    return faces.ids[counted], faces.errors[normaliser][counted]


def _unfinished(trainings: Sequence[Training], states: Mapping[int, str]) -> tuple[str, str]:
    """State of trainings without a value, and why, in words."""
    found = set(states.values()) - {DONE}
    state = next((s for s in (FAILED, PARTIAL) if s in found), NEW)
    training = next((t for t in trainings if states.get(t.seed) == state), None)
    if training is None or state == NEW:
        return NEW, "not run yet"
    if state == FAILED:
        return FAILED, f"failed: {training.failure.kind if training.failure else 'see its log'}"
    progress = training.progress
    return PARTIAL, f"epoch {progress.epoch} of {progress.epochs}" if progress else "begun"


def _scores(trainings: Sequence[Training], column: Column, checkpoint: str) -> _Scores | None:
    """Per-face numbers, averaged over seeds on the faces that all seeds have; None where predictions are missing."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for training in trainings:
        result, faces = training.result(column.evaluation), training.faces(checkpoint, column.evaluation)
        if result is None:
            continue
        if faces is None:
            return None
        selected = _selected(faces, column, column.normaliser or result.protocol.normaliser)
        if isinstance(selected, str):
            continue
        parts.append((selected[0], face_scores(column.metric, selected[1])))
    if not parts:
        return None
    ids = parts[0][0]
    for other, _ in parts[1:]:
        ids = ids if np.array_equal(ids, other) else np.intersect1d(ids, other)
    if not len(ids):
        return None
    return _Scores(ids, np.mean([_on(_Scores(*part), ids) for part in parts], axis=0))


def _on(scores: _Scores, ids: np.ndarray) -> np.ndarray:
    """Numbers of some of the faces, in the order of ids, which scores must hold."""
    return scores.means if np.array_equal(scores.ids, ids) else scores.means[np.searchsorted(scores.ids, ids)]


def _intervals(scores: Mapping[str, _Scores]) -> dict[str, np.ndarray]:
    """Row -> (2,) interval; rows on the same number of faces are resampled at once."""
    found: dict[str, np.ndarray] = {}
    for count in {len(s.ids) for s in scores.values()}:
        names = [name for name, s in scores.items() if len(s.ids) == count]
        ends = intervals(np.stack([scores[name].means for name in names], axis=1))
        found |= dict(zip(names, ends, strict=True))
    return found


def _against(scores: Mapping[str, _Scores], baseline: str | None) -> dict[str, Paired]:
    """Comparisons with the baseline row, on the faces that both have."""
    if baseline is None or baseline not in scores:
        return {}
    base = scores[baseline]
    found: dict[str, Paired] = {}
    others = {name: s for name, s in scores.items() if name != baseline}
    same = [name for name, s in others.items() if np.array_equal(s.ids, base.ids)]
    if same:
        tests = paired_tests(np.stack([others[name].means for name in same], axis=1), base.means)
        found |= dict(zip(same, tests, strict=True))
    for name in others.keys() - set(same):
        shared = np.intersect1d(others[name].ids, base.ids)
        if len(shared):
            found[name] = paired_tests(_on(others[name], shared)[:, None], _on(base, shared))[0]
    return {name: test for name, test in found.items() if not np.isnan(test.p)}


def _scaled(paired: Paired, factor: float) -> Paired:
    return paired._replace(difference=factor * paired.difference, low=factor * paired.low, high=factor * paired.high)
