"""A cascade trained stage by stage: which weights move when, and that a killed run goes on in its phase."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.stage_training import StageByStage
from tests.helpers.runs import resume, train_tiny
from tests.train.test_resume import assert_same_end, train_until_killed

pytestmark = pytest.mark.usefixtures("no_pictures")

DPR = ("model=dpr", "loss=dpr_inverse", "normalise=signed", "model.global_size=64", "model.part_size=32")
HALVES = (
    "callbacks=by_stage",
    "callbacks.stages.phases=[{share: 0.5, modules: [global_reinit]}, {share: 0.5, modules: [global_regression]}]",
)


def test_every_epoch_has_a_phase() -> None:
    callback = StageByStage([{"share": 0.3, "modules": ["a"]}, {"share": 0.5, "modules": ["b"]}, {"share": 0.2}])
    assert [callback.number(epoch, 10) for epoch in range(10)] == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert [callback.number(epoch, 2) for epoch in range(2)] == [0, 1]  # 0.6 and 1.6 of two epochs
    assert callback.number(0, 1) == 1
    assert [str(phase) for phase in callback.phases] == ["a", "b", "the whole model"]


@pytest.mark.parametrize(
    "phases",
    [[], [{"share": 0.5}], [{"share": 1.5}, {"share": -0.5}], [{"share": 0.0}, {"share": 1.0}]],
)
def test_shares_make_the_whole_training(phases: list[dict[str, float]]) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.stages\.phases has the shares .* together they must make 1"):
        StageByStage(phases)


def test_a_row_with_other_keys_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\['module', 'share'\].*modules: \["):
        StageByStage([{"share": 1.0, "module": ["a"]}])


def test_unknown_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names \['local_reg.*', 'local_rei.*'\], which DPR does not have.*global_"):
        train_tiny(tmp_path / "run", *DPR, "model.stages=gsr", "callbacks=by_stage")


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


def test_a_killed_run_goes_on_in_its_phase(tmp_path: Path) -> None:
    """Killed in the second phase; the running errors of the weighting continue too."""
    settings = (*DPR, *HALVES, "model.stages=gsr")
    whole = train_tiny(tmp_path / "whole", *settings)
    train_until_killed(tmp_path / "killed", *settings)
    continued = resume(tmp_path / "killed")
    assert_same_end(continued, whole)
    state = continued.checkpoint()["state_dict"]
    assert state["criterion.global_weighting.error_sum"].min() > 0


def test_learned_weights_continue_too(tmp_path: Path) -> None:
    """The criterion's own parameters are trained, saved and resumed; the test needs the model's alone."""
    settings = (*DPR, "loss=dpr_uncertainty", "model.stages=gsr")
    whole = train_tiny(tmp_path / "whole", *settings)
    learned = whole.checkpoint()["state_dict"]["criterion.global_weighting.log_error"]
    assert learned.abs().max() > 1e-4
    train_until_killed(tmp_path / "killed", *settings)
    assert_same_end(resume(tmp_path / "killed"), whole)
