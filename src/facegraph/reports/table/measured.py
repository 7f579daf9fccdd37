"""Cells from run folders: values over seeds, intervals over faces, comparisons with the baseline row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facegraph.metrics.bootstrap import Interval, Paired, intervals, paired_tests
from facegraph.metrics.face_scores import face_scores
from facegraph.records import CONFIDENCE
from facegraph.reports.table.cells import ABSENT, PUBLISHED, Cell
from facegraph.reports.table.protocol import Deviation
from facegraph.reports.table.trainings import Faces, Training
from facegraph.reports.table.units import COSTS, unit_of
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Column, Row, Table, of_confidence

Trainings = Mapping[str, Sequence[Training]]
# fields of a protocol card without which two errors are not of the same faces and measure
_MEASURE = {
    "dataset", "split", "scheme", "num_landmarks", "test_faces", "test_hash", "crop", "crop_margin", "normaliser",
    "corruption",
}  # fmt: skip


class _Scores(NamedTuple):
    """Numbers per face.

    Args:
        ids: (M,) sorted.
        values: (M,), or (S, M) of S seeds.
    """

    ids: np.ndarray
    values: np.ndarray


def cells_of(
    table: Table, trainings: Trainings, column: Column, checkpoint: str, unexplained: Sequence[Deviation] = ()
) -> dict[str, Cell]:
    """A column: row -> cell, of every row of the table.

    Args:
        unexplained: rows of another protocol; where faces or the measure differ they are neither tested nor best.

    Raises:
        RunError: a damaged file. ConfigError: an unknown metric.
    """
    cells = {row.name: _cell(row, trainings.get(row.name, ()), column, checkpoint, table) for row in table.rows}
    if column.metric in COSTS:
        return cells
    apart = {d.row for d in unexplained if d.evaluation == column.evaluation and _measured_apart(d, column)}
    if of_confidence(column.metric):  # no mean over faces: neither interval nor test
        return {name: replace(cell, comparable=name not in apart) for name, cell in cells.items()}
    scores = {
        name: s
        for name, cell in cells.items()
        if cell.state == DONE and (s := _scores(trainings[name], column, checkpoint))
    }
    factor = unit_of(column.metric).factor
    means = {name: m for name, s in scores.items() if s.keys() >= set(cells[name].values) and (m := _over_seeds(s))}
    found = _intervals(means)
    against = {} if table.baseline in apart else _against(scores, table.baseline, apart)
    for name, mean in means.items():
        cells[name] = replace(cells[name], interval=_scaled_interval(found[name], factor), faces=len(mean.ids))
    for name in scores:
        test = against.get(name)
        cells[name] = replace(
            cells[name],
            against=_scaled(test, factor) if test is not None else None,
            remark=cells[name].remark or _untested(name, scores, table),
            comparable=name not in apart,
        )
    return cells


def _measured_apart(deviation: Deviation, column: Column) -> bool:
    """Whether a row was scored on other faces, other images of them, or by another measure."""
    fields = set(deviation.fields) & _MEASURE
    return bool(fields - {"normaliser"} if column.normaliser is not None else fields)


def _untested(name: str, scores: Mapping[str, Mapping[int, _Scores]], table: Table) -> str:
    """Why a row with scores has no test, or one of other seeds than its mean."""
    if table.baseline is None or table.baseline == name or table.baseline not in scores:
        return ""
    shared = sorted(scores[name].keys() & scores[table.baseline].keys())
    other = table.row(table.baseline).label
    if not shared:
        return f"no seed in common with {other}: not tested"
    if scores[name].keys() != scores[table.baseline].keys():
        return f"tested against {other} with seeds {', '.join(map(str, shared))} only"
    return ""


def _cell(row: Row, trainings: Sequence[Training], column: Column, checkpoint: str, table: Table) -> Cell:
    paper, counted = row.paper.get(column.name), row.counted.get(column.name)
    if row.overrides is None:
        return Cell(PUBLISHED if paper is not None else ABSENT, paper=paper)
    if column.evaluation is not None and column.evaluation not in {e.name for e in table.evaluations_of(row)}:
        return Cell(ABSENT, paper=paper, counted=counted, remark=f"not scored under {column.evaluation}")
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
        return Cell(state, {}, states, paper=paper, counted=counted, remark=remark)
    numbers = np.array(list(values.values()))
    finite = bool(np.isfinite(numbers).all())
    missing = len(states) - len(values)
    rest = [t for t in trainings if t.seed not in values]
    remark = f"{len(values)} of {len(states)} seeds; {lacking or _unfinished(rest, states)[1]}" if missing else ""
    if not finite:
        remark = _not_finite(done, column, checkpoint)
    return Cell(
        DONE,
        values,
        states,
        mean=float(numbers.mean()) if finite else None,
        std=float(numbers.std(ddof=1)) if finite and len(numbers) > 1 else None,
        paper=paper,
        counted=counted,
        remark=remark,
    )


def _value(training: Training, column: Column, checkpoint: str) -> float | str:
    """A fraction or a cost; words where the training is done but has no such number."""
    result = training.result(column.evaluation)
    assert result is not None
    if column.metric in COSTS:
        cost = getattr(result.provenance, column.metric)
        return f"{column.metric} was not measured" if cost is None else float(cost)
    if of_confidence(column.metric):
        return _said(result.metrics.get("test", {}).get(checkpoint), column.metric, checkpoint)
    faces = training.faces(checkpoint, column.evaluation)
    normaliser = column.normaliser or result.protocol.normaliser
    if faces is None:
        return _recorded(result.metrics.get("test", {}).get(checkpoint), column, normaliser, checkpoint)
    errors = _selected(faces, column, normaliser)
    if isinstance(errors, str):
        return errors
    return float(np.mean(face_scores(column.metric, errors[1])))


def _not_finite(trainings: Sequence[Training], column: Column, checkpoint: str) -> str:
    """How many faces have no finite error, by seed."""
    found = []
    for training in trainings:
        scores = _scores([training], column, checkpoint).get(training.seed)
        count = 0 if scores is None else int((~np.isfinite(scores.values)).sum())
        if scores is not None and count:
            found.append(f"{count} of {len(scores.ids)} faces have no finite error (seed {training.seed})")
    return f"not finite: {'; '.join(found)}"


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


def _said(summary: Mapping | None, metric: str, checkpoint: str) -> float | str:
    """What result.json has of a model's confidence."""
    if summary is None:
        return f"no test of checkpoint {checkpoint}"
    value = summary.get(CONFIDENCE, {}).get(metric)
    return f"no {metric} in its result" if value is None else float(value)


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


