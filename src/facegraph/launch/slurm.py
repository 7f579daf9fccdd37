"""Jobs of a sweep as jobs of a Slurm cluster, through submitit.

submitit submits. Whether a job is through is read from its files and from squeue, so no accounting (sacct) is needed,
and a job that fails or is killed stops no other.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from facegraph.errors import ConfigError
from facegraph.launch.live import Board, Stop, Watched, watched_jobs, watching
from facegraph.launch.plan import PlannedJob
from facegraph.launch.slurm_job import SlurmJob
from facegraph.launch.slurm_queue import Note, Queue
from facegraph.machine.resources import Resources
from facegraph.machine.screen import Screen
from facegraph.sweeps.failures import INTERRUPTED, KILLED, OTHER
from facegraph.sweeps.status import (
    DONE,
    FAILED,
    LOG_FILE,
    QUEUED,
    RUNNING,
    Failure,
    State,
    clear_failure,
    read_failure,
    read_progress,
    write_failure,
)

# one of a job's processes failed: Slurm ends the others, instead of letting them wait for it
_END_TOGETHER = "export SLURM_KILL_BAD_EXIT=1"
_NOT_OF_SBATCH = ("max_num_timeout", "submitit_folder", "console")
_PATIENCE_SECONDS = 20.0  # from the end of a job until its files are seen here
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Followed:
    """A job under way.

    Args:
        job: as planned.
        watched: as it is shown.
        submitted: submitit's handle.
        note: which of Slurm's jobs it is.
        sweep: the sweep's folder.
    """

    job: PlannedJob
    watched: Watched
    submitted: Any
    note: Note
    sweep: Path

    def outcome(self) -> State | None:
        """DONE when all tasks ended well, FAILED when one did not; None: some are still under way, or were killed."""
        with suppress(PermissionError):  # makes a network file system look again; see submitit
            folder = self.submitted.paths.folder
            folder.chmod(folder.stat().st_mode)
        tasks = [self.submitted.task(i) for i in range(self.submitted.num_tasks)]
        ended = [task for task in tasks if task.paths.result_pickle.exists()]
        if any(task.exception() is not None for task in ended):
            return FAILED
        return DONE if len(ended) == len(tasks) else None


@dataclass
class SlurmExecutor:
    """Submits jobs as arrays, one for each kind of resources, and follows them; hydra/launcher=slurm.

    Nodes and tasks follow each job's trainer. Settings that are not listed are sbatch's, of the same names.

    Args:
        gpus_per_node: None: as many as tasks, and none for jobs on the CPU.
        cpus_per_task: of each process, for itself and its loaders.
        mem_gb: memory of each node.
        timeout_min: time limit of a job; then it is requeued and goes on from its last checkpoint.
        max_num_timeout: how often at most.
        signal_delay_s: how long before the limit the job is told.
        array_parallelism: jobs that run at the same time.
        setup: shell lines before the job.
        additional_parameters: further flags of sbatch.
        submitit_folder: of scripts, pickles and Slurm's own logs; within the sweep's folder unless absolute.
        console: where the jobs are shown.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    gpus_per_task: int | None = None
    cpus_per_gpu: int | None = None
    cpus_per_task: int | None = 4
    mem_gb: float | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    timeout_min: int = 720
    max_num_timeout: int = 20
    signal_delay_s: int = 120
    array_parallelism: int = 256
    setup: Sequence[str] | None = None
    additional_parameters: Mapping[str, Any] | None = None
    name: str = "facegraph"
    stderr_to_stdout: bool = False
    submitit_folder: str = "slurm/%j"
    console: Console = field(default_factory=Screen)

    def run(self, sweep: Path, jobs: Sequence[PlannedJob]) -> tuple[Board, Stop | None]:
        """Submit jobs and wait for all. One that fails raises nothing: its folder has a failure.json.

        A job that an earlier launch submitted and that has not ended is followed, not submitted again. Ctrl-C ends the
        watching only.

        Args:
            sweep: the sweep's folder, on a file system that all nodes share.
            jobs: those to run.

        Returns:
            What became of the jobs, and what ended the watching early, else None.

        Raises:
            ConfigError: submitit or Slurm is missing, or sbatch refuses the settings.
        """
        _check_installed()
        queue = Queue()
        queue.look()
        notes = {job.job.identity: queue.running_for(job.job.folder(sweep)) for job in jobs}
        for resources in dict.fromkeys(job.resources for job in jobs):
            new = [job for job in jobs if job.resources == resources and notes[job.job.identity] is None]
            notes |= self._submit(sweep, self._shape(resources), new)
        followed = [
            Followed(job, watched, _handle(note), note, sweep)
            for job, watched in zip(jobs, watched_jobs(sweep, jobs), strict=True)
            if (note := notes[job.job.identity]) is not None
        ]
        for job in followed:
            job.watched.slot = f"job {job.note.id}"
        with watching([job.watched for job in followed], len(followed), self.console) as board:
            try:
                self._follow(followed, board, queue)
            except KeyboardInterrupt:
                numbers = sorted({job.note.id.split("_")[0] for job in followed})
                return board, Stop(
                    signal.SIGINT,
                    f"The jobs go on without being watched. To end them: scancel {' '.join(numbers)}. "
                    "To watch them again: ",
                )
        return board, None

    def _shape(self, resources: Resources) -> Resources:
        """What a job gets: its trainer's number of devices, where it says none a node's GPUs."""
        return dataclasses.replace(resources, processes=resources.processes or self.gpus_per_node or 1)

    def _submit(self, sweep: Path, shape: Resources, jobs: Sequence[PlannedJob]) -> dict[str, Note]:
        """Submit jobs of one shape as one array and note in each job's folder which one works on it."""
        if not jobs:
            return {}
        import submitit

        assert shape.processes is not None
        folder, tasks = sweep / self.submitit_folder, shape.nodes * shape.processes
        pickled = [
            SlurmJob(tuple(job.command(sweep)), job.job.folder(sweep), tasks, shape.on_cpu, shape.loaders)
            for job in jobs
        ]
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        try:
            executor.update_parameters(**self._parameters(shape))
            with executor.batch():
                submitted = [executor.submit(job) for job in pickled]
        except (subprocess.CalledProcessError, submitit.core.utils.FailedJobError, NameError, ValueError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            raise ConfigError(
                f"sbatch refused the jobs: {said} Correct hydra.launcher.<setting>; conf/hydra/launcher/slurm.yaml has "
                "them. On nodes without GPUs: trainer=cpu."
            ) from error
        notes = {}
        for job, one in zip(jobs, submitted, strict=True):
            note = notes[job.job.identity] = Note(one.job_id, str(folder), tasks)
            note.write(job.job.folder(sweep))
        number = submitted[0].job_id.split("_")[0]
        text = f"{len(jobs)} jobs submitted as Slurm's {number}; {folder.parent} has Slurm's own logs"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        return notes

    def _parameters(self, shape: Resources) -> dict[str, Any]:
        """Of sbatch, as submitit names them."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in _NOT_OF_SBATCH]
        settings = {name: getattr(self, name) for name in names}
        settings |= {"nodes": shape.nodes, "tasks_per_node": shape.processes}
        if shape.on_cpu:
            settings["gpus_per_node"] = None
        elif not (self.gpus_per_node or self.gpus_per_task or self.gres):
            settings["gpus_per_node"] = shape.processes
        settings["setup"] = [_END_TOGETHER, *(self.setup or ())]
        return {f"slurm_{name}": value for name, value in settings.items() if value is not None}

    def _follow(self, followed: Sequence[Followed], board: Board, queue: Queue) -> None:
        open_jobs = list(followed)
        while open_jobs:
            time.sleep(_POLL_SECONDS)
            queue.look()
            for job in list(open_jobs):
                outcome = job.outcome()
                if outcome == FAILED and job.note.id in queue.entries:
                    outcome = None  # when a job is requeued, one of its processes may miss another before it is ended
                if outcome is None and queue.absent_seconds(job.note.id) > _PATIENCE_SECONDS:
                    outcome = FAILED
                if outcome is None:
                    _show(job, board, queue)
                else:
                    open_jobs.remove(job)
                    _close(job, board)
            board.tick()


def _check_installed() -> None:
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(
            "hydra/launcher=slurm needs submitit: pip install 'facegraph[slurm]'. Without a cluster: "
            "hydra/launcher=local."
        )
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise ConfigError(
            "hydra/launcher=slurm needs sbatch and squeue, and this machine has neither or one of them only. Start the "
            "sweep on a login node of the cluster, or use hydra/launcher=local."
        )


def _handle(note: Note) -> Any:
    import submitit

    return submitit.SlurmJob(folder=note.folder, job_id=note.id, tasks=list(range(note.tasks)))


def _show(job: Followed, board: Board, queue: Queue) -> None:
    entry = queue.entries.get(job.note.id)
    if entry is None:
        return
    now, watched = RUNNING if entry.state in ("RUNNING", "COMPLETING") else QUEUED, job.watched
    watched.slot = f"job {job.note.id} {entry.node or entry.reason}".strip()
    if now != watched.state:
        watched.state = now
        if now == RUNNING:
            watched.begin()
        board.tell(watched)


def _close(job: Followed, board: Board) -> None:
    """Keep in a job's folder why it ended without a result, then tell the board."""
    watched, folder = job.watched, job.watched.folder
    done = job.job.is_done(job.sweep)
    with suppress(OSError):
        if not done and job.outcome() == DONE:
            message = "the job ended without an error and without all its results; read its log."
            write_failure(folder, Failure(OTHER, message))
        elif not done:
            logs = job.submitted.task(0).paths.stderr
            message = (
                f"Slurm ended job {job.note.id} before it was through (cancelled, out of memory or a lost node); see "
                f"{folder / LOG_FILE} and {logs}. Run the sweep again to go on with it."
            )
            failure = read_failure(folder)
            if failure is not None and failure.kind == INTERRUPTED:
                clear_failure(folder)  # Slurm's SIGTERM, of which the training knows no more
            write_failure(folder, Failure(KILLED, message))
    watched.seconds = watched.elapsed
    watched.progress = read_progress(folder)
    watched.failure = None if done else read_failure(folder)
    watched.state = DONE if done else FAILED
    board.tell(watched)
