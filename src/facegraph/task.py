"""The one LightningModule: any model, any criterion, errors measured in the pixels of the original image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from facegraph.geometry.points import map_points
from facegraph.metrics.functional import nme
from facegraph.metrics.modules import NME, PredictionRows, PredictionTable
from facegraph.schedules import LearningRateRule, Schedule, UnchangedRate
from facegraph.structures import FaceBatch, LandmarkOutput

TRAIN_LOSS = "train/loss"
VAL_NME = "val/nme"
CHECKPOINT_KEY = "facegraph"
SCORE_KEY = "val_nme"


class LandmarkTask(pl.LightningModule):
    """Trains a model and scores it.

    Args:
        model: image (B, 3, S, S) -> LandmarkOutput. criterion: (output, batch) -> {"loss": ..., terms}; None where
        nothing is trained. optimizer: parameters -> optimiser. schedule: see facegraph.schedules.
        lr_rule: global batch -> factor of the optimiser's learning rate, see there; None leaves it.
        num_landmarks, num_normalisers, num_attributes: sizes of what the test split is scored with.
        description: plain values stored in every checkpoint, from which it can be loaded again.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module | None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None,
        schedule: Schedule | None,
        lr_rule: LearningRateRule | None,
        num_landmarks: int,
        num_normalisers: int,
        num_attributes: int,
        description: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.lr_rule = lr_rule or UnchangedRate()
        self.description = dict(description)
        self.val_nme = NME()
        self.test_table = PredictionTable(num_landmarks, num_normalisers, num_attributes)
        self.predictions: PredictionRows | None = None
        self._validated: tuple[int, float | None] = (-1, None)

    def forward(self, image: Tensor) -> LandmarkOutput:
        return self.model(image)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        assert self.criterion is not None
        terms = self.criterion(self.model(batch.image), batch)
        size = len(batch.index)
        self.log(TRAIN_LOSS, terms["loss"], prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": term for name, term in terms.items() if name != "loss"}, batch_size=size)
        return terms["loss"]

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> None:
        prediction, truth = self._in_image(batch)
        self.val_nme.update(batch.index, nme(prediction, truth, batch.norm_distances[:, 0]))

    def on_validation_epoch_end(self) -> None:
        # computed over the gathered faces of all processes, so every rank holds the same number
        value = self.val_nme.compute()
        self.val_nme.reset()
        self.log(VAL_NME, value, prog_bar=True, rank_zero_only=False, sync_dist=False)
        self._validated = (self.trainer.global_step, float(value))

    def test_step(self, batch: FaceBatch, batch_idx: int) -> None:
        prediction, truth = self._in_image(batch)
        self.test_table.update(batch.index, prediction, truth, batch.norm_distances, batch.attributes)

    def on_test_epoch_end(self) -> None:
        self.predictions = self.test_table.compute()
        self.test_table.reset()

    def _in_image(self, batch: FaceBatch) -> tuple[Tensor, Tensor]:
        """Prediction and truth (B, N, 2) in image px, float32."""
        landmarks = self.model(batch.image).landmarks
        return map_points(batch.crop_to_image, landmarks), map_points(batch.crop_to_image, batch.landmarks)

    def configure_optimizers(self) -> Any:
        assert self.optimizer_factory is not None
        assert self.schedule is not None
        optimizer = self.optimizer_factory(p for p in self.model.parameters() if p.requires_grad)
        self._apply_rule(optimizer)
        total = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs
        steps_per_epoch = math.ceil(total / epochs) if epochs and epochs > 0 else total
        scheduler = self.schedule(optimizer, steps_per_epoch, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _apply_rule(self, optimizer: Optimizer) -> None:
        """Scale the learning rates for the global batch; says once what it did."""
        if isinstance(self.lr_rule, UnchangedRate):
            return
        per_process = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        world, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        global_batch = per_process * world * accumulated
        factor = self.lr_rule(global_batch)
        before = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] *= factor
        rank_zero_info(
            f"learning rate {before[0]:g} -> {optimizer.param_groups[0]['lr']:g}: {self.lr_rule} for a global batch of "
            f"{global_batch} = {per_process} per process * {world} processes * {accumulated} accumulated"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        step, score = self._validated
        known = step == self.trainer.global_step  # validation may have skipped this epoch
        checkpoint[CHECKPOINT_KEY] = {**self.description, SCORE_KEY: score if known else None}
