"""The one LightningModule, and the part of it that only scores: any model, any criterion, errors measured in the pixels
of the original image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from facegraph.errors import ConfigError, NonFiniteError
from facegraph.geometry.points import map_points
from facegraph.metrics.functional import nme
from facegraph.metrics.modules import NME, PredictionRows, PredictionTable
from facegraph.metrics.names import SAID
from facegraph.structures import FaceBatch, LandmarkModel, LandmarkOutput
from facegraph.training.checkpoint_files import not_finite
from facegraph.training.mirror import predict_with_mirror
from facegraph.training.schedules import LearningRateRule, Schedule, UnchangedRate

TRAIN_LOSS = "train/loss"
VAL_NME = "val/nme"
CHECKPOINT_KEY = "facegraph"
THREADS_KEY = "threads"
SCORE_KEY = "val_nme"


class Adversary(Protocol):
    """Makes training harder; a further term of its loss."""

    def loss(self, model: nn.Module, criterion: nn.Module, batch: FaceBatch) -> Tensor:
        """The term, a scalar with its weight in it."""
        ...


class ScoringTask(pl.LightningModule):
    """Scores a model on the test split.

    Args:
        model: image (B, 3, S, S) -> LandmarkOutput.
        num_landmarks: N of the test split.
        num_normalisers: D, how many distances its errors are divided by.
        num_attributes: K of its faces.
        test_time_flip: the test, never validation, scores the mean over a face and its mirror image.
        flip: mirror list of the landmark scheme; landmark i of a face is landmark flip[i] of its mirror image.

    Raises:
        ConfigError: test_time_flip without a mirror list of num_landmarks entries.
    """

    flip: Tensor

    def __init__(
        self,
        model: LandmarkModel,
        num_landmarks: int,
        num_normalisers: int,
        num_attributes: int,
        test_time_flip: bool = False,
        flip: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.test_time_flip = test_time_flip
        if test_time_flip and (flip is None or len(flip) != num_landmarks):
            raise ConfigError(
                f"test_time_flip needs the mirror list of {num_landmarks} landmarks and got {flip}; set "
                "test_time_flip=false or give the scheme's list."
            )
        self.register_buffer("flip", torch.tensor(flip or (), dtype=torch.int64), persistent=False)
        self.test_table = PredictionTable(num_landmarks, num_normalisers, num_attributes)
        self.predictions: PredictionRows | None = None

    def forward(self, image: Tensor) -> LandmarkOutput:
        return self.model(image)

    def predict(self, image: Tensor) -> LandmarkOutput:
        """What the test scores of images (B, 3, S, S): the model's output, or its mean over the mirror images."""
        if not self.test_time_flip:
            return self.model(image)
        return predict_with_mirror(self.model, image, self.flip)

    def test_step(self, batch: FaceBatch, batch_idx: int) -> None:
        output = self.predict(batch.image)
        prediction, truth = in_image(output.landmarks, batch)
        said = {name: getattr(output, name) for name in SAID}
        self.test_table.update(batch.index, prediction, truth, batch.norm_distances, batch.attributes, said)

    def on_test_epoch_end(self) -> None:
        self.predictions = self.test_table.compute()
        self.test_table.reset()


class LandmarkTask(ScoringTask):
    """Trains a model and scores it.

    Args:
        model: image (B, 3, S, S) -> LandmarkOutput.
        criterion: (output, batch) -> {"loss": ..., terms}.
        optimizer: parameters -> optimiser.
        schedule: see facegraph.training.schedules.
        lr_rule: global batch -> factor of the optimiser's learning rate, see there; None leaves it.
        num_landmarks: see ScoringTask.
        num_normalisers: see ScoringTask.
        num_attributes: see ScoringTask.
        description: plain values stored in every checkpoint, from which it can be loaded again.
        test_time_flip: see ScoringTask.
        flip: see ScoringTask.
        adversary: adds its term to the training loss.

    Raises:
        ConfigError: as ScoringTask.
    """

    def __init__(
        self,
        model: LandmarkModel,
        criterion: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Schedule,
        lr_rule: LearningRateRule | None,
        num_landmarks: int,
        num_normalisers: int,
        num_attributes: int,
        description: Mapping[str, Any],
        test_time_flip: bool = False,
        flip: Sequence[int] | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__(model, num_landmarks, num_normalisers, num_attributes, test_time_flip, flip)
        self.criterion = criterion
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.lr_rule = lr_rule or UnchangedRate()
        self.description = dict(description)
        self.adversary = adversary
        self.val_nme = NME()
        self._validated: tuple[int, float | None] = (-1, None)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        terms = self.criterion(self.model(batch.image), batch)
        size = len(batch.index)
        if self.adversary is not None:
            term = self.adversary.loss(self.model, self.criterion, batch)
            terms = {**terms, "loss": terms["loss"] + term, "adversarial": term}
        self.log(TRAIN_LOSS, terms["loss"], prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": term for name, term in terms.items() if name != "loss"}, batch_size=size)
        return terms["loss"]

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> None:
        prediction, truth = in_image(self.model(batch.image).landmarks, batch)
        self.val_nme.update(batch.index, nme(prediction, truth, batch.norm_distances[:, 0]))

    def on_validation_epoch_end(self) -> None:
        # computed over the gathered faces of all processes, so every rank holds the same number
        value = self.val_nme.compute()
        self.val_nme.reset()
        if not bool(torch.isfinite(value)):
            raise NonFiniteError(
                f"the validation error is {float(value)} in epoch {self.trainer.current_epoch}: the network gives no "
                "usable landmarks for some face. Lower optimizer.lr, or set trainer.gradient_clip_val=1; the last "
                "checkpoint is from before this epoch."
            )
        self.log(VAL_NME, value, prog_bar=True, rank_zero_only=False, sync_dist=False)
        self._validated = (self.trainer.global_step, float(value))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(p for p in self.model.parameters() if p.requires_grad)
        own = [p for p in self.criterion.parameters() if p.requires_grad]
        if own:  # decay would pull what a criterion learns towards a value that means nothing
            optimizer.add_param_group({"params": own, "weight_decay": 0.0})
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
        broken = not_finite(checkpoint["state_dict"])
        if broken:
            raise NonFiniteError(
                f"{len(broken)} tensor(s) of the network are NaN or infinite in epoch {self.trainer.current_epoch}, "
                f"step {self.trainer.global_step}, the first '{broken[0]}'. They are not saved: the checkpoint before "
                "stays. Lower optimizer.lr, or set trainer.gradient_clip_val=1, and start again."
            )
        step, score = self._validated
        known = step == self.trainer.global_step  # validation may have skipped this epoch
        checkpoint[CHECKPOINT_KEY] = {
            **self.description,
            SCORE_KEY: score if known else None,
            THREADS_KEY: torch.get_num_threads(),
        }


def in_image(landmarks: Tensor, batch: FaceBatch) -> tuple[Tensor, Tensor]:
    """Prediction (landmarks in crop px) and truth (B, N, 2) in image px, float32; NaN where truth is not labelled."""
    truth = map_points(batch.crop_to_image, batch.landmarks).masked_fill(~batch.labelled[..., None], torch.nan)
    return map_points(batch.crop_to_image, landmarks), truth
