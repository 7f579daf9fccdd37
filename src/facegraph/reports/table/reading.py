"""Reports from folders: of the tables of a sweep, or of runs that were made one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from facegraph.errors import RunError
from facegraph.files import plain_yaml
from facegraph.metrics.names import NME, auc_name, failure_rate_name
from facegraph.records import RESULT_FILE, RunResult
from facegraph.reports.table.cells import Report, ReportRow
from facegraph.reports.table.measured import cells_of
from facegraph.reports.table.notes import marks_of, notes_of
from facegraph.reports.table.protocol import deviations, refuse
from facegraph.reports.table.trainings import Training, check_checkpoint, training_in, training_of
from facegraph.reports.table.units import measure_text
from facegraph.sweeps.identity import identity
from facegraph.sweeps.manifest import TABLES_FOLDER, SweptTable, read_sweep, read_table
from facegraph.sweeps.table import Column, Row, Table

_CONFIG = "config.yaml"
# where and when a run was made; two runs that differ in these only are one row
_NOT_A_ROW = ("seed", "output_dir", "resume", "name", "logger", "sweep", "sweep_dir", "hydra")


def sweep_reports(
    folder: Path, table: str | None = None, checkpoint: str | None = None, mix_protocols: bool = False
) -> list[Report]:
    """Reports of a sweep's tables, or of the one that is named (with / or . between its parts).

    Args:
        checkpoint: last or best; None for the one that each table names.

    Raises:
        RunError: no sweep, a damaged file, protocols that differ within a column. ConfigError: a wrong name.
    """
    folder = Path(folder)
    found = read_sweep(folder) if table is None else [_table_of(folder, table)]
    return [sweep_report(swept, folder, checkpoint, mix_protocols) for swept in found]


def _table_of(folder: Path, name: str) -> SweptTable:
    """The named table of a sweep; a damaged file of another table does not matter."""
    path = folder / TABLES_FOLDER / f"{name.replace('/', '.')}.json"
    if path.is_file():
        return read_table(path)
    # the first part of a name is its folder below sweeps/
    names = sorted(other.stem.replace(".", "/", 1) for other in path.parent.glob("*.json"))
    raise RunError(f"{folder} has no table '{name}'; choose from {', '.join(names)}.")


def sweep_report(swept: SweptTable, folder: Path, checkpoint: str | None = None, mix_protocols: bool = False) -> Report:
    """Report of one swept table. Raises as `sweep_reports`."""
    trainings = {
        row.name: tuple(training_of(job, folder) for job in swept.jobs_of(row.name)) for row in swept.table.trained
    }
    return _report(swept.table, trainings, swept.scale, Path(folder), swept.command, checkpoint, mix_protocols)


def runs_report(folders: Sequence[Path], checkpoint: str | None = None, mix_protocols: bool = False) -> Report:
    """Report of finished runs: a row per configuration, the runs of a row differ in nothing but their seed.

    Columns: NME, FR and AUC at the thresholds of the primary normaliser, NME of each subset. Folders that eval.py
    wrote are runs too. Runs that are not finished are shown as such.

    Raises:
        RunError: a folder that is no run, no finished run, protocols that differ. ConfigError: a wrong checkpoint.
    """
    runs = [_run(Path(folder)) for folder in folders]
    first = next((result for run in runs if (result := run.result()) is not None), None)
    if first is None:
        raise RunError(
            f"none of the {len(runs)} runs is finished, the first one {runs[0].folder}. Report them when one is."
        )
    groups: dict[str, list[Training]] = {}
    for run in runs:
        # the same settings and seed twice: two rows, since they are no two seeds
        names = (run.identity if number == 0 else f"{run.identity}#{number}" for number in count())
        name = next(n for n in names if all(other.seed != run.seed for other in groups.get(n, ())))
        groups.setdefault(name, []).append(run)
    rows, trainings = [], {}
    for label, group in zip(_labels(list(groups.values())), groups.values(), strict=True):
        rows.append(Row(label, label, overrides=tuple(_common(group)), value=None))
        trainings[label] = tuple(replace(run, row=label) for run in group)
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
    columns = {column.name: cells_of(table, trainings, column, shown, unexplained) for column in table.columns}
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
    notes = notes_of(table, trainings, scale, shown, unexplained, meant, columns)
    return Report(table, scale, shown, folder, command, rows, notes)


def _run(folder: Path) -> Training:
    """A run folder, its settings as its identity."""
    path = folder / _CONFIG
    if not (folder / RESULT_FILE).is_file() and not path.is_file():
        raise RunError(
            f"{folder} holds neither a sweep (tables/*.json) nor a run ({RESULT_FILE} or {_CONFIG}). Give the folder "
            "of a sweep, or folders of runs."
        )
    try:
        config = plain_yaml.load(path) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}. Restore the file, or leave the folder out.") from None
    # an evaluation has no configuration of its own: a row for itself
    settings = identity(_settings(config)) if isinstance(config, dict) else str(folder.absolute())
    seed = int(config.get("seed") or 0) if isinstance(config, dict) else 0
    run = training_in(folder, "", seed, (), settings)
    result = run.result()
    if result is None:
        return run
    return replace(run, seed=result.protocol.seed, overrides=tuple(result.provenance.overrides))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without what does not make a row, and without its seed, which other keys repeat."""
    return _without_seeds({key: value for key, value in config.items() if key not in _NOT_A_ROW})


def _without_seeds(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_seeds(value) if isinstance(value, Mapping) else value
        for key, value in node.items()
        if key != "seed"
    }


def _common(group: Sequence[Training]) -> list[str]:
    """Overrides that all finished runs of a row share, but for those that name a place or a seed."""
    done = [run.overrides for run in _done(group)]
    return [o for o in done[0] if _tells(o) and all(o in overrides for overrides in done)] if done else []


def _labels(groups: Sequence[Sequence[Training]]) -> list[str]:
    """What tells the rows apart: overrides that not all of them have, otherwise the names of their folders."""
    told = [_common(group) for group in groups]
    known = [set(overrides) for overrides, group in zip(told, groups, strict=True) if _done(group)]
    shared = set.intersection(*known) if known else set()
    # an unfinished run has not written its overrides down
    labels = [
        " ".join(o for o in overrides if o not in shared) if _done(group) else group[0].folder.name
        for overrides, group in zip(told, groups, strict=True)
    ]
    if all(labels) and len(set(labels)) == len(labels):
        return labels
    names = [group[0].folder.name for group in groups]
    return names if len(set(names)) == len(names) else [str(group[0].folder) for group in groups]


def _done(group: Sequence[Training]) -> list[Training]:
    return [run for run in group if run.result() is not None]


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
