"""Reports from folders: of the tables of a sweep, or of runs that were made one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from facegraph.errors import RunError
from facegraph.metrics.names import NME, auc_name, failure_rate_name
from facegraph.records import RESULT_FILE, RunResult
from facegraph.reports.cells import Report, ReportRow
from facegraph.reports.measured import cells_of
from facegraph.reports.notes import marks_of, notes_of
from facegraph.reports.protocol import deviations, refuse
from facegraph.reports.runs import Training, check_checkpoint, training_of
from facegraph.reports.units import is_rate, measure_text
from facegraph.sweeps.identity import identity
from facegraph.sweeps.manifest import SweptTable, read_sweep
from facegraph.sweeps.status import DONE
from facegraph.sweeps.table import Column, Row, Table

_CONFIG = "config.yaml"
# where and when a run was made; two runs that differ in these only are one row
_NOT_A_ROW = ("seed", "output_dir", "resume", "name", "logger", "sweep", "hydra", "callbacks.progress")


def sweep_reports(
    folder: Path, table: str | None = None, checkpoint: str | None = None, mix_protocols: bool = False
) -> list[Report]:
    """Reports of a sweep's tables, or of the one that is named (with / or . between its parts).

    checkpoint: last or best; None for the one that each table names.

    Raises:
        RunError: no sweep, a damaged file, protocols that differ within a column. ConfigError: a wrong name.
    """
    folder = Path(folder)
    found = read_sweep(folder)
    if table is not None:
        chosen = [swept for swept in found if table.replace("/", ".") == swept.table.name.replace("/", ".")]
        if not chosen:
            names = ", ".join(swept.table.name for swept in found)
            raise RunError(f"{folder} has no table '{table}'; choose from {names}.")
        found = chosen
    return [sweep_report(swept, folder, checkpoint, mix_protocols) for swept in found]


def sweep_report(swept: SweptTable, folder: Path, checkpoint: str | None = None, mix_protocols: bool = False) -> Report:
    """Report of one swept table. Raises as `sweep_reports`."""
    trainings = {
        row.name: tuple(training_of(job, folder) for job in swept.jobs_of(row.name)) for row in swept.table.trained
    }
    return _report(swept.table, trainings, swept.scale, Path(folder), swept.command, checkpoint, mix_protocols)


def runs_report(folders: Sequence[Path], checkpoint: str | None = None, mix_protocols: bool = False) -> Report:
    """Report of finished runs: a row per configuration, the runs of a row differ in nothing but their seed.

    Columns: NME, FR and AUC at the thresholds of the primary normaliser, NME of each subset. Folders that eval.py
    wrote are runs too.

    Raises:
        RunError: a folder without a result, protocols that differ. ConfigError: a wrong checkpoint.
    """
    runs = [_run(Path(folder)) for folder in folders]
    groups: dict[str, list[tuple[Path, RunResult, str]]] = {}
    for folder, result, settings in runs:
        # the same settings and seed twice: two rows, since they are no two seeds
        again = sum(r.protocol.seed == result.protocol.seed for _, r, _ in groups.get(settings, []))
        groups.setdefault(f"{settings}#{again}" if again else settings, []).append((folder, result, settings))
    labels = _labels([[(folder, result) for folder, result, _ in group] for group in groups.values()])
    rows, trainings = [], {}
    for label, group in zip(labels, groups.values(), strict=True):
        rows.append(Row(label, label, overrides=tuple(_common(group)), value=None))
        trainings[label] = tuple(
            Training(label, r.protocol.seed, folder, DONE, tuple(r.provenance.overrides), settings)
            for folder, r, settings in group
        )
    first = runs[0][1]
    table = Table(
        name="runs",
        title=f"{first.protocol.dataset} {first.protocol.split}: {first.protocol.test_faces} faces",
        source="",
        cost="",
        rows=tuple(rows),
        columns=_columns(first),
    )
    parent = Path(folders[0]).parent
    return _report(table, trainings, "", parent, (), checkpoint, mix_protocols)


def _report(
    table: Table,
    trainings: Mapping[str, tuple[Training, ...]],
    scale: str,
    folder: Path,
    command: tuple[str, ...],
    checkpoint: str | None,
    mix_protocols: bool,
) -> Report:
    shown = check_checkpoint(checkpoint or table.checkpoint)
    unexplained, meant = deviations(table, trainings, scale)
    if not mix_protocols:
        refuse(table, unexplained)
    columns = {column.name: cells_of(table, trainings, column, shown) for column in table.columns}
    marks = marks_of(unexplained)
    rows = tuple(
        ReportRow(
            row,
            trainings.get(row.name, ()),
            {name: cells[row.name] for name, cells in columns.items()},
            marks.get(row.name, ""),
        )
        for row in table.rows
    )
    rates = [cell for column in table.columns if is_rate(column.metric) for cell in columns[column.name].values()]
    without_failures = any(cell.mean == 0 for cell in rates)
    notes = notes_of(table, trainings, scale, shown, unexplained, meant, without_failures)
    return Report(table, scale, shown, folder, command, rows, notes)


def _run(folder: Path) -> tuple[Path, RunResult, str]:
    if not (folder / RESULT_FILE).is_file():
        raise RunError(
            f"{folder} holds neither a sweep (tables/*.json) nor a finished run ({RESULT_FILE}). Give the folder of a "
            "sweep, or folders of runs."
        )
    result = RunResult.read(folder)
    path = folder / _CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"cannot read {path}: {error}. Restore the file, or leave the folder out.") from None
    # an evaluation has no configuration of its own: a row for itself
    settings = identity(_without_seeds(config)) if isinstance(config, dict) else str(folder.absolute())
    return folder, result, settings


def _without_seeds(node: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without its seed, which other keys repeat."""
    return {
        key: _without_seeds(value) if isinstance(value, Mapping) else value
        for key, value in node.items()
        if key not in _NOT_A_ROW
    }


def _common(group: Sequence[tuple[Path, RunResult, str]]) -> list[str]:
    """Overrides that all runs of a row share, but for those that name a place or a seed."""
    first = group[0][1].provenance.overrides
    return [o for o in first if _tells(o) and all(o in r.provenance.overrides for _, r, _ in group)]


def _labels(groups: Sequence[Sequence[tuple[Path, RunResult]]]) -> list[str]:
    """What tells the rows apart: overrides that not all of them have, otherwise the names of their folders."""
    told = [[o for o in group[0][1].provenance.overrides if _tells(o)] for group in groups]
    shared = set(told[0]).intersection(*map(set, told))
    labels = [" ".join(o for o in overrides if o not in shared) for overrides in told]
    if all(labels) and len(set(labels)) == len(labels):
        return labels
    names = [group[0][0].name for group in groups]
    return names if len(set(names)) == len(names) else [str(group[0][0]) for group in groups]


def _tells(override: str) -> bool:
    return override.split("=", 1)[0].lstrip("+~").split(".")[0] not in _NOT_A_ROW


def _columns(result: RunResult) -> tuple[Column, ...]:
    card = result.protocol
    thresholds = card.thresholds.get(card.normaliser, ())
    metrics = [NME, *(name(t) for t in thresholds for name in (failure_rate_name, auc_name))]
    summary = next(iter(result.metrics["test"].values()))
    subsets = [name for name, found in summary["subsets"].items() if found["count"]]
    return (
        *(Column(metric, measure_text(metric), metric) for metric in metrics),
        *(Column(f"nme/{name}", f"NME {name}", NME, subset=name) for name in subsets),
    )
