"""How far a training is, for whoever watches its folder from outside."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from facegraph.sweeps.status import Progress, read_progress, write_progress
from facegraph.task import VAL_NME


class ProgressFile(Callback):
    """Writes progress.json into a run folder when training starts or goes on, and after every epoch.

    folder: of the run; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not on_fit_start, where a run that goes on has not counted its earlier epochs yet."""
        self._write(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, trainer.current_epoch + 1)

    def _write(self, trainer: pl.Trainer, epoch: int) -> None:
        if trainer.is_global_zero:
            known = trainer.callback_metrics.get(VAL_NME)
            score = None if known is None else float(known)
            if score is None and epoch > 0:  # of an epoch before this process
                earlier = read_progress(self.folder)
                score = None if earlier is None else earlier.val_nme
            write_progress(self.folder, Progress(epoch, trainer.max_epochs or 0, score))
