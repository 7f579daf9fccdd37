"""What is NaN or infinite is neither saved nor scored, and the checkpoint before it stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from facegraph.errors import NonFiniteError, RunError
from facegraph.structures import LandmarkOutput
from facegraph.sweeps.failures import NOT_FINITE, failure_of
from facegraph.training.checkpoint_files import WholeCheckpoints, not_finite
from facegraph.training.task import LandmarkTask, ScoringTask
from tests.helpers.runs import TinyRun, evaluate_run, resume, train_tiny, ways_to_open

pytestmark = pytest.mark.usefixtures("no_pictures")


def break_parameter(model: nn.Module) -> None:
    with torch.no_grad():
        list(model.parameters())[-1].view(-1)[0] = torch.nan


def break_buffer(model: nn.Module) -> None:
    next(buffer for name, buffer in model.named_buffers() if "running_var" in name)[0] = torch.inf


@pytest.mark.parametrize(("spoil", "epoch"), [(break_parameter, 1), (break_buffer, 2)], ids=["between", "at the end"])
def test_a_broken_network_is_not_saved(
    spoil: Callable[[nn.Module], None], epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the last step of an epoch, which no loss shows."""

    def broken(self: LandmarkTask) -> None:
        if self.current_epoch == epoch:
            spoil(self.model)

    monkeypatch.setattr(LandmarkTask, "on_train_epoch_end", broken)
    with pytest.raises(NonFiniteError, match=r"are NaN or infinite in epoch .*checkpoint before stays") as caught:
        train_tiny(tmp_path / "run", "trainer.max_epochs=3", "data.val_fraction=0")
    assert failure_of(caught.value).kind == NOT_FINITE
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == epoch - 1
    assert not not_finite(saved["state_dict"])
    assert not (tmp_path / "run" / "result.json").exists()


def no_landmarks(model: nn.Module, image: torch.Tensor) -> LandmarkOutput:
    output: LandmarkOutput = forward(model, image)
    points = output.landmarks.clone()
    points[0, 0, 0] = torch.inf
    return LandmarkOutput(points)


def forward(model: nn.Module, image: torch.Tensor) -> Any:
    return type(model).forward(model, image)


def test_a_score_that_is_not_finite_is_no_result(tiny_run: TinyRun, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ScoringTask, "predict", lambda self, image: no_landmarks(self.model, image))
    with pytest.raises(NonFiniteError, match=r"no finite landmarks for 1 of 9 test faces \(test-000000\)"):
        evaluate_run(tiny_run.folder, f"output_dir={tmp_path / 'eval'}")
    assert not (tmp_path / "eval" / "result.json").exists()
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder, ignore=shutil.ignore_patterns("*.png", "result.json", "*.parquet", "eval"))
    with pytest.raises(NonFiniteError, match="checkpoint last gives no finite landmarks"):
        resume(folder)
    assert not (folder / "result.json").exists()


def test_a_validation_that_is_not_finite_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = LandmarkTask.validation_step

    def broken(self: LandmarkTask, batch: Any, batch_idx: int) -> None:
        step(self, batch._replace(norm_distances=batch.norm_distances * 1e-38 * 1e-6), batch_idx)

    monkeypatch.setattr(LandmarkTask, "validation_step", broken)
    with pytest.raises(ValueError, match=r"validation error is|normalising distance"):
        train_tiny(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_weights_that_are_not_finite_are_not_opened(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("result.json", "eval"))
    checkpoint = tiny_run.checkpoint()
    name = next(name for name, value in checkpoint["state_dict"].items() if value.is_floating_point())
    checkpoint["state_dict"][name].view(-1)[0] = torch.nan
    WholeCheckpoints().save_checkpoint(checkpoint, folder / "checkpoints" / "last.ckpt")
    for opened in ways_to_open(folder, tmp_path / "new"):
        with pytest.raises(RunError, match=rf"last.ckpt has 1 tensor.* not finite, the first '{name[6:]}'"):
            opened()
