"""A cascade trained stage by stage: which weights move when, and that a killed run goes on in its phase."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.layers.error_head import ErrorHead
from facegraph.models.dpr.criterion import DPRCriterion
from facegraph.models.dpr.weighting import Equal
from facegraph.runs.compose import compose
from facegraph.training.phases import StageByStage
from tests.helpers.runs import resume, train_tiny
from tests.models.test_dpr_criterion import gradient_of, run_of, small_dpr, statistics_of
from tests.runs.test_resume import assert_same_end, train_until_killed

pytestmark = pytest.mark.usefixtures("no_pictures")

DPR = ("model=dpr", "loss=dpr_inverse", "normalise=signed", "model.global_size=64", "model.part_size=32")
HALVES = (
    "callbacks=by_stage",
    "callbacks.stages.phases=[{share: 0.5, modules: [global_reinit]}, {share: 0.5, modules: [global_regression]}]",
)


def test_every_epoch_has_a_phase() -> None:
    callback = StageByStage([{"share": 0.3, "modules": ["a"]}, {"share": 0.5, "modules": ["b"]}, {"share": 0.2}])
    assert [callback.number(epoch, 10) for epoch in range(10)] == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert [callback.number(epoch, 2) for epoch in range(2)] == [0, 2]  # 0.6 and 1.6 of two epochs
    assert callback.number(0, 1) == 2
    assert [str(phase) for phase in callback.phases] == ["a", "b", "the whole model"]


@pytest.mark.parametrize("shares", [(0.15, 0.35, 0.3, 0.2), (0.5, 0.5), (0.9, 0.1), (0.01, 0.98, 0.01)])
def test_the_last_epoch_is_of_the_last_phase(shares: tuple[float, ...]) -> None:
    callback = StageByStage([{"share": share} for share in shares])
    for epochs in range(1, 40):
        numbers = [callback.number(epoch, epochs) for epoch in range(epochs)]
        assert numbers[-1] == len(shares) - 1
        assert numbers == sorted(numbers)


def test_halves_are_rounded_up() -> None:
    callback = StageByStage([{"share": 0.5}, {"share": 0.5}])
    for epochs, first in ((3, 2), (5, 3), (7, 4), (9, 5)):  # 1.5, 2.5, 3.5 and 4.5 epochs
        assert [callback.number(epoch, epochs) for epoch in range(epochs)].count(0) == first


@pytest.mark.parametrize(
    "phases",
    [[], [{"share": 0.5}], [{"share": 1.5}, {"share": -0.5}], [{"share": 0.0}, {"share": 1.0}]],
)
def test_shares_make_the_whole_training(phases: list[dict[str, float]]) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.stages\.phases has the shares .* together they must make 1"):
        StageByStage(phases)


def test_a_row_with_other_keys_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'module': \['a'\].*modules: \["):
        StageByStage([{"share": 1.0, "module": ["a"]}])


@pytest.mark.parametrize(
    "row",
    [{"modules": "global_reinit"}, {"modules": []}, {"modules": [1]}, {"detach": "yes"}, {"detach": 1}],
    ids=str,
)
def test_a_row_with_other_values_is_shown(row: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"has the row .*share.*modules: \[<part of the model>, \.\.\.\]") as caught:
        StageByStage([{"share": 1.0, **row}])
    assert repr(next(iter(row.values()))) in str(caught.value)


def test_a_model_without_the_switch_is_refused() -> None:
    callback = StageByStage([{"share": 1.0, "detach": True}])
    with pytest.raises(ConfigError, match=r"sets detach, a switch that Linear does not have"):
        callback.check(nn.Linear(1, 1))
    StageByStage([{"share": 1.0}]).check(nn.Linear(1, 1))


BY_STAGE = (
    {"share": 0.15, "modules": ["global_reinit"], "detach": True},
    {"share": 0.35, "modules": ["global_regression"], "detach": True},
    {"share": 0.3, "modules": ["local_reinit", "local_regression"], "detach": True},
    {"share": 0.2, "modules": None, "detach": False},
)


def test_these_are_the_phases_of_by_stage() -> None:
    phases = compose(["callbacks=by_stage"]).callbacks.stages.phases
    assert OmegaConf.to_container(phases) == list(BY_STAGE)


class Around(nn.Module):
    """A model as Lightning's module holds it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def test_a_stage_learns_from_its_own_terms_until_the_last_phase() -> None:
    statistics = statistics_of(68)
    model = small_dpr(statistics, detach=False, error_head=ErrorHead)
    around, trainer = Around(model), SimpleNamespace(max_epochs=20, current_epoch=0)
    callback, criterion = StageByStage(BY_STAGE), DPRCriterion(statistics, Equal)
    callback.on_fit_start(trainer, around)  # type: ignore[arg-type]
    own = {0: ("global_reinit", "reinit"), 3: ("global_regression", "global"), 10: ("local_reinit", "local_reinit")}
    for epoch, (part, term) in {**own, 16: ("global_reinit", "reinit")}.items():
        trainer.current_epoch = epoch
        callback.on_train_batch_start(trainer, around, None, 0)  # type: ignore[arg-type]
        assert model.error_head is not None
        assert model.error_head.training  # named in no phase
        assert model.global_reinit.training == (epoch in (0, 16))
        terms = criterion(*run_of(model, statistics))
        loss, alone = (gradient_of(model.get_submodule(part), terms[name]) for name in ("loss", term))
        assert torch.allclose(loss, alone, atol=1e-7) == (epoch in own), part
        terms["loss"].backward()
        callback.on_before_optimizer_step(trainer, around, None)  # type: ignore[arg-type]
        learning = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
        assert part in learning
        assert "error_head" in learning
        assert ("local_regression" in learning) == (epoch in (10, 16))
        model.zero_grad()
    callback.on_fit_end(trainer, around)  # type: ignore[arg-type]
    assert model.detach is False


