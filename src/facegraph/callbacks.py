"""What watches a training: broken losses, exact continuation, checkpoints."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from facegraph.errors import NonFiniteLossError
from facegraph.structures import FaceBatch
from facegraph.task import VAL_NME

LAST, BEST = "last", "best"


class StopOnNonFiniteLoss(Callback):
    """Ends the run before a NaN or infinite loss reaches the weights, and names the faces of the batch."""

    def __init__(self) -> None:
        self._index: Tensor | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: FaceBatch, batch_idx: int
    ) -> None:
        self._index = batch.index

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if bool(torch.isfinite(loss)):
            return
        assert self._index is not None
        ids = trainer.datamodule.train_table.ids  # type: ignore[attr-defined]
        names = ", ".join(ids[i] for i in self._index.tolist())
        raise NonFiniteLossError(
            f"the training loss is {float(loss)} in epoch {trainer.current_epoch}, step {trainer.global_step}. "
            f"Samples of the batch: {names}. Look at these samples, lower optimizer.lr, or set "
            "trainer.gradient_clip_val=1; the last checkpoint is from before this step."
        )


class RandomStateInCheckpoint(Callback):
    """Saves torch's CPU generator, so that a model that draws numbers (dropout) continues exactly."""

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"].cpu())


def last_checkpoint(every_n_epochs: int = 1) -> ModelCheckpoint:
    """last.ckpt after every n-th epoch: what a killed run continues from and what `last` is scored with."""
    return ModelCheckpoint(
        filename=LAST,
        monitor=None,
        save_top_k=1,
        every_n_epochs=every_n_epochs,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def best_checkpoint() -> ModelCheckpoint:
    """best.ckpt: lowest error on the validation faces, which are cut from the training split."""
    return ModelCheckpoint(
        filename=BEST,
        monitor=VAL_NME,
        mode="min",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
