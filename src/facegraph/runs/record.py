"""What train.py and eval.py leave behind: protocol card, provenance, results, what loggers are told."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from facegraph.data.datamodule import CUT_FROM_TRAIN, FaceDataModule
from facegraph.data.source import fingerprint
from facegraph.data.store.layout import EXIF_APPLIED
from facegraph.graph.neighbours import graph_mask, top_k_neighbours
from facegraph.machine.resources import Resources
from facegraph.machine.threads import settle
from facegraph.metrics.cost import complete, count_macs, count_params, latency_ms
from facegraph.records import ProtocolCard, Provenance, RunResult, collect_provenance
from facegraph.records.faces import SplitFaces
from facegraph.records.provenance import GitState
from facegraph.runs.folder import is_first_process
from facegraph.runs.results import print_results, thresholds_by_normaliser, write_results
from facegraph.runs.samples import sample_faces
from facegraph.structures import ShapeStatistics
from facegraph.tracking.records import log_results
from facegraph.training.callbacks import TrainingClock
from facegraph.training.task import LandmarkTask

CHECKPOINT_RULE = "last: after the final epoch; best: lowest NME on validation faces"
DRAWN_NEIGHBOURS = 3


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


def protocol_card(
    cfg: DictConfig, data: FaceDataModule, trained: Mapping[str, Any], epochs: int, steps: int, faces: int
) -> ProtocolCard:
    dataset = data.dataset
    validation = trained.get("validation", CUT_FROM_TRAIN)  # checkpoints of before it could be given have none
    return ProtocolCard(
        dataset=dataset.name,
        split=dataset.test_name,
        scheme=dataset.scheme.name,
        num_landmarks=dataset.scheme.num_landmarks,
        trained_on=trained["trained_on"],
        train_faces=trained["train_faces"],
        val_faces=trained["val_faces"],
        validation=validation,
        test_faces=faces,
        test_hash=fingerprint(data.test_table),
        crop=data.box.crop_description,
        crop_margin=data.box.margin,
        input_size=cfg.input_size,
        normaliser=dataset.normalisers[0],
        thresholds=thresholds_by_normaliser(dataset),
        checkpoint_rule=f"{CHECKPOINT_RULE} {validation}",
        epochs=epochs,
        optimiser_steps=steps,
        seed=cfg.seed,
        initial_weights=cfg.get("init_from"),
        test_time_flip=bool(cfg.get("test_time_flip", False)),  # a run of an earlier version has none
        corruption=data.corruption_description,
        exif=EXIF_APPLIED if dataset.exif_applied else None,
        quit_threshold=cfg.model.get("quit_threshold"),
        fail_threshold=cfg.model.get("fail_threshold"),
        padding=round(data.test_padding, 3) or None,
        partly_labelled=data.partly_labelled(),
        shared_photographs=dataset.shared_photographs,
    )


def faces_of(data: FaceDataModule) -> dict[str, SplitFaces]:
    """The faces of each split; the data module must be set up for fit and test."""
    tables = {"train": data.train_table, "val": data.val_table, "test": data.test_table}
    return {
        name: SplitFaces(len(table), fingerprint(table), data.dataset.images_fingerprint(table.ids))
        for name, table in tables.items()
    }


def finish(
    trainer: pl.Trainer,
    folder: Path,
    result: RunResult,
    frames: dict[str, pd.DataFrame],
    data: FaceDataModule,
    statistics: ShapeStatistics,
    task: LandmarkTask,
) -> None:
    """Write and print on the first process, log the test's numbers.

    From result.json on the run is done: a failing logger is only reported, and a process killed before it has logged
    leaves wandb without the test's numbers and pictures, all of which lie in the folder.
    """
    if not trainer.is_global_zero:
        return
    write_results(folder, result, frames, data.test_source, data.dataset, statistics, lambda: _graph(task, statistics))
    try:
        _log(trainer, folder, result, frames, data)
    except Exception as error:  # the run is complete, whatever a server or its client says
        print(f"The results are in {folder}, but not all of them were logged: {type(error).__name__}: {error}")
    print_results(result, folder)


def _graph(task: LandmarkTask, statistics: ShapeStatistics) -> torch.Tensor | None:
    """The graph to draw (N, N): the model's own, or which landmarks move together; None where that is not known."""
    mask = getattr(getattr(task.model, "head", None), "mask", None)
    if mask is not None:
        return mask
    correlation = statistics.correlation.cpu()
    if torch.equal(correlation, torch.eye(len(correlation))):  # of released weights
        return None
    most = len(correlation) - 1
    return graph_mask(top_k_neighbours(correlation, min(DRAWN_NEIGHBOURS, most)), symmetric=False) if most else None


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


def provenance(
    trainer: pl.Trainer,
    model: torch.nn.Module,
    cfg: DictConfig,
    started: datetime,
    git: GitState,
    train_seconds: float | None,
    test_seconds: float,
    overrides: Sequence[str] | None = None,
) -> Provenance:
    passes = 2 if cfg.get("test_time_flip", False) else 1
    with complete(model):
        # before the multiply-adds are counted, which moves the model to the CPU
        latency = latency_ms(model, cfg.input_size, trainer.strategy.root_device) if train_seconds else None
        macs = count_macs(model.cpu(), cfg.input_size)[0]
    return collect_provenance(
        device=_device_name(trainer),
        overrides=given_overrides() if overrides is None else overrides,
        started_at=started,
        git=git,
        seed=cfg.seed,
        params=count_params(model),
        macs=passes * macs,
        latency_ms=None if latency is None else passes * latency,
        train_seconds=None if train_seconds is None else round(train_seconds, 1),
        test_seconds=round(test_seconds, 1),
    )


def train_seconds_of(trainer: pl.Trainer) -> float | None:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    clocks = [callback for callback in callbacks if isinstance(callback, TrainingClock)]
    return clocks[0].seconds if clocks else None


def _device_name(trainer: pl.Trainer) -> str:
    if isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator):
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"


def given_overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
