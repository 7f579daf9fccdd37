"""Jobs of a sweep as jobs of a Slurm cluster, through submitit.

hydra-submitit-launcher's own launcher stops at the first job that failed, and where the cluster keeps no accounts waits
for ever for a job that was killed. This one takes its settings, and follows every job to its end.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from facegraph.errors import ConfigError, RunError
from facegraph.launch.live import DONE, FAILED, RUNNING, Board, Watched, print_summary, watching
from facegraph.launch.slurm_job import SlurmJob
from facegraph.launch.slurm_queue import Note, Queue
from facegraph.machine.screen import Screen
from facegraph.runs.compose import compose, project_root
from facegraph.sweeps.failures import INTERRUPTED, KILLED, OTHER
from facegraph.sweeps.status import DONE as JOB_DONE
from facegraph.sweeps.status import LOG_FILE, Failure, clear_failure, read_failure, read_progress, state, write_failure

# one of a job's processes failed: Slurm ends the others, instead of letting them wait for it
_END_TOGETHER = "export SLURM_KILL_BAD_EXIT=1"
_PATIENCE_SECONDS = 20.0  # from the end of a job until its files are seen here
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Shape:
    """What a job needs. tasks: processes on each node. on_cpu: it wants no GPU."""

    nodes: int
    tasks: int
    on_cpu: bool


@dataclass(frozen=True)
class Followed:
    """A job under way. submitted: submitit's handle."""

    config: DictConfig
    overrides: tuple[str, ...]
    watched: Watched
    submitted: Any
    note: Note

    @property
    def folder(self) -> Path:
        return self.watched.folder

    def outcome(self) -> str | None:
        """DONE when all tasks ended well, FAILED when one did not; None: some are still under way, or were killed."""
        with suppress(PermissionError):  # makes a network file system look again; see submitit
            folder = self.submitted.paths.folder
            folder.chmod(folder.stat().st_mode)
        tasks = [self.submitted.task(i) for i in range(self.submitted.num_tasks)]
        ended = [task for task in tasks if task.paths.result_pickle.exists()]
        if any(task.exception() is not None for task in ended):
            return FAILED
        return DONE if len(ended) == len(tasks) else None


