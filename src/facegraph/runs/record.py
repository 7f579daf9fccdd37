"""What train.py and eval.py leave behind: every checkpoint is tested, and the numbers, faces, pictures and the protocol
card are written, logged and printed."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from facegraph.data.datamodule import CUT_FROM_TRAIN, FaceDataModule
from facegraph.data.source import LandmarkDataset, fingerprint
from facegraph.data.store.layout import EXIF_APPLIED
from facegraph.errors import NonFiniteError
from facegraph.machine.resources import Resources
from facegraph.machine.screen import Screen
from facegraph.machine.threads import settle
from facegraph.metrics.cost import count_macs, count_params, latency_ms
from facegraph.metrics.modules import PredictionRows
from facegraph.metrics.names import CONFIDENCE, NME, SAID
from facegraph.records import (
    ProtocolCard,
    Provenance,
    RunResult,
    collect_provenance,
    prediction_frame,
    summarise,
    write_predictions,
)
from facegraph.records.faces import SplitFaces
from facegraph.records.provenance import GitState, git_state
from facegraph.reports.table.marks import confidence_table, results_table, subsets_table
from facegraph.runs.folder import is_first_process
from facegraph.runs.pictures import sample_faces, write_pictures
from facegraph.structures import LandmarkModel, ShapeStatistics
from facegraph.tracking.records import log_results
from facegraph.training.task import ScoringTask

CHECKPOINT_RULE = "last: after the final epoch; best: lowest NME on validation faces"


@dataclass(frozen=True)
class Started:
    """A command at its start, since its checkout may move on while it trains.

    Args:
        at: when.
        git: commit of facegraph.
        overrides: what the user gave it.
    """

    at: datetime
    git: GitState
    overrides: Sequence[str]

    @classmethod
    def now(cls, overrides: Sequence[str] | None = None) -> Started:
        """A training or test that begins now.

        Args:
            overrides: None takes those of the Hydra program.
        """
        return cls(datetime.now().astimezone(), git_state(), given_overrides() if overrides is None else overrides)


@dataclass(frozen=True)
class Trained:
    """How the tested weights were trained.

    Args:
        description: what the checkpoint says of it, see LandmarkTask.
        epochs: finished ones.
        steps: of the optimiser.
        seconds: of the training in this process and those that it resumes; None after eval.py.
    """

    description: Mapping[str, Any]
    epochs: int
    steps: int
    seconds: float | None = None


def _no_advertisement(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("\N{ELECTRIC LIGHT BULB} Tip")


def quieten() -> None:
    """Keep Lightning's advertisements and what only its authors can act on off the screen."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advertisement)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # on a machine with Slurm, whose jobs facegraph starts itself
    warnings.filterwarnings("ignore", message=".*`srun` command is available")


def settle_threads(trainer: DictConfig, data: FaceDataModule, before: int | None = None) -> None:
    """Choose the threads of a run and print the choice.

    Args:
        trainer: configuration of the trainer.
        data: what is loaded.
        before: as `machine.threads.settle`.
    """
    needed = Resources.of(OmegaConf.to_container(trainer, resolve=True), data.num_workers)  # type: ignore[arg-type]
    gpus = 0 if needed.on_cpu else torch.cuda.device_count()
    processes = gpus if needed.processes is None else needed.processes
    line = settle(needed.loaders, max(1, processes), gpus == 0, None if gpus else before)
    if line is not None and is_first_process():
        print(line, flush=True)


