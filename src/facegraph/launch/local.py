"""Jobs of a sweep as processes of this machine, each with GPUs or cores of its own."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from facegraph.errors import ConfigError
from facegraph.files.locking import holder
from facegraph.launch.live import Board, Stop, watched_jobs, watching
from facegraph.launch.plan import PlannedJob
from facegraph.launch.pool import ATTEMPT, GRACE_SECONDS, Outcome, Pool, Task
from facegraph.machine.resources import Resources
from facegraph.machine.screen import Screen
from facegraph.machine.slots import AUTO, Slot, check_count, make_slots
from facegraph.runs.folder import LOCK_FILE
from facegraph.sweeps.failures import OTHER, failure_of_exit
from facegraph.sweeps.status import LOG_FILE, QUEUED, STOPPED, Failure, clear_failure, read_failure, write_failure

_ERROR_LINE = "error: "
_TAIL_BYTES = 1 << 16


class LocalExecutor:
    """Runs jobs in a pool of slots, hydra/launcher=local.

    Args:
        devices: auto for all visible GPUs, or those to use, as `make_slots`.
        devices_per_job: GPUs of each job; None: as many as its trainer.devices says.
        jobs_per_device: jobs that share a GPU.
        cpu_jobs: jobs at once without GPUs; auto: as many as cores suffice for.
        threads_per_job: threads of each process of a job; None: as `make_slots`.
        grace_seconds: time that a job has to end by itself when it is stopped.
        entry: the program that runs a job; None: train.py.
        console: where the jobs are shown; None: the terminal.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        devices: str | int | Sequence[int | str] = AUTO,
        devices_per_job: int | None = None,
        jobs_per_device: int = 1,
        cpu_jobs: str | int = AUTO,
        threads_per_job: int | None = None,
        grace_seconds: float = GRACE_SECONDS,
        entry: Path | None = None,
        console: Console | None = None,
    ) -> None:
        if devices_per_job is not None:
            check_count("devices_per_job", devices_per_job)
        if not isinstance(grace_seconds, int | float) or isinstance(grace_seconds, bool) or not grace_seconds >= 0:
            raise ConfigError(
                f"hydra.launcher.grace_seconds={grace_seconds} must be a number of seconds, 0 or more; 15 is usual."
            )
        self.devices = devices
        self.devices_per_job = devices_per_job
        self.jobs_per_device = jobs_per_device
        self.cpu_jobs = cpu_jobs
        self.threads_per_job = threads_per_job
        self.grace_seconds = grace_seconds
        self.entry = entry
        self.console = console or Screen()

    def run(self, sweep: Path, jobs: Sequence[PlannedJob]) -> tuple[Board, Stop | None]:
        """Run jobs to their end. One that fails raises nothing: its folder has a failure.json.

        Args:
            sweep: the sweep's folder.
            jobs: those to run; they start in this order, jobs of equal resources together.

        Returns:
            What became of the jobs, and what ended the launch early, else None.

        Raises:
            ConfigError: before any job starts: one wants devices that are not there, or several machines.
        """
        needed = [self._needed(job.resources) for job in jobs]
        # every kind of job in turn, so that one wanting two GPUs never waits for two slots to be free at once
        kinds = {kind: self._slots(kind) for kind in needed}
        for slots in kinds.values():
            self.console.print(_describe(slots), markup=False, highlight=False, soft_wrap=True)
        watched = watched_jobs(sweep, jobs)
        stopped_by = None
        with watching(watched, max((len(slots) for slots in kinds.values()), default=1), self.console) as board:
            for kind, slots in kinds.items():
                if stopped_by is None:
                    chosen = {
                        str(job.job.folder(sweep)): job for job, own in zip(jobs, needed, strict=True) if own == kind
                    }
                    pool = Pool(slots, self.grace_seconds, _who_has)
                    pool.run(
                        [self._task(sweep, job) for job in chosen.values()], _Keeper(board, sweep, chosen, self.console)
                    )
                    stopped_by = pool.stopped_by
        if stopped_by is None:
            return board, None
        asked, counts = signal.Signals(stopped_by), board.count()
        under_way = f"under way: {counts[STOPPED]}, not begun: {counts[QUEUED]}"
        return board, Stop(asked, f"Stopped by {asked.name}; {under_way}. To go on: ")

    def _needed(self, resources: Resources) -> Resources:
        """What a job gets: its trainer's number of devices, where it says none this executor's devices_per_job."""
        if resources.nodes > 1:
            raise ConfigError(
                f"a job wants trainer.num_nodes={resources.nodes}, and hydra/launcher=local has one machine. Use "
                "hydra/launcher=slurm, or trainer.num_nodes=1."
            )
        number, own = resources.processes, self.devices_per_job
        if resources.named:
            raise ConfigError(
                f"trainer.devices={list(resources.named)} names GPUs, but the launcher gives every job its own. Give "
                f"their number, trainer.devices={number}, and hydra.launcher.devices={list(resources.named)}."
            )
        if number is not None and own is not None and own != number:
            raise ConfigError(
                f"hydra.launcher.devices_per_job={own}, but a job has trainer.devices={number}. "
                f"Leave the first out, or add trainer=ddp trainer.devices={own}."
            )
        return replace(resources, processes=number or own or 1)

    def _slots(self, needed: Resources) -> list[Slot]:
        return make_slots(needed, self.devices, self.jobs_per_device, self.cpu_jobs, self.threads_per_job)

    def _task(self, sweep: Path, job: PlannedJob) -> Task:
        folder = job.job.folder(sweep)
        return Task(str(folder), job.command(sweep, self.entry), folder, folder / LOG_FILE)


