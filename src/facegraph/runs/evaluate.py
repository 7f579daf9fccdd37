"""The flow of eval.py: a run folder is opened and scored again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from facegraph.data.datamodule import FaceDataModule
from facegraph.data.store.layout import file_name
from facegraph.errors import ConfigError, RunError
from facegraph.records import RESULT_FILE, RunResult
from facegraph.records.provenance import git_state
from facegraph.runs import folder as folders
from facegraph.runs import preflight
from facegraph.runs.compose import build_data, build_model, make, scoring_sizes, test_time
from facegraph.runs.record import finish, protocol_card, provenance, quieten, settle_threads
from facegraph.runs.results import frame_of, test_metrics
from facegraph.structures import ShapeStatistics
from facegraph.training.task import CHECKPOINT_KEY, LandmarkTask

THRESHOLDS = ("quit_threshold", "fail_threshold")
"""Settings of a model that may stop early, which an evaluation may change."""
NEVER = "never"


@dataclass(frozen=True)
class OpenedRun:
    """A finished run, ready to predict.

    cfg: its configuration, with the data set, boxes and loading of the evaluation. data: set up for test. model: with
    the checkpoint's weights, on the CPU. checkpoint: all that the file at `path` holds.
    """

    folder: Path
    cfg: DictConfig
    data: FaceDataModule
    model: nn.Module
    statistics: ShapeStatistics
    checkpoint: dict[str, Any]
    path: Path


def open_run(cfg: DictConfig) -> OpenedRun:
    """The run that a configuration of eval.py names.

    Raises:
        FacegraphError: no such run or checkpoint, a data set with another landmark scheme.
    """
    if OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("eval.py needs the folder of a finished run: python eval.py run=<output folder>")
    folder = Path(cfg.run)
    saved = _for_evaluation(folders.read_config(folder), cfg)
    path = folders.checkpoint_path(folder, cfg.checkpoint)
    checkpoint = folders.load_checkpoint(path)
    data = build_data(saved)
    folders.check_scheme(checkpoint, data.dataset.scheme, path)
    data.setup("test")
    state = folders.model_state(checkpoint)
    statistics = folders.saved_statistics(state, data.dataset.scheme)
    model = build_model(saved, statistics)
    folders.restore(model, state, path)
    return OpenedRun(folder, saved, data, model, statistics, checkpoint, path)


def evaluate(cfg: DictConfig, overrides: Sequence[str] | None = None) -> RunResult:
    """Score a finished run again, on its own test split or on another data set, from its folder alone.

    overrides: what made cfg, for the record; None: those of the Hydra program.

    Raises:
        FacegraphError: as `open_run`; a folder in use.
    """
    started, clock, git = datetime.now().astimezone(), time.perf_counter(), git_state()
    quieten()
    run = open_run(cfg)
    data, trained = run.data, run.checkpoint
    settle_threads(cfg.trainer, data)
    task = LandmarkTask(
        run.model, None, None, None, None, description={}, **scoring_sizes(data), **test_time(run.cfg, data)
    )
    folder = _evaluation_folder(cfg, run.folder, data.dataset.name)
    # half precision rounds predictions: score as the run itself did
    precision = run.cfg.trainer.precision if cfg.precision is None else cfg.precision
    trainer = make(
        cfg.trainer,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=sys.stdout.isatty(),
        default_root_dir=str(folder),
    )
    preflight.check_test(data, trainer)
    folders.make_writable(folder)
    trainer.test(task, datamodule=data, verbose=False)
    assert task.predictions is not None
    frames = {cfg.checkpoint: frame_of(task.predictions, data.test_source, data.dataset, cfg.checkpoint)}
    epochs, steps = trained["epoch"] + 1, trained["global_step"]
    result = RunResult(
        protocol=protocol_card(run.cfg, data, trained[CHECKPOINT_KEY], epochs, steps, len(frames[cfg.checkpoint])),
        metrics={"val": {}, "test": test_metrics(frames, data.dataset)},
        provenance=provenance(trainer, run.model, run.cfg, started, git, None, time.perf_counter() - clock, overrides),
    )
    finish(trainer, folder, result, frames, data, run.statistics, task)
    return result


def _for_evaluation(saved: DictConfig, cfg: DictConfig) -> DictConfig:
    """A run's configuration with the data set and the loading of an evaluation."""
    with open_dict(saved), open_dict(cfg):
        # the saved configuration is resolved: its parts no longer follow each other
        scheme = cfg.dataset.get("scheme")
        if scheme is not None and OmegaConf.is_missing(scheme, "name_or_path"):
            cfg.dataset.scheme = saved.dataset.scheme  # a folder of crops does not say how its points are numbered
        saved.dataset = saved.data.dataset = cfg.dataset
        saved.box = saved.data.box = cfg.box
        saved.data.eval_batch_size, saved.data.num_workers = cfg.eval_batch_size, cfg.num_workers
        saved.data.batch_size, saved.data.balancing = 1, None
        saved.data.corruption = cfg.get("corruption")
        if "backbone" in saved.model:
            saved.model.backbone.pretrained = False
        if cfg.test_time_flip is not None:
            saved.test_time_flip = cfg.test_time_flip
        for name in THRESHOLDS:
            _set_threshold(saved, name, cfg.get(name))
    return saved


def _set_threshold(saved: DictConfig, name: str, value: Any) -> None:
    """Give the model of a run another threshold; null leaves it, `never` takes it away.

    Raises:
        ConfigError: a model without it.
    """
    if value is None:
        return
    if name not in saved.model:
        raise ConfigError(
            f"{name}={value}: the run's model, {saved.model.get('_target_')}, has no such threshold; runs of "
            f"model=musica do. Leave {name} out."
        )
    saved.model[name] = None if value == NEVER else value  # the model refuses what is no threshold


def _evaluation_folder(cfg: DictConfig, run: Path, dataset: str) -> Path:
    """Where an evaluation writes: as configured, or a new folder within the run.

    Raises:
        RunError: the folder holds a result already.
    """
    name = f"{file_name(dataset)}_{cfg.checkpoint}"
    folder = folders.output_folder(cfg.output_dir or None, name)
    if not cfg.output_dir:
        folder = run / "eval" / name / folder.name
    if (folder / RESULT_FILE).exists():
        raise RunError(f"{folder} holds a result already and nothing is overwritten; choose another output_dir.")
    return folder