def test_phases_that_few_epochs_leave_out_are_said(caplog: pytest.LogCaptureFixture) -> None:
    callback = StageByStage([{"share": 0.1, "modules": ["0"]}, {"share": 0.4}, {"share": 0.5}])
    model = nn.Sequential(nn.Linear(1, 1))
    callback.on_fit_start(SimpleNamespace(max_epochs=2), Around(model))  # type: ignore[arg-type]
    assert "2 epochs leave out 1 of 3 phases, whose shares make too little of an epoch: 1 (0)." in caplog.text


def test_unknown_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names \['local_reg.*', 'local_rei.*'\], which DPR does not have.*global_"):
        train_tiny(tmp_path / "run", *DPR, "model.stages=gsr", "callbacks=by_stage")
    assert not (tmp_path / "run").exists(), "the corrected command may use the folder"


def test_a_run_without_a_number_of_epochs_is_refused() -> None:
    callback = StageByStage([{"share": 1.0}])
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs is -1"):
        callback.on_fit_start(SimpleNamespace(max_epochs=-1), SimpleNamespace())  # type: ignore[arg-type]


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The model's weights and buffers at the start of each epoch of a training that the test starts."""
    taken: list[dict[str, Tensor]] = []
    start = StageByStage.on_train_epoch_start

    def watched(self: StageByStage, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start(self, trainer, pl_module)
        taken.append({k: v.clone() for k, v in pl_module.get_submodule("model").state_dict().items()})

    monkeypatch.setattr(StageByStage, "on_train_epoch_start", watched)
    return taken


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}


def test_only_the_named_parts_move(
    tmp_path: Path, snapshots: list[dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    # clipping sees what is trained alone, weight decay and batch-norm statistics stay off the rest
    run = train_tiny(tmp_path / "run", *DPR, *HALVES, "model.stages=gsr", "trainer.gradient_clip_val=1.0")
    end = {k.removeprefix("model."): v for k, v in run.checkpoint()["state_dict"].items() if k.startswith("model.")}
    first, second = snapshots
    assert moved(first, second) == {"global_reinit"}
    assert moved(second, end) == {"global_regression"}
    statistics = "global_regression.features.0.1.running_mean"
    assert torch.equal(first[statistics], second[statistics])
    assert not torch.equal(second[statistics], end[statistics])
    assert "epoch 0, phase 1 of 2: training global_reinit" in caplog.messages
    assert "epoch 1, phase 2 of 2: training global_regression" in caplog.messages
    header, *rows = (tmp_path / "run" / "log" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("train/phase")
    assert [float(v) for v in (row.split(",")[column] for row in rows) if v] == [1, 2]


@pytest.mark.runs
@pytest.mark.parametrize("weighting", ["dpr_inverse", pytest.param("dpr_uncertainty", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_in_its_phase(weighting: str, tmp_path: Path) -> None:
    """Killed in the second phase; the weighting's running errors, or what it learned, continue too.

    The criterion's own parameters are trained, saved and resumed; the test needs the model's alone.
    """
    settings = (*DPR, *HALVES, f"loss={weighting}", "model.stages=gsr")
    whole = train_tiny(tmp_path / "whole", *settings)
    train_until_killed(tmp_path / "killed", *settings)
    continued = resume(tmp_path / "killed")
    assert_same_end(continued, whole)
    state = continued.checkpoint()["state_dict"]
    kept = {"dpr_inverse": "error_sum", "dpr_uncertainty": "log_error"}[weighting]
    assert state[f"criterion.global_weighting.{kept}"].abs().min() > 0
