"""The flow of an experiment: train.py and eval.py call `train` and `evaluate`."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning.plugins.environments import SLURMEnvironment

from facegraph import checkpoint as folders
from facegraph.batch_norm import SyncBatchNorm
from facegraph.callbacks import BEST, LAST, TrainingClock
from facegraph.checkpoint_io import WholeCheckpoints
from facegraph.complexity import count_macs, count_params, latency_ms
from facegraph.compose import (
    build_data,
    build_model,
    build_task,
    check_trusted,
    make,
    scoring_sizes,
    training_statistics,
)
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.source import fingerprint
from facegraph.errors import ConfigError, RunError
from facegraph.graph.neighbours import graph_mask, top_k_neighbours
from facegraph.metrics.names import NME
from facegraph.progress import ProgressFile
from facegraph.records import RESULT_FILE, ProtocolCard, Provenance, RunResult, collect_provenance
from facegraph.records.provenance import GitState, git_state
from facegraph.results import frame_of, print_results, test_metrics, thresholds_by_normaliser, write_results
from facegraph.structures import ShapeStatistics
from facegraph.sweeps.identity import lasting
from facegraph.task import CHECKPOINT_KEY, SCORE_KEY, LandmarkTask
from facegraph.tracking.faces import sample_faces
from facegraph.tracking.records import describe_run, log_results

CHECKPOINT_RULE = "last: after the final epoch; best: lowest NME on validation faces cut from train by photograph"
DRAWN_NEIGHBOURS = 3


def _no_advertisement(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("\N{ELECTRIC LIGHT BULB} Tip")


def _quieten() -> None:
    """Keep Lightning's advertisements and what only its authors can act on off the screen."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advertisement)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # on a machine with Slurm, whose jobs facegraph starts itself
    warnings.filterwarnings("ignore", message=".*`srun` command is available")


