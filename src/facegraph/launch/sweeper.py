"""One multirun from its command to its summary, whatever executor runs the jobs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from facegraph.errors import ConfigError, FacegraphError
from facegraph.files.plain_text import printable
from facegraph.launch.live import print_summary
from facegraph.launch.local import LocalExecutor
from facegraph.launch.plan import (
    Command,
    PlannedJob,
    check_tables,
    parse_command,
    plan_table,
    still_composes,
    tables_of,
)
from facegraph.launch.slurm import SlurmExecutor
from facegraph.runs.compose import make
from facegraph.runs.folder import make_writable
from facegraph.runs.job import IN_PROCESS
from facegraph.runs.settings import check
from facegraph.sweeps.manifest import SweptTable, earlier_jobs, forget_job, write_table
from facegraph.sweeps.status import read_failure

_EXECUTORS = [f"{kind.__module__}.{kind.__name__}" for kind in (LocalExecutor, SlurmExecutor)]


def refuse_unknown(arguments: Sequence[str]) -> None:
    """End the program where its command line names a table that does not exist, see `check_tables`, or a sweeper of
    another package.
    """
    for argument in arguments:
        if argument.startswith("hydra/sweeper=") and argument != "hydra/sweeper=table":
            sys.exit(f"error: {argument} {IN_PROCESS}")
    try:
        check_tables(arguments)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


def run_sweep(arguments: Sequence[str], config: DictConfig) -> list[str]:
    """Run the jobs of a multirun that are not done. Ends the program with 1 where a job failed.

    Args:
        arguments: the overrides that Hydra hands to its sweeper.
        config: composed with those that have one value.

    Returns:
        The identities of all jobs.
    """
    try:
        command = parse_command(arguments, typed=sys.argv[1:])
        swept, jobs = _plan(command, config)
        folder = _folder(command, swept, config.sweep_dir)
        executor = executor_of(config.hydra.launcher)
        make_writable(folder, "sweep_dir")
        for table in swept:
            _drop_changed(folder, table)
            write_table(folder, table)
        if not jobs:
            print(f"facegraph trains no row of these tables; facegraph report {folder} shows their published values.")
            return []
        open_jobs = [job for job in jobs if not job.is_done(folder)]
        done = len(jobs) - len(open_jobs)
        also = f", {done} of them done already" if done else ""
        print(f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} in {folder}{also}", flush=True)
        if open_jobs:
            board, stop = executor.run(folder, open_jobs)
            print_summary(executor.console, board)
            if stop is not None:
                print(printable(f"{stop.message}{shlex.join(['python', *sys.argv])}"), flush=True)
                sys.exit(128 + stop.signal)
    except FacegraphError as error:
        sys.exit(f"error: {error}")
    if _summary(folder, jobs):
        sys.exit(1)
    return [job.job.identity for job in jobs]


def executor_of(config: DictConfig) -> LocalExecutor | SlurmExecutor:
    """What runs the jobs, of hydra/launcher.

    Raises:
        ConfigError: a launcher of another package, or a setting that cannot be used.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True)
    target = str(settings.get("_target_"))
    if target not in _EXECUTORS:
        raise ConfigError(f"{target.rsplit('.', 1)[-1]} {IN_PROCESS}")
    check({"hydra": {"launcher": settings}}, get_object)
    return make({**settings, "_convert_": "all"})


def _folder(command: Command, swept: Sequence[SweptTable], given: str | None) -> Path:
    if given:
        return Path(given).absolute()
    name = command.sweeps[0] if len(command.sweeps) == 1 else "+".join(table.table.name for table in swept)
    return (Path("outputs/sweeps") / name / command.scale).absolute()


def _plan(command: Command, config: DictConfig) -> tuple[list[SweptTable], list[PlannedJob]]:
    """Tables as they are swept, and their jobs without those that two rows share."""
    tables: list[SweptTable] = []
    jobs: dict[str, PlannedJob] = {}
    for table in tables_of(command, config):
        swept, planned = plan_table(table, command)
        tables.append(swept)
        for job in planned:
            known = jobs.get(job.job.identity)
            jobs[job.job.identity] = job if known is None else known.scored_too(job)
    return tables, list(jobs.values())


def _drop_changed(folder: Path, swept: SweptTable) -> None:
    """Take jobs of an earlier call out of a table whose settings conf/ no longer has; their folders stay."""
    planned = {(job.row, job.seed) for job in swept.jobs}
    for job in earlier_jobs(folder, swept.table.name):
        if (job.row, job.seed) not in planned and not still_composes(job):
            print(
                f"{swept.table.name} {job.row} seed {job.seed} left out: conf/ has changed since; {job.folder(folder)}"
            )
            forget_job(folder, swept.table.name, job)


def _summary(folder: Path, jobs: Sequence[PlannedJob]) -> int:
    """Print what is done and what is not, and why; returns the number of jobs that are not done."""
    unfinished = [job for job in jobs if not job.is_done(folder)]
    for job in unfinished:
        failure = read_failure(job.job.folder(folder))
        why = f"failed ({failure.kind}): {(failure.message.splitlines() or [''])[0]}" if failure else "not finished"
        print(printable(f"{job.table} {job.job.row} seed {job.job.seed}: {why}  [{job.job.folder(folder)}]"))
    print(f"{len(jobs) - len(unfinished)} of {len(jobs)} jobs are done. facegraph report {folder} shows the table.")
    if unfinished:
        print("The same command again continues with what is not done.")
    return len(unfinished)
