"""How far a job is, read from its run folder alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from facegraph.files import plain_json
from facegraph.files.atomic import write_atomically
from facegraph.records import RESULT_FILE

FAILURE_FILE = "failure.json"
PROGRESS_FILE = "progress.json"
LOG_FILE = "job.log"
EVALUATIONS = "eval"


class State(str, Enum):
    """How far a job is.

    NEW, PARTIAL, FAILED and DONE are read from its folder. The others are known to the launch that has it: QUEUED waits
    for its turn, RUNNING has a process, STOPPED was ended with the launch, ELSEWHERE another program works on it.
    """

    NEW = "new"
    PARTIAL = "partial"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    ELSEWHERE = "elsewhere"
    FAILED = "failed"
    DONE = "done"

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]


NEW, PARTIAL, QUEUED, RUNNING, STOPPED, ELSEWHERE, FAILED, DONE = State


@dataclass(frozen=True)
class Failure:
    """Why a job ended.

    Args:
        kind: one of those in facegraph.sweeps.failures.
        message: for the user, one paragraph.
    """

    kind: str
    message: str

    @property
    def headline(self) -> str:
        """First line of the message; empty if it is."""
        return next(iter(self.message.splitlines()), "")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Args:
        epoch: number of finished epochs.
        epochs: number of epochs in all.
        val_nme: the latest, as a fraction; None before the first validation.
    """

    epoch: int
    epochs: int
    val_nme: float | None

    @property
    def share(self) -> float:
        """Of the epochs that are finished, 0 to 1."""
        return min(1.0, self.epoch / self.epochs) if self.epochs > 0 else 0.0


def evaluation_folder(folder: Path, name: str) -> Path:
    """Where a job scores its model under a condition."""
    return Path(folder) / EVALUATIONS / name


def missing_evaluations(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (evaluation_folder(folder, name) / RESULT_FILE).is_file()]


def state(folder: Path, evaluations: Iterable[str] = ()) -> State:
    """State of a job by its folder.

    Args:
        folder: of the job; it need not exist.
        evaluations: names of the conditions that it is scored under.

    Returns:
        DONE: trained, tested and scored under all conditions. FAILED: ended with an error. PARTIAL: begun. NEW: not.
    """
    folder = Path(folder)
    if (folder / RESULT_FILE).is_file() and not missing_evaluations(folder, evaluations):
        return DONE
    if (folder / FAILURE_FILE).is_file():
        return FAILED
    return PARTIAL if (folder / "config.yaml").is_file() else NEW


def write_failure(folder: Path, failure: Failure) -> None:
    """Keep the reason of a job's end; the first process that fails says it.

    A note about the end, written while it ends: where it cannot be written nothing is raised, which would hide why.
    """
    path = Path(folder) / FAILURE_FILE
    with suppress(OSError):
        if not path.exists():
            content = {**asdict(failure), "at": datetime.now().astimezone().isoformat(timespec="seconds")}
            write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_failure(folder: Path) -> Failure | None:
    try:
        content = plain_json.load(Path(folder) / FAILURE_FILE)
        return Failure(str(content["kind"]), str(content["message"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clear_failure(folder: Path) -> None:
    """A job that is tried again has not failed yet; its log keeps the earlier message."""
    (Path(folder) / FAILURE_FILE).unlink(missing_ok=True)


def write_progress(folder: Path, progress: Progress) -> None:
    """Keep how far a training is. A note about it: where it cannot be written training goes on without."""
    with suppress(OSError):
        write_atomically(Path(folder) / PROGRESS_FILE, (json.dumps(asdict(progress)) + "\n").encode())


def read_progress(folder: Path) -> Progress | None:
    try:
        return plain_json.build(Progress, plain_json.load(Path(folder) / PROGRESS_FILE))
    except (OSError, ValueError):
        return None
