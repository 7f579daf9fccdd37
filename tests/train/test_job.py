"""A job of a sweep is skipped, resumed or tried again by what lies in its folder, and says why it failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from facegraph.compose import compose
from facegraph.errors import DataError, NonFiniteLossError, RunError
from facegraph.job import run_job
from facegraph.locking import held
from facegraph.records import RunResult, read_predictions
from facegraph.sweeps.failures import DATA, NOT_FINITE, OTHER
from facegraph.sweeps.status import DONE, FAILED, NEW, read_failure, read_progress, state
from facegraph.task import LandmarkTask
from tests.helpers.runs import tiny_config


@pytest.fixture(autouse=True)
def as_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEGRAPH_OUTPUT_DIR", raising=False)


def job_config(folder: Path, *overrides: str) -> DictConfig:
    return tiny_config(folder, "sweep.identity=abc", "sweep.row=a", *overrides)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def stopped_in_epoch_one(self: LandmarkTask) -> None:
    if self.trainer.current_epoch == 1:
        raise RuntimeError("the cable was pulled")


def test_a_broken_job_goes_on_and_ends_like_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert state(broken) == NEW
    run_job(job_config(whole))
    with monkeypatch.context() as patch:
        patch.setattr(LandmarkTask, "on_train_epoch_start", stopped_in_epoch_one)
        with pytest.raises(RuntimeError, match="cable"):
            run_job(job_config(broken))
    failure = read_failure(broken)
    assert failure is not None
    assert (failure.kind, failure.message) == (OTHER, "RuntimeError: the cable was pulled")
    assert state(broken) == FAILED
    progress = read_progress(broken)
    assert progress is not None
    assert (progress.epoch, progress.epochs) == (1, 2)
    run_job(job_config(broken))
    assert read_failure(broken) is None
    assert state(broken) == state(whole) == DONE
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(broken)[name]), name
    assert read_predictions(whole).equals(read_predictions(broken))
    assert RunResult.read(whole).metrics == RunResult.read(broken).metrics


def test_what_is_done_is_left_alone(tmp_path: Path) -> None:
    run_job(job_config(tmp_path / "run", "trainer.max_epochs=1"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    run_job(job_config(tmp_path / "run", "trainer.max_epochs=1"))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_failures_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        run_job(job_config(tmp_path / "nan", "optimizer.lr=1e30"))
    failure = read_failure(tmp_path / "nan")
    assert failure is not None
    assert failure.kind == NOT_FINITE
    with pytest.raises(DataError):
        run_job(
            compose(
                [
                    "dataset=wflw",
                    f"dataset.root={tmp_path / 'nothing'}",
                    "sweep.identity=abc",
                    f"output_dir={tmp_path / 'data'}",
                ]
            )
        )
    failure = read_failure(tmp_path / "data")
    assert failure is not None
    assert failure.kind == DATA
    assert "nothing" in failure.message


def test_a_job_that_another_process_works_on_is_refused_and_not_failed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder / ".lock"), pytest.raises(RunError, match=f"process {os.getpid()} works on"):
        run_job(job_config(folder))
    assert state(folder) == NEW
    assert read_failure(folder) is None


def test_conditions_are_scored_after_training_and_again_where_they_are_missing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_job(job_config(folder, "trainer.max_epochs=1"))
    conditions = 'sweep.evaluations={far:["box=detector-jittered","box.shift=0.3","trainer=cpu","num_workers=0"]}'
    assert state(folder, ["far"]) != DONE
    run_job(job_config(folder, "trainer.max_epochs=1", conditions))
    assert state(folder, ["far"]) == DONE
    clean, far = RunResult.read(folder), RunResult.read(folder / "eval" / "far")
    assert far.metrics["test"]["last"]["nme"] != clean.metrics["test"]["last"]["nme"]
    assert far.protocol.crop != clean.protocol.crop
