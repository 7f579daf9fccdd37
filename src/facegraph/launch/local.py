"""Jobs of a sweep as processes of this machine, each with GPUs or cores of its own."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, ListConfig
from rich.console import Console

from facegraph.errors import ConfigError, RunError
from facegraph.files.locking import holder
from facegraph.launch.live import DONE, QUEUED, STOPPED, Board, Watched, print_summary, watching
from facegraph.launch.pool import ATTEMPT, GRACE_SECONDS, Outcome, Pool, Task
from facegraph.machine.screen import Screen
from facegraph.machine.slots import AUTO, Slot, check_count, make_slots
from facegraph.runs.compose import compose, project_root
from facegraph.runs.folder import LOCK_FILE
from facegraph.sweeps.failures import OTHER, failure_of_exit
from facegraph.sweeps.status import DONE as JOB_DONE
from facegraph.sweeps.status import LOG_FILE, Failure, clear_failure, read_failure, state, write_failure

_ERROR_LINE = "error: "
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class LocalJob:
    """A job and what it needs. processes: of its trainer. loaders: processes of each of these.

    on_cpu: it wants no GPU. conditions: those it scores.
    """

    overrides: tuple[str, ...]
    config: DictConfig
    folder: Path
    processes: int
    loaders: int
    on_cpu: bool

    @property
    def conditions(self) -> list[str]:
        return list(self.config.sweep.evaluations or ())

    @property
    def key(self) -> str:
        return str(self.folder)

    @property
    def kind(self) -> tuple[int, int, bool]:
        """Jobs of one kind run in the same slots."""
        return self.processes, self.loaders, self.on_cpu


class LocalLauncher:
    """Runs jobs in a pool of slots; see `facegraph.machine.slots.make_slots` for devices, jobs_per_device, cpu_jobs.

    devices_per_job: None: what each job's trainer.devices says. entry: the program that runs a job; None: train.py.
    stopped_by: the signal that ended the last launch early, else None.
    """

    def __init__(
        self,
        devices: str | Sequence[int | str] = AUTO,
        devices_per_job: int | None = None,
        jobs_per_device: int = 1,
        cpu_jobs: str | int = AUTO,
        threads_per_job: int | None = None,
        grace_seconds: float = GRACE_SECONDS,
        entry: Path | None = None,
        console: Console | None = None,
    ) -> None:
        self.devices = devices
        self.devices_per_job = devices_per_job
        self.jobs_per_device = jobs_per_device
        self.cpu_jobs = cpu_jobs
        self.threads_per_job = threads_per_job
        self.grace_seconds = grace_seconds
        self.entry = entry
        self.console = console or Screen()
        self.stopped_by: int | None = None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int = 0) -> list[JobReturn]:
        """Run jobs, each given by the overrides of train.py, and return what became of them, in the same order.

        A job that fails raises nothing: its JobReturn has status FAILED and the reason as its return value, and its
        folder a failure.json.

        Raises:
            ConfigError: before any job starts: one that is no job of a sweep, wants devices that are not there, or
                several machines; a setting of the launcher out of range.
        """
        self._check_settings()
        jobs = [self._job(overrides) for overrides in job_overrides]
        # every kind of job in turn, so that one wanting two GPUs never waits for two slots to be free at once
        kinds = {job.kind: self._slots(job) for job in jobs}
        watched = _watched(jobs)
        self.stopped_by = None
        for slots in kinds.values():
            self._say(_describe(slots))
        with watching(watched, max((len(slots) for slots in kinds.values()), default=1), self.console) as board:
            for kind, slots in kinds.items():
                if self.stopped_by is None:
                    chosen = [job for job in jobs if job.kind == kind]
                    pool = Pool(slots, self.grace_seconds, _who_has)
                    pool.run([self._task(job) for job in chosen], _Keeper(board, chosen, self.console))
                    self.stopped_by = pool.stopped_by
        print_summary(self.console, board)
        if self.stopped_by is not None:
            self._say_how_to_go_on(board)
        states = {job.key: job for job in watched}
        return [self._returned(job, states[job.key]) for job in jobs]

    def _check_settings(self) -> None:
        if self.devices_per_job is not None:
            check_count("devices_per_job", self.devices_per_job)
        grace: Any = self.grace_seconds
        if not isinstance(grace, int | float) or isinstance(grace, bool) or not grace >= 0:
            raise ConfigError(
                f"hydra.launcher.grace_seconds={grace} must be a number of seconds, 0 or more; 15 is usual."
            )

    def _job(self, overrides: Sequence[str]) -> LocalJob:
        cfg = compose(list(overrides))
        if not cfg.output_dir or cfg.sweep.identity is None:
            raise ConfigError(
                "hydra/launcher=local runs jobs that have a folder and an identity; use hydra/sweeper=table."
            )
        if int(cfg.trainer.get("num_nodes", 1)) > 1:
            raise ConfigError(
                f"a job wants trainer.num_nodes={cfg.trainer.num_nodes}, and hydra/launcher=local has one machine. Use "
                "hydra/launcher=slurm, or trainer.num_nodes=1."
            )
        return LocalJob(
            overrides=tuple(overrides),
            config=cfg,
            folder=Path(cfg.output_dir),
            processes=self._processes(cfg.trainer.get("devices", AUTO)),
            loaders=int(cfg.data.num_workers),
            on_cpu=cfg.trainer.get("accelerator", AUTO) == "cpu",
        )

    def _processes(self, devices: Any) -> int:
        """Devices of a job from its trainer.devices and this launcher's devices_per_job."""
        if isinstance(devices, list | tuple | ListConfig):
            if list(devices) != list(range(len(devices))):
                raise ConfigError(
                    f"trainer.devices={list(devices)} names GPUs, but the launcher gives every job its own. Give their "
                    f"number, trainer.devices={len(devices)}, and hydra.launcher.devices={list(devices)}."
                )
            devices = len(devices)
        if str(devices) in (AUTO, "-1"):  # Lightning takes all that the slot shows
            return self.devices_per_job or 1
        if not str(devices).isdigit():
            raise ConfigError(f"trainer.devices={devices} must be a number of devices, or {AUTO}.")
        if self.devices_per_job is not None and self.devices_per_job != int(devices):
            raise ConfigError(
                f"hydra.launcher.devices_per_job={self.devices_per_job}, but a job has trainer.devices={devices}. "
                f"Leave the first out, or add trainer=ddp trainer.devices={self.devices_per_job}."
            )
        return int(devices)

    def _slots(self, job: LocalJob) -> list[Slot]:
        return make_slots(
            self.devices,
            job.processes,
            self.jobs_per_device,
            self.cpu_jobs,
            self.threads_per_job,
            job.on_cpu,
            job.loaders,
        )

    def _task(self, job: LocalJob) -> Task:
        entry = self.entry or project_root() / "train.py"
        return Task(job.key, [sys.executable, str(entry), *job.overrides], job.folder, job.folder / LOG_FILE)

    def _returned(self, job: LocalJob, watched: Watched) -> JobReturn:
        """The reason of a failure is an exception, which Hydra raises where the return value is asked for."""
        done = watched.state == DONE
        returned = JobReturn(overrides=list(job.overrides), cfg=job.config, working_dir=str(Path.cwd()))
        returned.status = JobStatus.COMPLETED if done else JobStatus.FAILED
        if not done:
            unfinished = f"{job.folder} is not finished." + (f" {watched.who}." if watched.who else "")
            returned.return_value = RunError(watched.failure.message if watched.failure else unfinished)
        return returned

    def _say_how_to_go_on(self, board: Board) -> None:
        assert self.stopped_by is not None
        counts = board.count()
        self._say(
            f"Stopped by {signal.Signals(self.stopped_by).name}; under way: {counts[STOPPED]}, not begun: "
            f"{counts[QUEUED]}. To go on: {shlex.join(['python', *sys.argv])}"
        )

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Keeper:
    """Keeps in every job's folder why its process ended, then tells the board."""

    def __init__(self, board: Board, jobs: Sequence[LocalJob], console: Console) -> None:
        self._board, self._console = board, console
        self._conditions: Mapping[str, list[str]] = {job.key: job.conditions for job in jobs}
        self._stopping = False

    def started(self, task: Task, slot: Slot) -> None:
        with suppress(OSError):  # why an earlier attempt failed; its log keeps that
            clear_failure(task.folder)
        self._board.started(task, slot)

    def ended(self, task: Task, outcome: Outcome) -> None:
        failure = None
        done = outcome.exit_code == 0 and state(task.folder, self._conditions[task.key]) == JOB_DONE
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


def _watched(jobs: Sequence[LocalJob]) -> list[Watched]:
    tables = {job.config.sweep.table for job in jobs}
    watched = []
    for job in jobs:
        label = f"{job.config.sweep.row or job.config.name} seed {job.config.seed}"
        if len(tables) > 1:
            label = f"{job.config.sweep.table} {label}"
        watched.append(Watched(job.key, label, job.folder, job.folder / LOG_FILE))
    return watched


def _describe(slots: Sequence[Slot]) -> str:
    places = sorted({slot.label for slot in slots})
    threads = f"{slots[0].threads} thread{'s' if slots[0].threads > 1 else ''} per process"
    return f"{len(slots)} job{'s' if len(slots) > 1 else ''} at once on {', '.join(places)}; {threads}"
