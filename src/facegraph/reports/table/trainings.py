"""Trainings as a report reads them: state, result and per-face errors of a run folder and of its evaluations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.errors import ConfigError, RunError
from facegraph.records import PREDICTIONS_FILE, RESULT_FILE, RunResult, read_predictions
from facegraph.sweeps.manifest import Job
from facegraph.sweeps.status import (
    DONE,
    FAILED,
    Failure,
    Progress,
    evaluation_folder,
    read_failure,
    read_progress,
    state,
)

CHECKPOINTS = ("last", "best")


@dataclass(frozen=True)
class Faces:
    """Errors of a test set, sorted by id.

    Args:
        ids: (M,) names.
        errors: normaliser -> (M,) per-face NME as fractions.
        attributes: name -> (M,) bool.
    """

    ids: np.ndarray
    errors: dict[str, np.ndarray]
    attributes: dict[str, np.ndarray]


@dataclass(frozen=True)
class Training:
    """One training of a row with one seed.

    Args:
        folder: its run folder.
        state: of facegraph.sweeps.status, its evaluations included.
        overrides: of train.py.
        progress, failure: what a job left; None for a run without a sweep.
        damaged: whether a result cannot be read, which makes the training a failed one.
    """

    row: str
    seed: int
    folder: Path
    state: str
    overrides: tuple[str, ...] = ()
    identity: str = ""
    progress: Progress | None = None
    failure: Failure | None = None
    damaged: bool = False

    def place(self, evaluation: str | None = None) -> Path:
        """Folder of a condition's result; of the run's own test for None."""
        return self.folder if evaluation is None else evaluation_folder(self.folder, evaluation)

    def state_of(self, evaluation: str | None = None) -> str:
        """DONE where that result is there, otherwise the state of the whole training."""
        return DONE if not self.damaged and (self.place(evaluation) / RESULT_FILE).is_file() else self.state

    def result(self, evaluation: str | None = None) -> RunResult | None:
        """None where the training or the condition has no result yet."""
        path = self.place(evaluation) / RESULT_FILE
        return None if self.damaged or not path.is_file() else _result(path, path.stat().st_mtime_ns)

    def faces(self, checkpoint: str, evaluation: str | None = None) -> Faces | None:
        """Per-face errors; None without predictions of that checkpoint. Raises RunError: a damaged file."""
        path = self.place(evaluation) / PREDICTIONS_FILE
        if self.state_of(evaluation) != DONE or not path.is_file():
            return None
        return _faces(path, checkpoint, path.stat().st_mtime_ns)


def training_of(job: Job, sweep: Path) -> Training:
    """A job of a sweep as its folder shows it now."""
    folder = job.folder(sweep)
    damage = _damage(folder, job.scored)
    return Training(
        row=job.row,
        seed=job.seed,
        folder=folder,
        state=state(folder, job.scored) if damage is None else FAILED,
        overrides=job.overrides,
        identity=job.identity,
        progress=read_progress(folder),
        failure=read_failure(folder) if damage is None else damage,
        damaged=damage is not None,
    )


def training_in(folder: Path, row: str, seed: int, overrides: tuple[str, ...], identity: str) -> Training:
    """A run folder outside of a sweep as it is now, finished or not."""
    damage = _damage(folder)
    return Training(
        row,
        seed,
        folder,
        state(folder) if damage is None else FAILED,
        overrides,
        identity,
        read_progress(folder),
        read_failure(folder) if damage is None else damage,
        damage is not None,
    )


def _damage(folder: Path, conditions: Iterable[str] = ()) -> Failure | None:
    """Why a result of a run folder cannot be read; None where all that are there can."""
    for place in (folder, *(evaluation_folder(folder, name) for name in conditions)):
        path = place / RESULT_FILE
        try:
            if path.is_file():
                _result(path, path.stat().st_mtime_ns)
        except RunError as error:
            return Failure("damaged result", f"{error} If it cannot be restored, delete {place} and sweep again.")
    return None


def read_faces(path: Path, checkpoint: str) -> Faces | None:
    """Ids, errors and attributes from predictions.parquet; None without that checkpoint.

    Raises:
        RunError: no readable predictions.
    """
    frame = read_predictions(path)
    frame = frame[frame["checkpoint"] == checkpoint]
    return None if frame.empty else faces_of(frame)


def faces_of(frame: pd.DataFrame) -> Faces:
    """Faces of one checkpoint's prediction frame."""
    frame = frame.sort_values("id", kind="stable")

    def columns(prefix: str) -> dict[str, np.ndarray]:
        return {str(c)[len(prefix) :]: frame[c].to_numpy() for c in frame.columns if str(c).startswith(prefix)}

    return Faces(frame["id"].to_numpy(dtype=str), columns("nme_"), columns("attr_"))


def check_checkpoint(checkpoint: str) -> str:
    """Raises ConfigError: neither last nor best."""
    if checkpoint not in CHECKPOINTS:
        raise ConfigError(f"checkpoint is '{checkpoint}'; choose {' or '.join(CHECKPOINTS)}.")
    return checkpoint


# the time of writing is a part of the key: a report made again in one process must see what changed
@lru_cache(maxsize=512)
def _result(path: Path, written: int) -> RunResult:
    return RunResult.read(path)


@lru_cache(maxsize=512)
def _faces(path: Path, checkpoint: str, written: int) -> Faces | None:
    return read_faces(path, checkpoint)
