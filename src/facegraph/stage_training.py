"""Training a cascade stage by stage: for given shares of the epochs only some parts of the model learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info
from torch import nn
from torch.optim import Optimizer

from facegraph.errors import ConfigError

PHASE = "train/phase"
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Phase:
    """share: of all epochs. modules: children of the model that learn in it; None: the whole model."""

    share: float
    modules: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return "the whole model" if self.modules is None else ", ".join(self.modules)


class StageByStage(Callback):
    """Trains only the named children of the model, phase after phase.

    The others take part in the forward and backward pass, so that processes which exchange gradients see the same ones
    in every phase; right before the optimiser's step (and before clipping) theirs are dropped. An optimiser leaves
    parameters without a gradient alone, weight decay included. Until they learn, the others are in evaluation mode, so
    that their batch-norm statistics stay too. What the criterion learns is trained throughout.

    The phase follows from the epoch alone: a resumed run goes on in the phase it was in. The schedule of the learning
    rate covers all epochs together, not each phase.

    phases: rows of {share, modules}, see Phase; shares add up to 1. Boundaries are rounded to whole epochs, so that a
    run of few epochs may leave phases out, never the last one.

    Raises:
        ConfigError: shares that are not positive or do not add up to 1, a row with other keys; when training starts, a
        module that the model does not have, or a trainer without a number of epochs.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]]) -> None:
        self.phases = tuple(_phase(row) for row in phases)
        total = sum(phase.share for phase in self.phases)
        if not self.phases or min(phase.share for phase in self.phases) <= 0 or abs(total - 1) > _TOLERANCE:
            raise ConfigError(
                f"callbacks.stages.phases has the shares {[phase.share for phase in self.phases]}; each must be "
                "positive and together they must make 1, the whole training."
            )
        self._announced: int | None = None

    def number(self, epoch: int, max_epochs: int) -> int:
        """Which phase, from 0, an epoch of max_epochs belongs to."""
        until = 0.0
        for number, phase in enumerate(self.phases[:-1]):
            until += phase.share
            if epoch < round(until * max_epochs):
                return number
        return len(self.phases) - 1

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise ConfigError(
                f"callbacks=by_stage shares out the epochs, but trainer.max_epochs is {trainer.max_epochs}; give a "
                "number of epochs."
            )
        known = [name for name, _ in _model(pl_module).named_children()]
        unknown = sorted({name for phase in self.phases for name in phase.modules or ()} - set(known))
        if unknown:
            raise ConfigError(
                f"callbacks.stages.phases names {unknown}, which {type(_model(pl_module)).__name__} does not have; it "
                f"has {known}. Give phases of these, or model.stages=glsr for a DPR with its local stage."
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        number = self._current(trainer)
        if number != self._announced:
            what = f"phase {number + 1} of {len(self.phases)}: training {self.phases[number]}"
            rank_zero_info(f"epoch {trainer.current_epoch}, {what}")
            self._announced = number
        pl_module.log(PHASE, float(number + 1), prog_bar=True, rank_zero_only=False, sync_dist=False)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        # at each batch: validation within an epoch puts modes back, and so does whatever else calls train()
        phase = self.phases[self._current(trainer)]
        for name, module in _model(pl_module).named_children():
            module.train(phase.modules is None or name in phase.modules)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        phase = self.phases[self._current(trainer)]
        for name, parameter in _model(pl_module).named_parameters():
            if phase.modules is not None and name.split(".", 1)[0] not in phase.modules:
                parameter.grad = None

    def _current(self, trainer: pl.Trainer) -> int:
        assert trainer.max_epochs is not None
        return self.number(trainer.current_epoch, trainer.max_epochs)


def _model(pl_module: pl.LightningModule) -> nn.Module:
    return pl_module.get_submodule("model")


def _phase(row: Mapping[str, Any]) -> Phase:
    if not set(row) <= {"share", "modules"} or "share" not in row:
        raise ConfigError(
            f"callbacks.stages.phases has a row with {sorted(row)}; a row is {{share: <of the epochs>, modules: [<part "
            "of the model>, ...]}, without modules for the whole model."
        )
    modules = row.get("modules")
    return Phase(float(row["share"]), None if modules is None else tuple(modules))
