"""A sweep folder: one file per table that says which job is which row, and the jobs' run folders.

<sweep>/tables/<name with dots>.json     table, scale, jobs, command
<sweep>/jobs/<identity>/                 a run folder each; tables in one sweep folder share equal jobs
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from facegraph.errors import RunError
from facegraph.records.files import write_atomically
from facegraph.sweeps.table import Table, table_from

TABLES_FOLDER = "tables"
JOBS_FOLDER = "jobs"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Job:
    """One training of a row with one seed. overrides: all of train.py, in order. scored: names of its conditions."""

    row: str
    seed: int
    identity: str
    overrides: tuple[str, ...]
    scored: tuple[str, ...] = ()

    def folder(self, sweep: Path) -> Path:
        return Path(sweep) / JOBS_FOLDER / self.identity


@dataclass(frozen=True)
class SweptTable:
    """A table as it was swept. command: what the user typed after train.py."""

    table: Table
    scale: str
    jobs: tuple[Job, ...]
    command: tuple[str, ...]

    def jobs_of(self, row: str) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.row == row)


def write_table(sweep: Path, swept: SweptTable) -> Path:
    """Write a table's file; rows and seeds of an earlier call stay, those planned again are replaced."""
    path = _path(sweep, swept.table.name)
    planned = {(job.row, job.seed) for job in swept.jobs}
    earlier = read_table(path) if path.exists() else replace(swept, jobs=())
    kept = [job for job in earlier.jobs if (job.row, job.seed) not in planned]
    named = [row.name for row in swept.table.rows]
    # rows that only an earlier call had, such as other values of a plain multirun
    rows = (*swept.table.rows, *(r for r in earlier.table.rows if r.name not in named and earlier.jobs_of(r.name)))
    order = {row.name: i for i, row in enumerate(rows)}
    jobs = sorted([*kept, *swept.jobs], key=lambda job: (order[job.row], job.seed))
    table = replace(swept.table, rows=rows)
    content = {
        "schema_version": SCHEMA_VERSION,
        "scale": swept.scale,
        "command": list(swept.command),
        "table": table.to_dict(),
        "jobs": [asdict(job) for job in jobs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


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
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise RunError(
                f"{path} has version {content['schema_version']}, this facegraph reads {SCHEMA_VERSION}; "
                "run the sweep again."
            )
        return SweptTable(
            table=table_from(content["table"]),
            scale=content["scale"],
            jobs=tuple(_jobs(content["jobs"])),
            command=tuple(content["command"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"cannot read the table of a sweep from {path}: {error}. Run the sweep again.") from error


def _jobs(entries: Iterable[dict[str, Any]]) -> Iterable[Job]:
    for entry in entries:
        yield Job(**{**entry, "overrides": tuple(entry["overrides"]), "scored": tuple(entry["scored"])})


def _path(sweep: Path, name: str) -> Path:
    return Path(sweep) / TABLES_FOLDER / f"{name.replace('/', '.')}.json"