def _scores(trainings: Sequence[Training], column: Column, checkpoint: str) -> dict[int, _Scores]:
    """Seed -> numbers per face, of trainings with predictions."""
    parts: dict[int, _Scores] = {}
    for training in trainings:
        result, faces = training.result(column.evaluation), training.faces(checkpoint, column.evaluation)
        if result is None or faces is None:
            continue
        selected = _selected(faces, column, column.normaliser or result.protocol.normaliser)
        if not isinstance(selected, str):
            parts[training.seed] = _Scores(selected[0], face_scores(column.metric, selected[1]))
    return parts


def _over_seeds(parts: Mapping[int, _Scores]) -> _Scores | None:
    """Means over seeds on the faces that all of them have; None without such a face."""
    found = _by_seed(parts, parts)
    return None if found is None else _Scores(found.ids, found.values.mean(axis=0))


def _by_seed(parts: Mapping[int, _Scores], seeds: Iterable[int]) -> _Scores | None:
    """Numbers (S, M) of some seeds in rising order, on the faces that all of them have; None without such a face."""
    chosen = [parts[seed] for seed in sorted(seeds)]
    ids = chosen[0].ids
    for other in chosen[1:]:
        ids = ids if np.array_equal(ids, other.ids) else np.intersect1d(ids, other.ids)
    return _Scores(ids, np.stack([_on(part, ids) for part in chosen])) if len(ids) else None


def _on(scores: _Scores, ids: np.ndarray) -> np.ndarray:
    """Numbers of some of the faces, in the order of ids, which scores must hold."""
    return scores.values if np.array_equal(scores.ids, ids) else scores.values[..., np.searchsorted(scores.ids, ids)]


def _intervals(scores: Mapping[str, _Scores]) -> dict[str, np.ndarray]:
    """Row -> (2,) interval; rows on the same number of faces are resampled at once."""
    found: dict[str, np.ndarray] = {}
    for count in {len(s.ids) for s in scores.values()}:
        names = [name for name, s in scores.items() if len(s.ids) == count]
        ends = intervals(np.stack([scores[name].values for name in names], axis=1))
        found |= dict(zip(names, ends, strict=True))
    return found


def _against(
    scores: Mapping[str, Mapping[int, _Scores]], baseline: str | None, apart: Collection[str]
) -> dict[str, Paired]:
    """Comparisons with the baseline row, on the faces and with the seeds that both have."""
    if baseline is None or baseline not in scores:
        return {}
    # resampled together: rows that share seeds and faces with the baseline
    groups: dict[tuple[tuple[int, ...], tuple[str, ...]], list[str]] = {}
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in scores.keys() - {baseline, *apart}:
        seeds = tuple(sorted(scores[name].keys() & scores[baseline].keys()))
        if not seeds:
            continue
        mine, base = _by_seed(scores[name], seeds), _by_seed(scores[baseline], seeds)
        if mine is None or base is None:
            continue
        same = np.array_equal(mine.ids, base.ids)
        shared = base.ids if same else np.intersect1d(mine.ids, base.ids)
        if len(shared):
            pairs[name] = _on(mine, shared), _on(base, shared)
            groups.setdefault((seeds, tuple(shared)), []).append(name)
    found: dict[str, Paired] = {}
    for names in groups.values():
        tests = paired_tests(np.stack([pairs[name][0] for name in names], axis=-1), pairs[names[0]][1])
        found |= dict(zip(names, tests, strict=True))
    return {name: test for name, test in found.items() if not np.isnan(test.p)}


def _scaled(paired: Paired, factor: float) -> Paired:
    return paired._replace(difference=factor * paired.difference, low=factor * paired.low, high=factor * paired.high)


def _scaled_interval(ends: np.ndarray, factor: float) -> Interval | None:
    return None if np.isnan(ends).any() else Interval(*(factor * float(end) for end in ends))
