"""A sweep folder: one file per table that says which job is which row, and the jobs' run folders.

<sweep>/tables/<name with dots>.json     table, scale, jobs, command
<sweep>/jobs/<identity>/                 a run folder each; tables in one sweep folder share equal jobs
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from facegraph.errors import RunError
from facegraph.files import plain_json
from facegraph.files.atomic import write_atomically
from facegraph.files.locking import HeldError, held
from facegraph.sweeps.identity import FOLDER_NAME
from facegraph.sweeps.table import Row, Table, table_from

TABLES_FOLDER = "tables"
JOBS_FOLDER = "jobs"
SCHEMA_VERSION = 1
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """One training of a row with one seed.

    Args:
        row: name of the row.
        seed: of the training.
        identity: hash of its settings, and the name of its folder.
        overrides: all of train.py, in order.
        scored: names of the conditions under which it is scored.
    """

    row: str
    seed: int
    identity: str
    overrides: tuple[str, ...]
    scored: tuple[str, ...] = ()

    def folder(self, sweep: Path) -> Path:
        return Path(sweep) / JOBS_FOLDER / self.identity


@dataclass(frozen=True)
class SweptTable:
    """A table as it was swept.

    Args:
        table: as its file describes it.
        scale: paper, small or smoke.
        jobs: in the order of rows and seeds.
        command: what was last typed after train.py.
        fixed: the overrides given for all rows that can change numbers.
    """

    table: Table
    scale: str
    jobs: tuple[Job, ...]
    command: tuple[str, ...]
    fixed: tuple[str, ...] = ()

    def jobs_of(self, row: str) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.row == row)


def write_table(sweep: Path, swept: SweptTable) -> Path:
    """Write a table's file; rows and seeds of an earlier call stay, those planned again are replaced.

    A file that cannot be read is set aside under another name.

    Raises:
        RunError: the folder holds the table with other settings for all rows, which no row may mix, or another process
            is writing it.
    """
    path = _path(sweep, swept.table.name)
    with _alone(path):
        content = _content(_with_earlier(swept, _earlier(path, swept)))
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def earlier_jobs(sweep: Path, table: str) -> tuple[Job, ...]:
    """Jobs that a table's file names; none where there is no file or it cannot be read."""
    try:
        return read_table(_path(sweep, table)).jobs
    except RunError:
        return ()


def forget_job(sweep: Path, table: str, job: Job) -> None:
    """Take a job out of a table's file; its folder stays."""
    path = _path(sweep, table)
    with _alone(path):
        swept = read_table(path)
        content = _content(replace(swept, jobs=tuple(other for other in swept.jobs if other != job)))
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _earlier(path: Path, swept: SweptTable) -> SweptTable | None:
    if not path.exists():
        return None
    try:
        earlier = read_table(path)
    except RunError:
        path.replace(path.with_name(f"{path.name}.unreadable-{time.time_ns()}"))
        return None
    if earlier.jobs and swept.jobs and (earlier.scale, set(earlier.fixed)) != (swept.scale, set(swept.fixed)):
        before, now = (" ".join((f"scale={t.scale}", *t.fixed)) for t in (earlier, swept))
        raise RunError(
            f"{path.parents[1]} holds {swept.table.name} swept with `{before}`, not `{now}`, and a row never mixes "
            "trainings of different settings. Give the same settings, or another sweep_dir."
        )
    return earlier


def _with_earlier(swept: SweptTable, earlier: SweptTable | None) -> SweptTable:
    if earlier is None:
        return swept
    planned = {(job.row, job.seed) for job in swept.jobs}
    kept = [job for job in earlier.jobs if (job.row, job.seed) not in planned]
    named = {row.name for row in swept.table.rows}
    # rows that only an earlier call had, such as other values of a plain multirun
    added = [
        _as_of(row, swept.table) for row in earlier.table.rows if row.name not in named and earlier.jobs_of(row.name)
    ]
    rows = (*swept.table.rows, *added)
    order = {row.name: i for i, row in enumerate(rows)}
    jobs = sorted([*kept, *swept.jobs], key=lambda job: (order[job.row], job.seed))
    return replace(swept, table=replace(swept.table, rows=rows), jobs=tuple(jobs))


def _as_of(row: Row, table: Table) -> Row:
    """A row of an earlier version of a table without what the table no longer has."""
    columns, conditions = {c.name for c in table.columns}, {e.name for e in table.evaluations}
    scored = None if row.evaluations is None else tuple(name for name in row.evaluations if name in conditions)
    paper, counted = ({k: v for k, v in given.items() if k in columns} for given in (row.paper, row.counted))
    return replace(row, paper=paper, counted=counted, evaluations=scored)


def _content(swept: SweptTable) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "scale": swept.scale,
        "command": list(swept.command),
        "fixed": list(swept.fixed),
        "table": swept.table.to_dict(),
        "jobs": [asdict(job) for job in swept.jobs],
    }


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two sweeps that add seeds to one table at once wait for each other."""
    try:
        with held(path.with_name(f".{path.name}.lock"), _PATIENCE_SECONDS):
            yield
    except HeldError as error:
        raise RunError(f"process {error.holder} is writing {path}. Wait for it, or end it.") from error


def read_sweep(sweep: Path) -> list[SweptTable]:
    """All tables of a sweep folder, by name.

    Raises:
        RunError: no sweep lies there, or a file is damaged.
    """
    paths = sorted((Path(sweep) / TABLES_FOLDER).glob("*.json"))
    if not paths:
        raise RunError(
            f"{sweep} holds no sweep: {TABLES_FOLDER}/*.json is missing. Give the folder that the sweep printed."
        )
    return [read_table(path) for path in paths]


def is_sweep(folder: Path) -> bool:
    return any((Path(folder) / TABLES_FOLDER).glob("*.json"))


def read_table(path: Path) -> SweptTable:
    """Raises RunError: unreadable, damaged, or of another version."""
    try:
        content: dict[str, Any] = plain_json.load(path)
        if content["schema_version"] != SCHEMA_VERSION:
            raise RunError(
                f"{path} has version {content['schema_version']}, this facegraph reads {SCHEMA_VERSION}; "
                "run the sweep again."
            )
        table = table_from(content["table"])
        return SweptTable(
            table=table,
            scale=plain_json.as_type(content["scale"], str, "scale"),
            jobs=_jobs(content["jobs"]),
            command=plain_json.as_type(content["command"], tuple[str, ...], "command"),
            fixed=plain_json.as_type(content.get("fixed", []), tuple[str, ...], "fixed"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"cannot read the table of a sweep from {path}: {error}. Run the sweep again.") from error


def _jobs(entries: Any) -> tuple[Job, ...]:
    """Raises ValueError: no jobs, or names that lead out of the sweep's folder."""
    jobs = plain_json.as_type(entries, tuple[Job, ...], "jobs")
    for job in jobs:
        for name in (job.identity, *job.scored):
            if not FOLDER_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot be the name of a job's folder")
    return jobs


def _path(sweep: Path, name: str) -> Path:
    return Path(sweep) / TABLES_FOLDER / f"{name.replace('/', '.')}.json"