class SlurmLauncher:
    """Submits jobs as arrays, one for each kind of resources, and follows them.

    sweep: the sweep's folder, on a file system that all nodes share. settings: those of hydra-submitit-launcher.
    """

    def __init__(self, sweep: Path, settings: Mapping[str, Any], console: Console | None = None) -> None:
        self.sweep = Path(sweep).absolute()
        self.settings = {str(k): _plain(v) for k, v in settings.items()}
        self.console = console or Screen()

    def launch(self, job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
        """Submit jobs, each given by the overrides of train.py, wait for all and return what became of them, in order.

        A job that fails raises nothing: its JobReturn has status FAILED and its folder a failure.json. A job that an
        earlier launch submitted and that has not ended is followed, not submitted again. Ctrl-C ends the watching only.

        Raises:
            ConfigError: submitit or Slurm is missing, sbatch refuses the settings, a job names no number of devices.
        """
        _check_installed()
        configs = [compose(list(overrides)) for overrides in job_overrides]
        shapes = [self._shape(cfg) for cfg in configs]
        queue = Queue()
        queue.look()
        notes = [queue.running_for(Path(cfg.output_dir)) for cfg in configs]
        for shape in dict.fromkeys(shapes):
            new = [i for i, s in enumerate(shapes) if s == shape and notes[i] is None]
            for i, note in zip(new, self._submit(shape, [(configs[i], job_overrides[i]) for i in new]), strict=True):
                notes[i] = note
        followed = [
            Followed(cfg, tuple(overrides), _watched(cfg, note), _handle(note), note)
            for cfg, overrides, note in zip(configs, job_overrides, notes, strict=True)
            if note is not None
        ]
        with watching([job.watched for job in followed], len(followed), self.console) as board:
            try:
                self._follow(followed, board, queue)
            except KeyboardInterrupt:
                self._say_how_to_go_on(followed)
                sys.exit(128 + signal.SIGINT)
        print_summary(self.console, board)
        return [_returned(job) for job in followed]

    def _shape(self, cfg: DictConfig) -> Shape:
        if not cfg.output_dir or cfg.sweep.identity is None:
            raise ConfigError(
                "hydra/launcher=slurm runs jobs that have a folder and an identity; use hydra/sweeper=table."
            )
        devices = cfg.trainer.get("devices", 1)
        if OmegaConf.is_list(devices):
            devices = len(devices)
        if str(devices) in ("auto", "-1"):
            devices = self.settings.get("gpus_per_node") or 1
        return Shape(
            int(cfg.trainer.get("num_nodes", 1)), int(devices), cfg.trainer.get("accelerator", "auto") == "cpu"
        )

    def _submit(self, shape: Shape, jobs: Sequence[tuple[DictConfig, Sequence[str]]]) -> list[Note]:
        """Submit jobs of one shape as one array and note in each job's folder which one works on it."""
        if not jobs:
            return []
        import submitit

        folder = self.sweep / str(self.settings.get("submitit_folder", "slurm/%j"))
        entry = project_root() / "train.py"
        tasks = shape.nodes * shape.tasks
        pickled = [
            SlurmJob(tuple(o), entry, Path(cfg.output_dir), tasks, shape.on_cpu, int(cfg.data.num_workers))
            for cfg, o in jobs
        ]
        executor = submitit.AutoExecutor(
            folder=folder, cluster="slurm", slurm_max_num_timeout=int(self.settings.get("max_num_timeout", 0))
        )
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
        notes = [Note(job.job_id, str(folder), tasks) for job in submitted]
        for note, (cfg, _) in zip(notes, jobs, strict=True):
            note.write(Path(cfg.output_dir))
        self._say(
            f"{len(notes)} jobs submitted as Slurm's {notes[0].id.split('_')[0]}; {folder.parent} has Slurm's own logs"
        )
        return notes

    def _parameters(self, shape: Shape) -> dict[str, Any]:
        """As submitit takes them: general ones by their names, Slurm's with a prefix."""
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        settings = {k: v for k, v in self.settings.items() if k not in ("submitit_folder", "max_num_timeout")}
        settings |= {"nodes": shape.nodes, "tasks_per_node": shape.tasks}
        if shape.on_cpu:
            settings |= {"gpus_per_node": None}
        elif not any(settings.get(name) for name in ("gpus_per_node", "gpus_per_task", "gres")):
            settings["gpus_per_node"] = shape.tasks
        settings["setup"] = [_END_TOGETHER, *(settings.get("setup") or ())]
        general = OmegaConf.structured(BaseQueueConf).keys()
        return {name if name in general else f"slurm_{name}": value for name, value in settings.items()}

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

    def _say_how_to_go_on(self, followed: Sequence[Followed]) -> None:
        numbers = sorted({job.note.id.split("_")[0] for job in followed})
        self._say(
            f"The jobs go on without being watched. To end them: scancel {' '.join(numbers)}. To watch them again: "
            f"{shlex.join(['python', *sys.argv])}"
        )

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_installed() -> None:
    missing = [name for name in ("submitit", "hydra_plugins.hydra_submitit_launcher") if not _importable(name)]
    if missing:
        raise ConfigError(
            f"hydra/launcher=slurm needs {' and '.join(m.rsplit('.', 1)[-1] for m in missing)}: "
            "pip install 'facegraph[slurm]'. Without a cluster: hydra/launcher=local."
        )
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise ConfigError(
            "hydra/launcher=slurm needs sbatch and squeue, and this machine has neither or one of them only. Start the "
            "sweep on a login node of the cluster, or use hydra/launcher=local."
        )


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _handle(note: Note) -> Any:
    import submitit

    return submitit.SlurmJob(folder=note.folder, job_id=note.id, tasks=list(range(note.tasks)))


def _watched(cfg: DictConfig, note: Note) -> Watched:
    folder = Path(cfg.output_dir)
    label = f"{cfg.sweep.table} {cfg.sweep.row} seed {cfg.seed}"
    return Watched(str(folder), label, folder, folder / LOG_FILE, slot=f"job {note.id}")


def _show(job: Followed, board: Board, queue: Queue) -> None:
    entry = queue.entries.get(job.note.id)
    if entry is None:
        return
    now, watched = RUNNING if entry.state in ("RUNNING", "COMPLETING") else "queued", job.watched
    watched.slot = f"job {job.note.id} {entry.node or entry.reason}".strip()
    if now != watched.state:
        watched.state = now
        if now == RUNNING:
            watched.begin()
        board.tell(watched)


def _close(job: Followed, board: Board) -> None:
    """Keep in a job's folder why it ended without a result, then tell the board."""
    evaluations = list(job.config.sweep.evaluations or ())
    watched = job.watched
    done = state(job.folder, evaluations) == JOB_DONE
    with suppress(OSError):
        if not done and job.outcome() == DONE:
            message = "the job ended without an error and without all its results; read its log."
            write_failure(job.folder, Failure(OTHER, message))
        elif not done:
            logs = job.submitted.task(0).paths.stderr
            message = (
                f"Slurm ended job {job.note.id} before it was through (cancelled, out of memory or a lost node); see "
                f"{job.folder / LOG_FILE} and {logs}. Run the sweep again to go on with it."
            )
            failure = read_failure(job.folder)
            if failure is not None and failure.kind == INTERRUPTED:
                clear_failure(job.folder)  # Slurm's SIGTERM, of which the training knows no more
            write_failure(job.folder, Failure(KILLED, message))
    watched.seconds = watched.elapsed
    watched.progress = read_progress(job.folder)
    watched.failure = None if done else read_failure(job.folder)
    watched.state = DONE if done else FAILED
    board.tell(watched)


def _returned(job: Followed) -> JobReturn:
    """The reason of a failure is an exception, which Hydra raises where the return value is asked for."""
    returned = JobReturn(overrides=list(job.overrides), cfg=job.config, working_dir=str(Path.cwd()))
    done = job.watched.state == DONE
    returned.status = JobStatus.COMPLETED if done else JobStatus.FAILED
    if not done:
        failure = read_failure(job.folder)
        returned.return_value = RunError(failure.message if failure else f"{job.folder} is not finished.")
    return returned
