"""How far a training is, for whoever watches its folder from outside."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from facegraph.sweeps.status import Progress, write_progress
from facegraph.task import VAL_NME


class ProgressFile(Callback):
    """Writes progress.json into a run folder after every epoch.

    folder: of the run; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, trainer.current_epoch + 1)

    def _write(self, trainer: pl.Trainer, epoch: int) -> None:
        if trainer.is_global_zero:
            score = trainer.callback_metrics.get(VAL_NME)
            epochs = trainer.max_epochs or 0
            write_progress(self.folder, Progress(epoch, epochs, None if score is None else float(score)))
