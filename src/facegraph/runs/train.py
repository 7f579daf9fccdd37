"""The flow of train.py: train, test what was trained, write the results."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.plugins.environments import SLURMEnvironment

from facegraph.errors import ConfigError, RunError
from facegraph.landmarks import SCHEMES
from facegraph.records import RESULT_FILE, RunResult
from facegraph.records.faces import check_faces, write_faces
from facegraph.runs import folder as folders
from facegraph.runs import preflight
from facegraph.runs.compose import build_data, build_task, make, training_statistics
from facegraph.runs.configuration import CONFIG_FILE, read_config
from facegraph.runs.record import Started, Trained, faces_of, given_overrides, quieten, score_and_record, settle_threads
from facegraph.runs.settings import setting_at
from facegraph.runs.trust import targets_of
from facegraph.sweeps.identity import is_volatile, lasting
from facegraph.tracking.records import describe_run
from facegraph.training.batch_norm import SyncBatchNorm
from facegraph.training.callbacks import BEST, LAST
from facegraph.training.checkpoint_files import WholeCheckpoints
from facegraph.training.progress import ProgressFile
from facegraph.training.task import CHECKPOINT_KEY, SCORE_KEY, LandmarkTask


def train(cfg: DictConfig) -> RunResult:
    """Train, test the last and the best checkpoint, write and print the results.

    The run's folder is locked from its first file to the last one; the caller has locked that of a job of a sweep.

    Raises:
        FacegraphError: settings, data or folders that cannot work; before training starts where it can be known then.
    """
    started = Started.now(given_overrides())
    quieten()
    cfg, folder = _resumed(cfg) if cfg.resume else _fresh(cfg)
    with ExitStack() as locks:
        lock = folders.alone_in(folder) if cfg.sweep.identity is None else nullcontext()
        if cfg.resume:
            locks.enter_context(lock)
            if (folder / RESULT_FILE).exists():
                print(f"{folder} is finished already; nothing to do.")
                return RunResult.read(folder)

        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        torch.set_float32_matmul_precision("high")
        data = build_data(cfg)
        data.setup("fit")
        data.setup("test")
        faces = faces_of(data)
        if cfg.resume and not check_faces(folder, faces) and folders.is_first_process():
            print(f"warning: {folder} does not say which faces it was started with; it goes on with those of now.")
            write_faces(folder, faces)

        going_on = _continue_from(folder, cfg)
        source = folder if going_on is not None else cfg.get("init_from")
        weights = folders.InitialWeights.read(Path(source)) if source else None
        settle_threads(cfg.trainer, data, None if weights is None or going_on is None else weights.threads)
        # those that weights at hand were trained with, so that mean shape and graph fit them
        statistics = None if weights is None else weights.statistics(data.dataset.scheme)
        statistics = statistics or training_statistics(data, cfg.graph.frame)
        task = build_task(cfg, data, statistics)
        if weights is not None and going_on is None:
            weights.put_into(task.model)
        trainer = _trainer(cfg, folder, task)
        preflight.check_training(trainer, task, data, cfg)
        if not cfg.resume:
            locks.enter_context(lock)
            folders.claim(folder, cfg, faces)

        describe_run(trainer.loggers, OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
        trainer.fit(task, datamodule=data, ckpt_path=going_on, weights_only=True)

        saved = [n for n in (LAST, BEST) if (folder / folders.CHECKPOINT_FOLDER / f"{n}.ckpt").is_file()]
        if LAST not in saved:
            raise RunError(
                f"the training in {folder} ended before it had a checkpoint to test; give trainer.max_time more."
            )
        checkpoints = {name: partial(_restore, task, folder, name) for name in saved}
        trained = Trained(task.description, trainer.current_epoch, trainer.global_step, _seconds(trainer))
        return score_and_record(cfg, folder, trainer, task, data, statistics, checkpoints, trained, started)


def _fresh(cfg: DictConfig) -> tuple[DictConfig, Path]:
    folder = folders.output_folder(cfg.output_dir, cfg.name)
    folders.check_free(folder)
    with open_dict(cfg):
        cfg.output_dir = str(folder)
        make_absolute(cfg)
    return cfg, folder


def make_absolute(cfg: DictConfig) -> None:
    """Paths as they hold from every folder, because the run may be opened from another one.

    A scheme's name is none, whatever the working folder holds under it.
    """
    nodes = ((cfg.dataset, "root"), (cfg.dataset.get("scheme"), "name_or_path"), (cfg, "init_from"))
    for node, key in nodes:
        if node is None or OmegaConf.is_missing(node, key) or node.get(key) is None:
            continue
        known = key == "name_or_path" and node[key] in SCHEMES
        if not known and Path(str(node[key])).exists():
            with open_dict(node):
                node[key] = str(Path(node[key]).absolute())


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as a job's identity is taken of: resolved, with paths that hold from everywhere."""
    make_absolute(cfg)
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _resumed(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """Configuration and folder of the run to continue; refuses settings that differ from it."""
    folder = Path(cfg.resume)
    if cfg.output_dir and Path(cfg.output_dir).absolute() != folder.absolute():
        raise ConfigError(f"resume={folder} continues in that folder; leave output_dir={cfg.output_dir} out.")
    saved = read_config(folder, targets_of(OmegaConf.to_container(cfg, resolve=False)))
    make_absolute(cfg)
    changes = _changes(cfg, saved)
    if changes:
        raise ConfigError(
            f"resume={folder} continues that run as it was configured, but {'; '.join(changes)}. Leave that out, or "
            f"start a new run from its weights with init_from={folder} and another output_dir."
        )
    with open_dict(saved):
        if cfg.sweep.identity is not None:
            # a sweep may ask for other conditions, or to be watched otherwise, than it did before
            saved.sweep, saved.logger = cfg.sweep, cfg.logger
        saved.resume = str(folder)
        saved.output_dir = str(folder)
        for name, logger in saved.logger.items():
            _check_stays(folder, f"logger.{name}", logger)
            logger.save_dir = str(folder)
            if name == "csv":  # Lightning's csv logger deletes what an earlier process logged
                logger.version = f"{logger.version}_from_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folders.make_writable(folder)
    return saved, folder


def _check_stays(folder: Path, key: str, logger: DictConfig) -> None:
    """Raises ConfigError: a logger of a saved configuration that would write outside of the run's folder."""
    for name in ("name", "version", "sub_dir"):
        part = str(logger.get(name) or "")
        if Path(part).is_absolute() or ".." in Path(part).parts:
            raise ConfigError(f"{key}.{name}={part} in {folder / CONFIG_FILE} leads out of it. Correct it.")


def _changes(cfg: DictConfig, saved: DictConfig) -> list[str]:
    """What the overrides of this command would change in a run, in words; only what they themselves name."""
    given, job = [o for o in given_overrides() if not is_volatile(o)], cfg.sweep.identity is not None
    if not given and not job:
        return []
    asked, known = (lasting(OmegaConf.to_container(c, resolve=True)) for c in (cfg, saved))  # type: ignore[arg-type]
    found: list[str] = []
    recipes: list[str] = []
    keys = {override: override.lstrip("+~").split("=", 1)[0] for override in given}
    for override in sorted(given, key=lambda o: -keys[o].count(".")):
        key = keys[override]
        (was, there), (is_now, named) = setting_at(known, key), setting_at(asked, key)
        if not named and not there:
            recipes.append(override)  # experiment=, scale= and the like set what lies in other groups
        elif was != is_now and not any(f" would change {key}." in more for more in found):
            known_as = f", which is {was}" if there and not isinstance(was, dict) else ""
            found.append(f"{override} would change {key}{known_as}")
    differing = sorted(key for key in known if asked.get(key) != known[key])
    if (recipes or job) and differing and not found:
        found.append(f"{' '.join(recipes) or 'the job as it is composed now'} would change {', '.join(differing)}")
    return found


def _continue_from(folder: Path, cfg: DictConfig) -> str | None:
    path = folder / folders.CHECKPOINT_FOLDER / f"{LAST}.ckpt"
    if not (cfg.resume and path.is_file()):
        return None
    if cfg.sweep.identity is not None and folders.set_damaged_aside(folder):  # nobody is there to decide
        return None
    return str(path)


def _trainer(cfg: DictConfig, folder: Path, task: LandmarkTask) -> pl.Trainer:
    named: dict[str, pl.Callback] = {name: made for name, made in make(cfg.callbacks).items() if made is not None}
    preflight.check_callbacks(named, task)
    if cfg.sweep.identity is not None:  # who watches a job reads its folder
        named["progress_file"] = ProgressFile(folder)
    if cfg.trainer.get("max_time") is None:  # else Lightning has one that ends the training
        named["timer"] = Timer()
    callbacks = list(named.values())
    # without one of ours Lightning would add its own
    bar = {} if any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks) else {"enable_progress_bar": False}
    for callback in callbacks:
        if isinstance(callback, pl.callbacks.ModelCheckpoint):
            callback.dirpath = str(folder / folders.CHECKPOINT_FOLDER)
    loggers = list(make(cfg.logger).values())
    plugins: list[Any] = [WholeCheckpoints(), *([SyncBatchNorm()] if cfg.trainer.get("sync_batchnorm") else [])]
    if SLURMEnvironment.detect():  # whoever submitted the job requeues it, and it goes on from last.ckpt
        plugins.append(SLURMEnvironment(auto_requeue=False))
    parts = {"callbacks": callbacks, "logger": loggers, "plugins": plugins, "default_root_dir": str(folder)}
    return make(cfg.trainer, **parts, **bar)


def _seconds(trainer: pl.Trainer) -> float:
    """Spent in training, before a resume too."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next(callback.time_elapsed() for callback in callbacks if isinstance(callback, Timer))


def _restore(task: LandmarkTask, folder: Path, which: str) -> float | None:
    """Put a checkpoint's weights into the task; returns its NME on the validation faces, None where there were none."""
    path = folders.checkpoint_path(folder, which)
    checkpoint = folders.load_checkpoint(path)
    folders.restore(task.model, folders.model_state(checkpoint), path)
    return checkpoint[CHECKPOINT_KEY].get(SCORE_KEY)
