"""What loggers are told about a run besides its curves: its settings at the start, its results at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from facegraph.metrics.names import NME
from facegraph.records import RunResult
from facegraph.tracking.names import FACES, OF_PROVENANCE, PICTURES, STEP, score_name
from facegraph.tracking.session import staged_in
from facegraph.training.task import VAL_NME


class SampledFace(NamedTuple):
    """A test face as it is logged.

    Args:
        id: name of the face.
        error: by the primary normaliser, a fraction.
        picture: (S, S, 3) uint8 RGB, truth green, prediction red.
        attributes: those the face has.
    """

    id: str
    error: float
    picture: np.ndarray
    attributes: tuple[str, ...]


@rank_zero_only
def describe_run(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Tell wandb the settings, and that of val/nme the smallest counts. Other loggers: config.yaml has the settings.

    Args:
        config: resolved configuration as plain values.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            run.config.update(dict(config), allow_val_change=True)
            run.define_metric(VAL_NME, step_metric=STEP, summary="min")


@rank_zero_only
def log_results(
    loggers: Iterable[Logger], folder: Path, result: RunResult, faces: Callable[[], Sequence[SampledFace]], step: int
) -> None:
    """Log the pictures of a finished run folder, and to wandb also sample faces and all numbers; ends the wandb run.

    Args:
        folder: with its pictures written.
        faces: called only where they are shown.
        step: optimiser steps so far.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _to_wandb(logger, folder, result, faces(), step)
        elif isinstance(logger, TensorBoardLogger):
            _to_tensorboard(logger, folder, step)


def summary_of(result: RunResult) -> dict[str, float]:
    """Numbers of a result that no metric logs, by name: subsets, all normalisers, size and cost of the model."""
    numbers: dict[str, Any] = {}
    for checkpoint, summary in result.metrics["test"].items():
        parts = {**summary["subsets"], **summary["normalisers"]}
        numbers |= {
            score_name(measure, checkpoint, part): value
            for part, measured in parts.items()
            for measure, value in measured.items()
        }
    numbers |= {name: getattr(result.provenance, name) for name in OF_PROVENANCE}
    return {name: value for name, value in numbers.items() if value is not None}


def _to_wandb(logger: WandbLogger, folder: Path, result: RunResult, faces: Sequence[SampledFace], step: int) -> None:
    import wandb

    run = logger.experiment
    media: dict[str, Any] = {f"{PICTURES}/{path.stem}": wandb.Image(str(path)) for path in _pictures(folder)}
    rows: list[Iterable[Any]] = [
        [face.id, 100 * face.error, ", ".join(face.attributes), wandb.Image(face.picture, file_type="jpg")]
        for face in faces
    ]
    with staged_in(folder):
        media[FACES] = wandb.Table(columns=["face", "error %", "attributes", "green truth, red predicted"], data=rows)
        run.log({**media, STEP: step})
    run.summary.update(summary_of(result))
    best = [entry[NME] for entry in result.metrics["val"].values()]
    if best:  # of all attempts: what an earlier one logged is not in the file of this one
        run.summary.update({VAL_NME: {"min": min(best)}})
    run.finish()


def _to_tensorboard(logger: TensorBoardLogger, folder: Path, step: int) -> None:
    for path in _pictures(folder):
        with Image.open(path) as image:
            logger.experiment.add_image(f"{PICTURES}/{path.stem}", np.array(image.convert("RGB")), step, None, "HWC")
    logger.save()


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))
