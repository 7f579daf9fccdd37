"""One multirun from its command to its summary, whatever launcher runs the jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from facegraph.errors import ConfigError, FacegraphError
from facegraph.files.plain_text import printable
from facegraph.launch.plan import (
    Command,
    PlannedJob,
    check_tables,
    parse_command,
    plan_table,
    still_composes,
    tables_of,
)
from facegraph.runs.folder import make_writable
from facegraph.sweeps.conditions import state_of
from facegraph.sweeps.manifest import SweptTable, earlier_jobs, forget_job, write_table
from facegraph.sweeps.status import DONE, FAILED, read_failure

# launchers that start train.py anew for every job; others run jobs inside a process that Hydra already works in
_OWN_PROCESSES = ("hydra_plugins.facegraph_sweeper.",)


def refuse_unknown_tables(arguments: Sequence[str]) -> None:
    """End the program where sweeps= on its command line names a table that does not exist, see `check_tables`."""
    try:
        check_tables(arguments)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


class Sweep:
    """What Hydra hands over, kept until it says which arguments to sweep over."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task, self._config = hydra_context, task_function, config

    def run(self, arguments: Sequence[str]) -> list[str]:
        """Run the jobs that are not done; returns the identities of all. Ends the program with 1 where a job failed."""
        try:
            command = parse_command(arguments, typed=sys.argv[1:])
            swept, jobs = _plan(command, self._config)
            folder = self._folder(command, swept)
            _refuse_in_process(jobs, str(self._config.hydra.launcher.get("_target_")))
            make_writable(folder, "sweep_dir")
            for table in swept:
                _drop_changed(folder, table)
                write_table(folder, table)
        except FacegraphError as error:
            sys.exit(f"error: {error}")
        if not jobs:
            print(f"facegraph trains no row of these tables; facegraph report {folder} shows their published values.")
            return []
        open_jobs = [job for job in jobs if state_of(job.job.folder(folder), job.evaluations) != DONE]
        done = len(jobs) - len(open_jobs)
        print(
            f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} in {folder}"
            + (f", {done} of them done already" if done else ""),
            flush=True,
        )
        if open_jobs:
            self._launch(folder, open_jobs)
        failed = _summary(folder, jobs)
        if failed:
            sys.exit(1)
        return [job.job.identity for job in jobs]

    def _folder(self, command: Command, swept: Sequence[SweptTable]) -> Path:
        if self._config.sweep_dir:
            return Path(self._config.sweep_dir).absolute()
        name = command.sweeps[0] if len(command.sweeps) == 1 else "+".join(table.table.name for table in swept)
        return (Path("outputs/sweeps") / name / command.scale).absolute()

    def _launch(self, folder: Path, jobs: Sequence[PlannedJob]) -> None:
        with open_dict(self._config):
            self._config.hydra.sweep.dir = str(folder)
            self._config.sweep_dir = str(folder)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task, config=self._config
        )
        launcher.launch([job.overrides(folder) for job in jobs], initial_job_idx=0)
        stopped_by = getattr(launcher, "stopped_by", None)
        if stopped_by is not None:  # the launcher has said how to go on
            sys.exit(128 + stopped_by)


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


def _refuse_in_process(jobs: Sequence[PlannedJob], launcher: str) -> None:
    several = [job for job in jobs if job.several_processes]
    if several and not launcher.startswith(_OWN_PROCESSES):
        raise ConfigError(
            f"job '{several[0].job.row}' wants trainer.devices={several[0].devices} but {launcher.rsplit('.', 1)[-1]} "
            "runs jobs inside this process, where the processes of one job would mix with those of the next. Use "
            "hydra/launcher=local or hydra/launcher=slurm, or trainer.devices=1."
        )


def _summary(folder: Path, jobs: Sequence[PlannedJob]) -> int:
    """Print what is done and what is not, and why; returns the number of jobs that are not done."""
    states = [(job, state_of(job.job.folder(folder), job.evaluations)) for job in jobs]
    unfinished = [(job, found) for job, found in states if found != DONE]
    for job, found in unfinished:
        failure = read_failure(job.job.folder(folder)) if found == FAILED else None
        why = f"failed ({failure.kind}): {(failure.message.splitlines() or [''])[0]}" if failure else "not finished"
        print(printable(f"{job.table} {job.job.row} seed {job.job.seed}: {why}  [{job.job.folder(folder)}]"))
    print(f"{len(jobs) - len(unfinished)} of {len(jobs)} jobs are done. facegraph report {folder} shows the table.")
    if unfinished:
        print("The same command again goes on with what is not done.")
    return len(unfinished)
