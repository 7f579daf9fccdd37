"""What Lightning is given besides task and data: watching for broken losses, exact continuation, checkpoints, averages
of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor

from facegraph.errors import ConfigError, NonFiniteLossError
from facegraph.structures import FaceBatch
from facegraph.training.task import VAL_NME

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


class WeightAverage(WeightAveraging):
    """Exponential moving average of weights and float buffers after every optimiser step.

    Validation, test and checkpoints use the average. Lightning's own EMAWeightAveraging also averages whole-number
    buffers, which rounding then lowers: with a decay of 0.95 a graph's edge indices are off after some steps.

    Args:
        decay: share of the old average that stays at each step.
        warmup: at step t at most (1 + t) / (10 + t), as TensorFlow has it, so that an average with a long memory
            forgets the first weights.

    Raises:
        ConfigError: decay outside [0, 1).
    """

    def __init__(self, decay: float = 0.998, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"callbacks.ema.decay={decay} is out of range; it must lie in [0, 1), for example 0.998.")

        # called once per step for the tensors of each dtype, so that the step number is fetched from the device once
        @torch.no_grad()
        def move(old: list[Tensor], new: list[Tensor], count: Tensor | int) -> None:
            if not old[0].is_floating_point():
                torch._foreach_copy_(old, new)
                return
            share = min(decay, float((1 + count) / (10 + count))) if warmup else decay
            # old + (1 - share) * (new - old), not share * old + (1 - share) * new: rounding of the two products would
            # in time move a buffer that never changes
            torch._foreach_lerp_(old, new, 1 - share)

        super().__init__(multi_avg_fn=move)


class RunCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint of one file that continues wherever its run's folder lies by then.

    Lightning forgets the best score so far when the path differs, be it only by the way it is written, and would put
    a worse checkpoint in its place. It also deletes what the state calls its files, which in a checkpoint from somebody
    else can be any: of the paths in it nothing is taken but that there was one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = str(Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}")
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        here = {key: own if state_dict.get(key) else "" for key in paths}
        best = [(own, score) for score in state_dict["best_k_models"].values()]
        super().load_state_dict({**state_dict, **here, "best_k_models": dict(best), "dirpath": self.dirpath})


class LastCheckpoint(RunCheckpoint):
    """Also saves where training ends, wherever that is: `every_n_epochs`, max_steps and max_time may leave it out."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        steps_done = 0 <= trainer.max_steps <= trainer.global_step
        final = trainer.current_epoch + 1 == trainer.max_epochs or steps_done or trainer.should_stop
        if final and self._last_global_step_saved != trainer.global_step:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


def last_checkpoint(every_n_epochs: int = 1) -> LastCheckpoint:
    """last.ckpt after every n-th and after the final epoch: what a killed run continues from, what `last` is."""
    return LastCheckpoint(
        filename=LAST,
        monitor=None,
        save_top_k=1,
        every_n_epochs=every_n_epochs,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def best_checkpoint() -> RunCheckpoint:
    """best.ckpt: lowest error on the validation faces, which are cut from the training split."""
    return RunCheckpoint(
        filename=BEST,
        monitor=VAL_NME,
        mode="min",
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
