"""The flow of eval.py: a run folder is opened and scored again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from facegraph.data.datamodule import FaceDataModule
from facegraph.data.store.layout import file_name
from facegraph.errors import ConfigError, RunError
from facegraph.records import RESULT_FILE, RunResult
from facegraph.runs import folder as folders
from facegraph.runs import preflight
from facegraph.runs.compose import build_data, build_model, make, scoring_sizes, test_time
from facegraph.runs.configuration import read_config
from facegraph.runs.record import Started, Trained, quieten, score_and_record, settle_threads
from facegraph.structures import LandmarkModel, ShapeStatistics
from facegraph.training.task import CHECKPOINT_KEY, ScoringTask

NEVER = "never"


@dataclass(frozen=True)
class OpenedRun:
    """A finished run, ready to predict.

    Args:
        cfg: its configuration, with the data set, boxes and loading of the evaluation.
        data: set up for test.
        model: with the checkpoint's weights, on the CPU.
        checkpoint: all that the file at `path` holds.
    """

    folder: Path
    cfg: DictConfig
    data: FaceDataModule
    model: LandmarkModel
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
    saved = _for_evaluation(read_config(folder), cfg)
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

    Args:
        overrides: what made cfg, for the record; None: those of the Hydra program.

    Raises:
        FacegraphError: as `open_run`; a folder in use.
    """
    started = Started.now(overrides)
    quieten()
    run = open_run(cfg)
    data = run.data
    settle_threads(cfg.trainer, data)
    task = ScoringTask(run.model, **scoring_sizes(data), **test_time(run.cfg, data))
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
    saved = run.checkpoint
    trained = Trained(saved[CHECKPOINT_KEY], saved["epoch"] + 1, saved["global_step"])
    checkpoints = {cfg.checkpoint: lambda: None}  # its weights are in the model
    return score_and_record(run.cfg, folder, trainer, task, data, run.statistics, checkpoints, trained, started)


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
        _set_at_test(saved, cfg.model)
    return saved


def _set_at_test(saved: DictConfig, given: DictConfig) -> None:
    """Give the model of a run other settings, such as a threshold; null leaves one, `never` takes it away.

    Raises:
        ConfigError: a model without it.
    """
    target = str(saved.model.get("_target_"))
    allowed = getattr(get_object(target), "SETTINGS_AT_TEST", ())
    for name, value in ((str(n), v) for n, v in given.items()):
        if value is None:
            continue
        if name not in allowed:
            raise ConfigError(
                f"model.{name}={value}: the run's model, {target}, has no such setting that a test may change; it has "
                f"{', '.join(allowed) or 'none'}. Leave model.{name} out."
            )
        saved.model[name] = None if value == NEVER else value  # the model refuses what it cannot use


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
