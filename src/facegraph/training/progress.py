"""How far a training is: a bar on a terminal, lines elsewhere, a file for whoever watches its folder from outside."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar

from facegraph.sweeps.status import Progress, read_progress, write_progress
from facegraph.training.task import TRAIN_LOSS, VAL_NME
from facegraph.training.throughput import THROUGHPUT


def progress_display(refresh_rate: int = 10) -> Callback:
    """A bar that moves every so many batches where standard output is a terminal, else a line per epoch."""
    return Bar(refresh_rate) if sys.stdout.isatty() else EpochLines()


class Bar(TQDMProgressBar):
    """Lightning's bar without the name of its log."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class EpochLines(Callback):
    """Prints a line after every training epoch: loss of the last batch, NME of validation, speed, time left.

    It must come after Throughput, whose number it prints.
    """

    def __init__(self) -> None:
        self._start, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        done, epochs, known = trainer.current_epoch + 1, trainer.max_epochs or 0, trainer.callback_metrics
        parts = [f"loss {float(known[TRAIN_LOSS]):.4g}"] if TRAIN_LOSS in known else []
        if VAL_NME in known:
            parts.append(f"validation NME {100 * float(known[VAL_NME]):.2f} %")
        if THROUGHPUT in known:
            parts.append(f"{float(known[THROUGHPUT]):.0f} faces/s")
        if epochs > done:
            seconds = (time.monotonic() - self._start) / (done - self._first) * (epochs - done)
            parts.append(f"{timedelta(seconds=round(seconds))} left")
        print(f"epoch {done} of {epochs}: {', '.join(parts)}", flush=True)


class ProgressFile(Callback):
    """Writes progress.json into a run folder when training starts or is resumed, and after every epoch.

    Args:
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
