"""What a process of a Slurm job does: it runs train.py, and leaves to Slurm and submitit what a stop means.

submitit pickles a `SlurmJob`, and Slurm runs it in every task of the job; a job that several processes train has that
many tasks. train.py is a program of its own here as with hydra/launcher=local, so both give the same numbers.

Near the time limit Slurm sends SIGUSR2: submitit requeues the job, which then goes on from its last checkpoint. On
SIGTERM (preemption, scancel) the training ends, and this process waits for Slurm to do what it wants to do: a
job that ended by itself would not be requeued.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facegraph.errors import RunError
from facegraph.launch.pool import Outcome, Pool, Task
from facegraph.machine.slots import CPU_THREADS, Slot, cores, visible_gpus
from facegraph.sweeps.failures import INTERRUPTED, failure_of_exit
from facegraph.sweeps.status import LOG_FILE, clear_failure, read_failure, write_failure

# the signal that submitit handles means nothing to a training, but Slurm sends it to all processes of a task
_SHIELDED = ("sh", "-c", """trap '' USR2; exec "$@" """, "sh")
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT")
_PATIENCE_SECONDS = 600.0  # from SIGTERM to Slurm's SIGKILL: KillWait or GraceTime of the cluster


@dataclass(frozen=True)
class SlurmJob:
    """One job.

    Args:
        command: of each of its processes.
        folder: of the job.
        processes: in all, on all nodes.
        on_cpu: it wants no GPU.
        loaders: loader processes of each process.
    """

    command: tuple[str, ...]
    folder: Path
    processes: int
    on_cpu: bool
    loaders: int = 0

    def __call__(self) -> None:
        """Train in this task.

        Raises:
            RunError: the training failed; its folder says why. Slurm then ends the job's other tasks.
        """
        rank = int(os.environ.get("SLURM_PROCID", 0))
        log = self.folder / (LOG_FILE if rank == 0 else f"process{rank}.log")
        environment = self._environment(os.environ)
        task = Task(str(self.folder), [*_SHIELDED, *self.command], self.folder, log, environment)
        if rank == 0:
            clear_failure(self.folder)
        pool = Pool([self._slot()])
        outcome = pool.run([task], _Silent()).get(task.key)
        if pool.stopped_by is not None:
            self._forget_the_stop()
            time.sleep(_PATIENCE_SECONDS)
            sys.exit(128 + pool.stopped_by)
        if outcome is None or outcome.exit_code != 0:
            code = 1 if outcome is None or outcome.exit_code is None else outcome.exit_code
            write_failure(self.folder, failure_of_exit(code))
            failure = read_failure(self.folder)
            raise RunError(failure.message if failure else f"exit code {code}")

    def checkpoint(self) -> Any:
        """What submitit queues again: the same job, which finds its last checkpoint in its folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _slot(self) -> Slot:
        gpus = () if self.on_cpu else tuple(visible_gpus())
        if not gpus:
            return Slot(0, None, CPU_THREADS)
        return Slot(0, gpus, max(1, int(os.environ.get("SLURM_CPUS_PER_TASK", cores())) - self.loaders))

    def _environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Single-process jobs do not inherit SLURM_*; the processes of others find each other by it."""
        if self.processes == 1:
            return {}
        return {k: v for k, v in environment.items() if k.startswith("SLURM_") or k in _RENDEZVOUS}

    def _forget_the_stop(self) -> None:
        failure = read_failure(self.folder)
        if failure is not None and failure.kind == INTERRUPTED:
            clear_failure(self.folder)


class _Silent:
    """An observer of a pool whose job nobody watches: what happens is in its folder."""

    def started(self, task: Task, slot: Slot) -> None: ...

    def ended(self, task: Task, outcome: Outcome) -> None: ...

    def stopping(self, signum: int) -> None: ...

    def tick(self) -> None: ...
