"""Training a cascade stage by stage: for given shares of the epochs only some parts of the model learn."""

from __future__ import annotations

import math
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
    """A phase of a training that goes stage by stage.

    Args:
        share: of all epochs.
        modules: children of the model that learn in it; None: the whole model.
        detach: whether the model cuts the gradient between its stages in it; None: as the model is configured.
    """

    share: float
    modules: tuple[str, ...] | None = None
    detach: bool | None = None

    def __str__(self) -> str:
        return "the whole model" if self.modules is None else ", ".join(self.modules)


class StageByStage(Callback):
    """Trains only the named children of the model, phase after phase.

    A child that no phase names learns throughout: an error head, for example. Those that wait take part in the forward
    and backward pass, so that processes which exchange gradients see the same ones in every phase; right before the
    optimiser's step (and before clipping) theirs are dropped. An optimiser leaves parameters without a gradient alone,
    weight decay included. Until they learn, the others are in evaluation mode, so that their batch-norm statistics stay
    too. What the criterion learns is trained throughout.

    A part that learns in a phase hears of all terms of the loss that reach it. With detach: true these are its own;
    with detach: false the errors of later parts flow into it through what it hands on.

    The phase follows from the epoch alone: a resumed run goes on in the phase it was in. The schedule of the learning
    rate covers all epochs together, not each phase.

    Args:
        phases: rows of {share, modules, detach}, see Phase; shares add up to 1. Boundaries are rounded to whole epochs,
            a half up; the last epoch belongs to the last phase. A run of few epochs may leave out others, and says
            which.

    Raises:
        ConfigError: shares that are not positive or do not add up to 1, a row with other keys or values; from `check`
        or when training starts, a module or a switch that the model does not have; when training starts, a trainer
        without a number of epochs.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]]) -> None:
        self.phases = tuple(_phase(row) for row in phases)
        total = sum(phase.share for phase in self.phases)
        if not self.phases or min(phase.share for phase in self.phases) <= 0 or abs(total - 1) > _TOLERANCE:
            raise ConfigError(
                f"callbacks.stages.phases has the shares {[phase.share for phase in self.phases]}; each must be "
                "positive and together they must make 1, the whole training."
            )
        self._named = {name for phase in self.phases for name in phase.modules or ()}
        self._announced: int | None = None
        self._own_detach: bool | None = None

    def number(self, epoch: int, max_epochs: int) -> int:
        """Which phase, from 0, an epoch of max_epochs belongs to."""
        until = 0.0
        for number, phase in enumerate(self.phases[:-1]):
            until += phase.share
            if epoch < min(math.floor(until * max_epochs + 0.5 + _TOLERANCE), max_epochs - 1):
                return number
        return len(self.phases) - 1

    def check(self, model: nn.Module) -> None:
        """Raises ConfigError if the model does not have what the phases name."""
        known = [name for name, _ in model.named_children()]
        unknown = sorted(self._named - set(known))
        if unknown:
            raise ConfigError(
                f"callbacks.stages.phases names {unknown}, which {type(model).__name__} does not have; it has {known}. "
                "Give phases of these, or model.stages=glsr for a DPR with its local stage."
            )
        if any(phase.detach is not None for phase in self.phases) and not isinstance(
            getattr(model, "detach", None), bool
        ):
            raise ConfigError(
                f"callbacks.stages.phases sets detach, a switch that {type(model).__name__} does not have; model=dpr "
                "has. Leave detach out of the phases."
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise ConfigError(
                f"callbacks=by_stage shares out the epochs, but trainer.max_epochs is {trainer.max_epochs}; give a "
                "number of epochs."
            )
        model = _model(pl_module)
        self.check(model)
        own = getattr(model, "detach", None)
        self._own_detach = own if isinstance(own, bool) else None
        reached = {self.number(epoch, trainer.max_epochs) for epoch in range(trainer.max_epochs)}
        skipped = [f"{i + 1} ({phase})" for i, phase in enumerate(self.phases) if i not in reached]
        if skipped:
            rank_zero_info(
                f"{trainer.max_epochs} epochs leave out {len(skipped)} of {len(self.phases)} phases, whose shares make "
                f"too little of an epoch: {', '.join(skipped)}."
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._own_detach is not None:
            _set_detach(_model(pl_module), self._own_detach)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        number = self._current(trainer)
        if number != self._announced:
            what = f"phase {number + 1} of {len(self.phases)}: training {self._described(number, _model(pl_module))}"
            rank_zero_info(f"epoch {trainer.current_epoch}, {what}")
            self._announced = number
        pl_module.log(PHASE, float(number + 1), prog_bar=True, rank_zero_only=False, sync_dist=False)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        # at each batch: validation within an epoch puts modes back, and so does whatever else calls train()
        phase, model = self.phases[self._current(trainer)], _model(pl_module)
        for name, module in model.named_children():
            module.train(self._learns(name, phase))
        detach = self._own_detach if phase.detach is None else phase.detach
        if detach is not None:
            _set_detach(model, detach)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        phase = self.phases[self._current(trainer)]
        for name, parameter in _model(pl_module).named_parameters():
            if not self._learns(name.split(".", 1)[0], phase):
                parameter.grad = None

    def _learns(self, child: str, phase: Phase) -> bool:
        return phase.modules is None or child in phase.modules or child not in self._named

    def _described(self, number: int, model: nn.Module) -> str:
        phase = self.phases[number]
        nowhere = [
            name
            for name, module in model.named_children()
            if phase.modules is not None and name not in self._named and next(module.parameters(), None) is not None
        ]
        return f"{phase}; in every phase {', '.join(nowhere)}" if nowhere else str(phase)

    def _current(self, trainer: pl.Trainer) -> int:
        assert trainer.max_epochs is not None
        return self.number(trainer.current_epoch, trainer.max_epochs)


def _set_detach(model: Any, detach: bool) -> None:
    model.detach = detach


def _model(pl_module: pl.LightningModule) -> nn.Module:
    return pl_module.get_submodule("model")


def _phase(row: Mapping[str, Any]) -> Phase:
    form = (
        "a row is {share: <of the epochs>, modules: [<part of the model>, ...], detach: true | false}, without modules "
        "for the whole model and without detach for model.detach."
    )
    if not set(row) <= {"share", "modules", "detach"} or "share" not in row:
        raise ConfigError(f"callbacks.stages.phases has the row {dict(row)}; {form}")
    share, modules, detach = row["share"], row.get("modules"), row.get("detach")
    if not isinstance(share, int | float) or isinstance(share, bool):
        raise ConfigError(f"callbacks.stages.phases has the row {dict(row)}, whose share is no number; {form}")
    names = isinstance(modules, Sequence) and not isinstance(modules, str) and all(isinstance(n, str) for n in modules)
    if modules is not None and not (names and len(modules)):
        raise ConfigError(
            f"callbacks.stages.phases has the row {dict(row)}, whose modules are no list of names; {form}"
        )
    if detach is not None and not isinstance(detach, bool):
        raise ConfigError(f"callbacks.stages.phases has the row {dict(row)}, whose detach is neither; {form}")
    return Phase(float(share), None if modules is None else tuple(modules), detach)