class _Keeper:
    """Keeps in every job's folder why its process ended, then tells the board."""

    def __init__(self, board: Board, sweep: Path, jobs: dict[str, PlannedJob], console: Console) -> None:
        self._board, self._sweep, self._jobs, self._console = board, sweep, jobs, console
        self._stopping = False

    def started(self, task: Task, slot: Slot) -> None:
        with suppress(OSError):  # why an earlier attempt failed; its log keeps that
            clear_failure(task.folder)
        self._board.started(task, slot)

    def ended(self, task: Task, outcome: Outcome) -> None:
        failure = None
        done = outcome.exit_code == 0 and self._jobs[task.key].is_done(self._sweep)
        if not done and self._stopping:  # Lightning ends with 0 when it was asked to end
            outcome = replace(outcome, stopped=True)
        if outcome.stopped:
            with suppress(OSError):
                clear_failure(task.folder)  # that it was stopped is no reason to mend anything
        elif not done and not outcome.elsewhere:
            outcome = _begun_elsewhere(task, outcome)
            if not outcome.elsewhere:
                failure = _failure(task, outcome)
                write_failure(task.folder, failure)
        self._board.ended(task, outcome, failure)

    def stopping(self, signum: int) -> None:
        self._stopping = True
        self._console.print(f"{signal.Signals(signum).name}: ending all jobs; once more ends them at once.")
        self._board.stopping(signum)

    def tick(self) -> None:
        self._board.tick()


def _who_has(task: Task) -> str | None:
    """Who else works on a job's folder, which another sweep may have too."""
    number = holder(task.folder / LOCK_FILE)
    return None if number is None else _named(number)


def _begun_elsewhere(task: Task, outcome: Outcome) -> Outcome:
    """The outcome of a job that found its folder taken: another sweep began it at the same moment."""
    number = holder(task.folder / LOCK_FILE)
    # loader processes that were killed with their job may hold its own lock for a while
    if number is None or number == str(outcome.process) or read_failure(task.folder) is not None:
        return outcome
    return replace(outcome, elsewhere=True, error=_named(number))


def _named(number: str) -> str:
    return f"{f'process {number}' if number.isdigit() else 'another process'} works on it"


def _failure(task: Task, outcome: Outcome) -> Failure:
    """Why a process ended that may have left no failure.json: by what it printed last, else by its exit code."""
    if outcome.exit_code is None:
        return Failure(OTHER, outcome.error)
    if outcome.exit_code == 0:
        return Failure(OTHER, "the process ended without an error and without all its results; read its log.")
    with suppress(OSError), task.log.open("rb") as log:
        log.seek(max(0, task.log.stat().st_size - _TAIL_BYTES))
        lines = log.read().decode(errors="replace").splitlines()
        begin = max((i for i, line in enumerate(lines) if line.startswith(ATTEMPT)), default=0)
        said = [line for line in lines[begin:] if line.startswith(_ERROR_LINE)]
        if said and outcome.exit_code > 0:
            return Failure(OTHER, said[-1].removeprefix(_ERROR_LINE))
    return failure_of_exit(outcome.exit_code)


def _describe(slots: Sequence[Slot]) -> str:
    places = sorted({slot.label for slot in slots})
    threads = f"{slots[0].threads} thread{'s' if slots[0].threads > 1 else ''} per process"
    return f"{len(slots)} job{'s' if len(slots) > 1 else ''} at once on {', '.join(places)}; {threads}"
