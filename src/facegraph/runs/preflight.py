"""What is known before a training starts: checks of model, optimiser, batches and processes together."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from torch import nn

from facegraph.data.datamodule import FaceDataModule
from facegraph.errors import ConfigError, FacegraphError
from facegraph.machine.slots import cores
from facegraph.training.callbacks import LAST
from facegraph.training.phases import StageByStage
from facegraph.training.task import LandmarkTask

PROCESSES_PER_CORE = 4
_STEPS = 10
_ONE_VALUE = "Expected more than 1 value per channel"


def check_callbacks(callbacks: Mapping[str, pl.Callback], task: LandmarkTask) -> None:
    """Raises ConfigError: phases of parts that the model lacks, or nothing that keeps the last checkpoint."""
    if LAST not in callbacks:
        raise ConfigError(
            f"callbacks.{LAST} is left out, but what it saves is what is tested and resumed from. Keep it."
        )
    for callback in callbacks.values():
        if isinstance(callback, StageByStage):
            callback.check(task.model)


def check_optimiser(task: LandmarkTask, on_cpu: bool) -> None:
    """Make an optimiser of one number and its schedule, and take a step.

    Args:
        task: with its optimiser and schedule.
        on_cpu: whether it will be trained there, where capturable=true fails.

    Raises:
        ConfigError: a setting that the optimiser or the schedule refuses.
    """
    assert task.optimizer_factory is not None
    assert task.schedule is not None
    number = nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    try:
        optimizer = task.optimizer_factory([number])
        if on_cpu or not optimizer.defaults.get("capturable"):
            optimizer.step()
    except Exception as error:  # of whatever kind torch has for it
        keywords = getattr(task.optimizer_factory, "keywords", {})
        given = ", ".join(f"{name}={value}" for name, value in keywords.items())
        raise ConfigError(f"optimizer cannot be built: {error}. Correct one of {given}.") from error
    try:
        task.schedule(optimizer, _STEPS, _STEPS)
    except FacegraphError:
        raise
    except Exception as error:
        raise ConfigError(f"scheduler cannot be used: {task.schedule}: {error}. Correct the setting.") from error


def check_training(trainer: pl.Trainer, task: LandmarkTask, data: FaceDataModule, cfg: Mapping[str, Any]) -> None:
    """All that a training and its test need and that can be known before the first step.

    Args:
        trainer: trains and tests.
        task: what is trained.
        data: set up for fit and test.
        cfg: of the run.

    Raises:
        FacegraphError: the first thing that cannot work.
    """
    check_optimiser(task, isinstance(trainer.accelerator, CPUAccelerator))
    check_processes(trainer)
    check_batches(data, task.model, trainer.world_size, bool(cfg["trainer"].get("sync_batchnorm")))
    check_step(data, task)
    check_test(data, trainer, partial=bool(cfg.get("partial_test", False)))


def check_processes(trainer: pl.Trainer) -> None:
    """Raises ConfigError: so many processes on this machine's cores that none would get anywhere."""
    here = cores()
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > PROCESSES_PER_CORE * here:
        raise ConfigError(
            f"trainer.devices={trainer.num_devices} starts as many processes on {here} core(s). Set "
            f"trainer.devices={here} or less."
        )


def check_batches(data: FaceDataModule, model: nn.Module, world: int, together: bool) -> None:
    """Whether the batches of an epoch can be trained on.

    A batch of one face is tried on a copy of the model: batch norm needs two values per channel, which deep layers have
    of one face or not, by the size of the input.

    Args:
        data: set up for fit.
        model: to be trained.
        world: number of processes.
        together: whether batch norm takes the batches of all processes.

    Raises:
        ConfigError: no whole batch, or a batch of one that the model's batch norm cannot train on.
    """
    data.check_batch(world)
    sizes = data.train_batch_sizes(world)
    if 1 not in sizes or (together and world > 1) or _trains_on_one(model, data.input_size):
        return
    faces, batch = sum(sizes), data.batch_size
    if len(sizes) > 1 and sizes[0] > 1:
        advice = f"Set data.drop_last=true, which leaves it out, or data.batch_size={_without_rest(faces, batch)}."
    elif faces > 1:
        advice = "Set data.batch_size=2 or more."
    else:
        advice = "Add training faces, or leave fewer for validation with data.val_fraction."
    raise ConfigError(
        f"data.batch_size={batch} with data.drop_last={str(data.drop_last).lower()} makes a batch of one face "
        f"(an epoch has {faces} training faces per process), and the model's batch norm needs at least two values per "
        f"channel, which one face of {data.input_size} px does not give. {advice}"
    )


def check_step(data: FaceDataModule, task: LandmarkTask) -> None:
    """Try the loss of two training faces on copies of model and criterion.

    Raises:
        FacegraphError: an output of the model that the loss cannot use.
    """
    model, criterion = copy.deepcopy(task.model).train(), copy.deepcopy(task.criterion).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        batch = data.first_train_faces(2)
        criterion(model(batch.image), batch)


def check_test(data: FaceDataModule, trainer: pl.Trainer, partial: bool = False) -> None:
    """Whether the test, hours from now, can be made of all faces.

    Args:
        data: set up for test.
        trainer: what tests.
        partial: whether a part of the faces is wanted.

    Raises:
        ConfigError: a test of a part of the faces.
        DataError: images that cannot be read, of any split that is set up.
    """
    data.check_images()
    per_process = math.ceil(len(data.test_table) / trainer.world_size)
    batches = math.ceil(per_process / data.eval_batch_size)
    limit = trainer.limit_test_batches
    tested = int(limit * batches) if isinstance(limit, float) else min(limit, batches)
    if tested < batches and not partial:
        raise ConfigError(
            f"trainer.limit_test_batches={limit} tests {tested} of {batches} batches; the error of a part of "
            f"{data.dataset.test_name} is no result. Leave it out; debug=fast, or partial_test=true, allows it for a "
            "trial."
        )


def _trains_on_one(model: nn.Module, side: int) -> bool:
    trial = copy.deepcopy(model).train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            trial(torch.zeros(1, 3, side, side))
    except ValueError as error:
        if _ONE_VALUE in str(error):
            return False
        raise
    return True


def _without_rest(faces: int, batch: int) -> int:
    """The batch size next to one that leaves no batch of one face."""
    return next(
        size for step in range(faces) for size in (batch + step, batch - step) if size > 1 and faces % size != 1
    )