def given_overrides() -> list[str]:
    """Those of the Hydra program; none outside of one."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def faces_of(data: FaceDataModule) -> dict[str, SplitFaces]:
    """The faces of each split; the data module must be set up for fit and test."""
    tables = {"train": data.train_table, "val": data.val_table, "test": data.test_table}
    return {
        name: SplitFaces(len(table), fingerprint(table), data.dataset.images_fingerprint(table.ids))
        for name, table in tables.items()
    }


def score_and_record(
    cfg: DictConfig,
    folder: Path,
    trainer: pl.Trainer,
    task: ScoringTask,
    data: FaceDataModule,
    statistics: ShapeStatistics,
    checkpoints: Mapping[str, Callable[[], float | None]],
    trained: Trained,
    started: Started,
) -> RunResult:
    """Test the checkpoints, write, log and print what is found; only the first process writes.

    Predictions and pictures come first, result.json last: from then on the run is done. A failing logger is only
    reported, and a process killed before it has logged leaves wandb without the test's numbers and pictures, all of
    which lie in the folder.

    Args:
        cfg: configuration of the run.
        folder: to write to.
        trainer: tests and logs.
        task: with the model.
        data: set up for test.
        statistics: that the model was built with.
        checkpoints: name -> puts its weights into the model and returns its NME on the validation faces, None where
            that is not known or not to be reported.
        trained: how the weights were trained.
        started: the command.

    Raises:
        NonFiniteError: a face without usable landmarks.
    """
    begun = time.perf_counter()
    validation: dict[str, Any] = {}
    frames: dict[str, pd.DataFrame] = {}
    for name, restore in checkpoints.items():
        score = restore()
        if score is not None:
            validation[name] = {NME: score}
        trainer.test(task, datamodule=data, verbose=False)
        assert task.predictions is not None
        frames[name] = _frame_of(task.predictions, data, name)
    faces = len(next(iter(frames.values())))
    result = RunResult(
        protocol=_protocol_card(cfg, data, task.model, trained, faces),
        metrics={"val": validation, "test": _test_metrics(frames, data.dataset)},
        provenance=_provenance(cfg, trainer, task.model, trained, started, time.perf_counter() - begun),
    )
    if not trainer.is_global_zero:
        return result
    write_predictions(pd.concat(frames.values(), ignore_index=True), folder)
    write_pictures(folder, result, frames, data.test_source, data.dataset, statistics, task.model)
    result.write(folder)
    try:
        _log(trainer, folder, result, frames, data)
    except Exception as error:  # the run is complete, whatever a server or its client says
        print(f"The results are in {folder}, but not all of them were logged: {type(error).__name__}: {error}")
    print_results(result, folder)
    return result


def _protocol_card(
    cfg: DictConfig, data: FaceDataModule, model: LandmarkModel, trained: Trained, faces: int
) -> ProtocolCard:
    dataset = data.dataset
    validation = trained.description.get("validation", CUT_FROM_TRAIN)  # converted weights have none
    return ProtocolCard(
        dataset=dataset.name,
        split=dataset.test_name,
        scheme=dataset.scheme.name,
        num_landmarks=dataset.scheme.num_landmarks,
        trained_on=trained.description["trained_on"],
        train_faces=trained.description["train_faces"],
        val_faces=trained.description["val_faces"],
        validation=validation,
        test_faces=faces,
        test_hash=fingerprint(data.test_table),
        crop=data.box.crop_description,
        crop_margin=data.box.margin,
        input_size=cfg.input_size,
        normaliser=dataset.normalisers[0],
        thresholds=thresholds_by_normaliser(dataset),
        checkpoint_rule=f"{CHECKPOINT_RULE} {validation}",
        epochs=trained.epochs,
        optimiser_steps=trained.steps,
        seed=cfg.seed,
        initial_weights=cfg.get("init_from"),
        test_time_flip=bool(cfg.get("test_time_flip", False)),  # a run of an earlier version has none
        corruption=data.corruption_description,
        exif=EXIF_APPLIED if dataset.exif_applied else None,
        model_facts=model.protocol_facts(),
        padding=round(data.test_padding, 3) or None,
        partly_labelled=data.partly_labelled(),
        shared_photographs=dataset.shared_photographs,
    )


def _frame_of(rows: PredictionRows, data: FaceDataModule, checkpoint: str) -> pd.DataFrame:
    """Table of predictions of one checkpoint; rows come from the test split in the order of its table."""
    table, dataset = data.test_table, data.dataset
    index = rows.index.cpu().numpy()
    distances, attributes = rows.norm_distances.cpu().numpy(), rows.attributes.cpu().numpy()
    return prediction_frame(
        ids=[table.ids[i] for i in index],
        index=index,
        prediction=rows.prediction.cpu().numpy(),
        truth=rows.truth.cpu().numpy(),
        norm_distances={name: distances[:, i] for i, name in enumerate(dataset.normalisers)},
        attributes={name: attributes[:, i] for i, name in enumerate(table.attribute_names)},
        checkpoint=checkpoint,
        said={name: rows.said[:, i].cpu().numpy() for i, name in enumerate(SAID)},
    )


def thresholds_by_normaliser(dataset: LandmarkDataset) -> dict[str, tuple[float, ...]]:
    return {name: dataset.thresholds_of(name) for name in dataset.normalisers}


def _test_metrics(frames: Mapping[str, pd.DataFrame], dataset: LandmarkDataset) -> dict[str, Any]:
    """checkpoint -> numbers, as result.json keeps them under metrics.test.

    Raises:
        NonFiniteError: a face without usable landmarks: the mean over the others is no score of the test.
    """
    for checkpoint, frame in frames.items():
        broken = frame.loc[~np.isfinite(frame[f"nme_{dataset.normalisers[0]}"]), "id"].tolist()
        if broken:
            named = ", ".join(map(str, broken[:4]))
            raise NonFiniteError(
                f"checkpoint {checkpoint} gives no finite landmarks for {len(broken)} of {len(frame)} test faces "
                f"({named}{', ...' if len(broken) > 4 else ''}), so there is no result. Look at these faces, score in "
                "trainer.precision=32-true (eval.py: precision=32-true), or train again with a lower optimizer.lr."
            )
    return {
        name: summarise(frame, dataset.normalisers, thresholds_by_normaliser(dataset)) for name, frame in frames.items()
    }


def _provenance(
    cfg: DictConfig,
    trainer: pl.Trainer,
    model: LandmarkModel,
    trained: Trained,
    started: Started,
    test_seconds: float,
) -> Provenance:
    passes = 2 if cfg.get("test_time_flip", False) else 1
    on_gpu = isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator)
    with model.complete():
        # before the multiply-adds are counted, which moves the model to the CPU
        latency = latency_ms(model, cfg.input_size, trainer.strategy.root_device) if trained.seconds else None
        macs = count_macs(model.cpu(), cfg.input_size)[0]
    return collect_provenance(
        device=torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads",
        overrides=started.overrides,
        started_at=started.at,
        git=started.git,
        seed=cfg.seed,
        params=count_params(model),
        macs=passes * macs,
        latency_ms=None if latency is None else passes * latency,
        train_seconds=None if trained.seconds is None else round(trained.seconds, 1),
        test_seconds=round(test_seconds, 1),
    )


def _log(
    trainer: pl.Trainer, folder: Path, result: RunResult, frames: Mapping[str, pd.DataFrame], data: FaceDataModule
) -> None:
    """Tell the loggers numbers, pictures and sample faces of the test."""
    for name, summary in result.metrics["test"].items():
        measures = {**summary, **summary.get("confidence", {})}
        numbers = {f"test/{key}/{name}": v for key, v in measures.items() if isinstance(v, float)}
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
            logger.save()
    shown = next(iter(frames.values()))
    log_results(
        trainer.loggers,
        folder,
        result,
        lambda: sample_faces(shown, data.test_source, data.dataset),
        trainer.global_step,
    )


def print_results(result: RunResult, folder: Path, console: Console | None = None) -> None:
    console = console or Screen()
    console.print(results_table(result))
    if any(entry["subsets"] for entry in result.metrics["test"].values()):
        console.print(subsets_table(result))
    if any(CONFIDENCE in entry for entry in result.metrics["test"].values()):
        console.print(confidence_table(result))
    listing = ", ".join(sorted(p.name for p in folder.iterdir() if p.suffix in (".json", ".parquet", ".png")))
    console.print(
        f"Everything of this run is in [bold]{escape(str(folder))}[/bold]: {escape(listing)}", highlight=False
    )
