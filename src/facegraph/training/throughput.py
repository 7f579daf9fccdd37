"""How fast training goes."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from facegraph.structures import FaceBatch

THROUGHPUT = "train/faces_per_second"


class Throughput(Callback):
    """Logs train/faces_per_second after every training epoch: faces of all processes over wall time without validation.

    The clock is the host's, read after each step and never waiting for the device. The host is ahead of the device by
    the last step's backward pass at most, because StopOnNonFiniteLoss looks at each step's loss. The start of loader
    processes counts, so the first epoch is slower.
    """

    def __init__(self) -> None:
        self._faces = 0
        self._seconds = 0.0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._faces, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: FaceBatch, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._faces += len(batch.index)
        self._seconds, self._since = self._seconds + now - self._since, now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()  # a validation between two steps of an epoch is no training

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._faces and self._seconds > 0:
            pl_module.log(THROUGHPUT, self._faces * trainer.world_size / self._seconds)