def train(cfg: DictConfig) -> RunResult:
    """Train, test the last and the best checkpoint, write and print the results.

    Raises:
        FacegraphError: settings, data or folders that cannot work; before training starts where it can be known then.
    """
    started, git = datetime.now().astimezone(), git_state()
    _quieten()
    cfg, folder = _resumed(cfg) if cfg.resume else _fresh(cfg)
    if cfg.resume and (folder / RESULT_FILE).exists():
        print(f"{folder} is finished already; nothing to do.")
        return RunResult.read(folder)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    data = build_data(cfg)
    data.setup("fit")
    data.setup("test")
    statistics = training_statistics(data, cfg.graph.frame)
    task = build_task(cfg, data, statistics)
    if not cfg.resume:
        folders.claim(folder, cfg)
    trainer = _trainer(cfg, folder)
    describe_run(trainer.loggers, OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    trainer.fit(task, datamodule=data, ckpt_path=_continue_from(folder, cfg), weights_only=True)
    trained = time.perf_counter()
    validation: dict[str, Any] = {}
    frames: dict[str, pd.DataFrame] = {}
    for which in _available(folder):
        score = _restore(task, folder, which)
        if score is not None:
            validation[which] = {NME: score}
        trainer.test(task, datamodule=data, verbose=False)
        assert task.predictions is not None
        frames[which] = frame_of(task.predictions, data.test_source, data.dataset, which)
    result = RunResult(
        protocol=_card(cfg, data, task.description, trainer.current_epoch, trainer.global_step, len(frames[LAST])),
        metrics={"val": validation, "test": test_metrics(frames, data.dataset)},
        provenance=_provenance(
            trainer, task.model, cfg, started, git, _train_seconds(trainer), time.perf_counter() - trained
        ),
    )
    _finish(trainer, folder, result, frames, data, statistics, task)
    return result


def evaluate(cfg: DictConfig, overrides: Sequence[str] | None = None) -> RunResult:
    """Score a finished run again, on its own test split or on another data set, from its folder alone.

    overrides: what made cfg, for the record; None: those of the Hydra program.

    Raises:
        FacegraphError: no such run or checkpoint, a data set with another landmark scheme, a folder in use.
    """
    started, clock, git = datetime.now().astimezone(), time.perf_counter(), git_state()
    _quieten()
    if OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("eval.py needs the folder of a finished run: python eval.py run=<output folder>")
    source_folder = Path(cfg.run)
    saved = _for_evaluation(folders.read_config(source_folder), cfg)
    path = folders.checkpoint_path(source_folder, cfg.checkpoint)
    checkpoint = folders.load_checkpoint(path)
    data = build_data(saved)
    folders.check_scheme(checkpoint, data.dataset.scheme, path)
    data.setup("test")
    state = folders.model_state(checkpoint)
    statistics = folders.saved_statistics(state)
    model = build_model(saved, statistics)
    folders.restore(model, state, path)
    task = LandmarkTask(model, None, None, None, None, description={}, **scoring_sizes(data))
    folder = _evaluation_folder(cfg, source_folder, data.dataset.name)
    # half precision rounds predictions: score as the run itself did
    precision = saved.trainer.precision if cfg.precision is None else cfg.precision
    trainer = make(
        cfg.trainer, precision=precision, logger=False, enable_checkpointing=False, default_root_dir=str(folder)
    )
    trainer.test(task, datamodule=data, verbose=False)
    assert task.predictions is not None
    frames = {cfg.checkpoint: frame_of(task.predictions, data.test_source, data.dataset, cfg.checkpoint)}
    result = RunResult(
        protocol=_card(
            saved,
            data,
            checkpoint[CHECKPOINT_KEY],
            checkpoint["epoch"] + 1,
            checkpoint["global_step"],
            len(frames[cfg.checkpoint]),
        ),
        metrics={"val": {}, "test": test_metrics(frames, data.dataset)},
        provenance=_provenance(trainer, model, saved, started, git, None, time.perf_counter() - clock, overrides),
    )
    _finish(trainer, folder, result, frames, data, statistics, task)
    return result


def _for_evaluation(saved: DictConfig, cfg: DictConfig) -> DictConfig:
    """A run's configuration with the data set and the loading of an evaluation."""
    check_trusted(saved)
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
        saved.model.backbone.pretrained = False
    return saved


def _fresh(cfg: DictConfig) -> tuple[DictConfig, Path]:
    folder = folders.output_folder(cfg.output_dir, cfg.name)
    with open_dict(cfg):
        cfg.output_dir = str(folder)
        make_absolute(cfg.dataset)
    return cfg, folder


def make_absolute(dataset: DictConfig) -> None:
    """Paths of a data set as they hold from every folder, because the run may be opened from another one."""
    for node, key in ((dataset, "root"), (dataset.get("scheme"), "name_or_path")):
        if node is not None and not OmegaConf.is_missing(node, key) and Path(str(node.get(key))).exists():
            node[key] = str(Path(node[key]).absolute())


def _resumed(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """Configuration and folder of the run to continue; refuses settings that differ from it."""
    folder = Path(cfg.resume)
    if cfg.output_dir and Path(cfg.output_dir).absolute() != folder.absolute():
        raise ConfigError(f"resume={folder} continues in that folder; leave output_dir={cfg.output_dir} out.")
    saved = folders.read_config(folder)
    check_trusted(saved)
    others = [o for o in _overrides() if o.split("=", 1)[0] not in ("resume", "output_dir")]
    if others:
        make_absolute(cfg.dataset)
        asked, known = (lasting(OmegaConf.to_container(c, resolve=True)) for c in (cfg, saved))  # type: ignore[arg-type]
        differing = sorted(k for k in asked.keys() | known.keys() if asked.get(k) != known.get(k))
        if differing:
            raise ConfigError(
                f"resume={folder} continues that run as it was configured, but {' '.join(others)} would change "
                f"{', '.join(differing)}. Leave the overrides out, or start a new run with another output_dir."
            )
    with open_dict(saved):
        if cfg.sweep.identity is not None:
            # a sweep may ask for other conditions, or to be watched otherwise, than it did before
            saved.sweep, saved.logger = cfg.sweep, cfg.logger
        saved.resume = str(folder)
        saved.output_dir = str(folder)
        for name, logger in saved.logger.items():
            logger.save_dir = str(folder)
            if name == "csv":  # Lightning's csv logger deletes what an earlier process logged
                logger.version = f"{logger.version}_from_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folders.make_writable(folder)
    return saved, folder


def several_processes(devices: Any, num_nodes: int) -> bool:
    """Whether Lightning would start more than one process for a trainer's devices: their number, or a list of them."""
    single = str(devices) == "1" or (
        isinstance(devices, Sequence) and not isinstance(devices, str) and len(devices) == 1
    )
    return not single or num_nodes > 1


def _continue_from(folder: Path, cfg: DictConfig) -> str | None:
    path = folder / folders.CHECKPOINT_FOLDER / f"{LAST}.ckpt"
    if not (cfg.resume and path.is_file()):
        return None
    if cfg.sweep.identity is not None and folders.set_damaged_aside(folder):  # nobody is there to decide
        return None
    folders.load_checkpoint(path)
    return str(path)


def _trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    named, bar = make(cfg.callbacks), {}
    if cfg.sweep.identity is not None:  # a job has no terminal: who watches reads its folder
        named, bar = {**named, "progress": ProgressFile(folder)}, {"enable_progress_bar": False}
    callbacks = list(named.values())
    for callback in callbacks:
        if isinstance(callback, pl.callbacks.ModelCheckpoint):
            callback.dirpath = str(folder / folders.CHECKPOINT_FOLDER)
    loggers = list(make(cfg.logger).values())
    plugins: list[Any] = [WholeCheckpoints(), *([SyncBatchNorm()] if cfg.trainer.get("sync_batchnorm") else [])]
    if SLURMEnvironment.detect():  # whoever submitted the job requeues it, and it goes on from last.ckpt
        plugins.append(SLURMEnvironment(auto_requeue=False))
    parts = {"callbacks": callbacks, "logger": loggers, "plugins": plugins, "default_root_dir": str(folder)}
    return make(cfg.trainer, **parts, **bar)


def _available(folder: Path) -> list[str]:
    names = (LAST, BEST)
    return [n for n in names if (folder / folders.CHECKPOINT_FOLDER / f"{n}.ckpt").is_file()]


def _restore(task: LandmarkTask, folder: Path, which: str) -> float | None:
    """Put a checkpoint's weights into the task; returns its NME on the validation faces, None where there were none."""
    path = folders.checkpoint_path(folder, which)
    checkpoint = folders.load_checkpoint(path)
    folders.restore(task.model, folders.model_state(checkpoint), path)
    return checkpoint[CHECKPOINT_KEY].get(SCORE_KEY)


def _card(
    cfg: DictConfig, data: FaceDataModule, trained: Mapping[str, Any], epochs: int, steps: int, faces: int
) -> ProtocolCard:
    dataset = data.dataset
    return ProtocolCard(
        dataset=dataset.name,
        split=dataset.test_name,
        scheme=dataset.scheme.name,
        num_landmarks=dataset.scheme.num_landmarks,
        trained_on=trained["trained_on"],
        train_faces=trained["train_faces"],
        val_faces=trained["val_faces"],
        test_faces=faces,
        test_hash=fingerprint(data.test_table),
        crop=data.box.crop_description,
        crop_margin=data.box.margin,
        input_size=cfg.input_size,
        normaliser=dataset.normalisers[0],
        thresholds=thresholds_by_normaliser(dataset),
        checkpoint_rule=CHECKPOINT_RULE,
        epochs=epochs,
        optimiser_steps=steps,
        seed=cfg.seed,
        corruption=data.corruption_description,
    )


def _evaluation_folder(cfg: DictConfig, run: Path, dataset: str) -> Path:
    """Where an evaluation writes: as configured, or a new folder within the run.

    Raises:
        RunError: the folder holds a result already, or cannot be written.
    """
    name = f"{dataset}_{cfg.checkpoint}"
    folder = folders.output_folder(cfg.output_dir or None, name)
    if not cfg.output_dir:
        folder = run / "eval" / name / folder.name
    if (folder / RESULT_FILE).exists():
        raise RunError(f"{folder} holds a result already and nothing is overwritten; choose another output_dir.")
    folders.make_writable(folder)
    return folder


def _finish(
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
    mask = getattr(getattr(task.model, "head", None), "mask", None)
    if mask is None:
        mask = graph_mask(top_k_neighbours(statistics.correlation, DRAWN_NEIGHBOURS), symmetric=False)
    write_results(folder, result, frames, data.test_source, data.dataset, statistics, mask)
    try:
        _log(trainer, folder, result, frames, data)
    except Exception as error:  # the run is complete, whatever a server or its client says
        print(f"The results are in {folder}, but not all of them were logged: {type(error).__name__}: {error}")
    print_results(result, folder)


def _log(
    trainer: pl.Trainer, folder: Path, result: RunResult, frames: Mapping[str, pd.DataFrame], data: FaceDataModule
) -> None:
    """Tell the loggers numbers, pictures and sample faces of the test."""
    for name, summary in result.metrics["test"].items():
        numbers = {f"test/{key}/{name}": v for key, v in summary.items() if isinstance(v, float)}
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


def _provenance(
    trainer: pl.Trainer,
    model: torch.nn.Module,
    cfg: DictConfig,
    started: datetime,
    git: GitState,
    train_seconds: float | None,
    test_seconds: float,
    overrides: Sequence[str] | None = None,
) -> Provenance:
    # before the multiply-adds are counted, which moves the model to the CPU
    latency = latency_ms(model, cfg.input_size, trainer.strategy.root_device) if train_seconds else None
    return collect_provenance(
        device=_device_name(trainer),
        overrides=_overrides() if overrides is None else overrides,
        started_at=started,
        git=git,
        seed=cfg.seed,
        params=count_params(model),
        macs=count_macs(model.cpu(), cfg.input_size)[0],
        latency_ms=latency,
        train_seconds=None if train_seconds is None else round(train_seconds, 1),
        test_seconds=round(test_seconds, 1),
    )


def _train_seconds(trainer: pl.Trainer) -> float | None:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    clocks = [callback for callback in callbacks if isinstance(callback, TrainingClock)]
    return clocks[0].seconds if clocks else None


def _device_name(trainer: pl.Trainer) -> str:
    if isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator):
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"


def _overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
