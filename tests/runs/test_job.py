"""A job of a sweep is skipped, resumed or tried again by what lies in its folder, and says why it failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from facegraph.errors import ConfigError, DataError, NonFiniteLossError, RunError
from facegraph.files.locking import held
from facegraph.records import RunResult, read_predictions
from facegraph.runs.compose import compose
from facegraph.runs.job import run_job
from facegraph.runs.train import settings_of
from facegraph.sweeps.conditions import outdated
from facegraph.sweeps.failures import DATA, NOT_FINITE, OTHER
from facegraph.sweeps.identity import identity
from facegraph.sweeps.status import DONE, FAILED, NEW, read_failure, read_progress, state
from facegraph.training.task import LandmarkTask
from tests.helpers.runs import tiny_config

pytestmark = pytest.mark.runs


@pytest.fixture(autouse=True)
def as_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEGRAPH_OUTPUT_DIR", raising=False)


def job_config(folder: Path, *overrides: str) -> DictConfig:
    cfg = tiny_config(folder, "sweep.row=a", *overrides)
    cfg.sweep.identity = identity(settings_of(cfg))
    return cfg


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def stopped_in_epoch_one(self: LandmarkTask) -> None:
    if self.trainer.current_epoch == 1:
        raise RuntimeError("the cable was pulled")


@pytest.mark.runs
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
    seen = []
    write = LandmarkTask.on_train_start
    monkeypatch.setattr(LandmarkTask, "on_train_start", lambda task: (write(task), seen.append(read_progress(broken))))
    run_job(job_config(broken))
    assert seen == [progress], "progress of the epochs before is lost when a job goes on"
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
        run_job(job_config(tmp_path / "nan", "optimizer.lr=1e18"))
    failure = read_failure(tmp_path / "nan")
    assert failure is not None
    assert failure.kind == NOT_FINITE
    missing = compose(["dataset=wflw", f"dataset.root={tmp_path / 'nothing'}", f"output_dir={tmp_path / 'data'}"])
    missing.sweep.identity = identity(settings_of(missing))
    with pytest.raises(DataError):
        run_job(missing)
    failure = read_failure(tmp_path / "data")
    assert failure is not None
    assert failure.kind == DATA
    assert "nothing" in failure.message


def test_a_job_whose_settings_are_not_those_planned_is_refused(tmp_path: Path) -> None:
    cfg = job_config(tmp_path / "run")
    cfg.optimizer.lr = 0.5
    with pytest.raises(ConfigError, match=r"has changed since\. Run the sweep again"):
        run_job(cfg)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.runs
def test_what_changes_no_number_may_change_between_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(LandmarkTask, "on_train_epoch_start", stopped_in_epoch_one)
        with pytest.raises(RuntimeError, match="cable"):
            run_job(job_config(folder))
    monkeypatch.setattr(
        "facegraph.runs.train.given_overrides", lambda: ["logger=tensorboard"]
    )  # as typed at a Hydra program
    run_job(job_config(folder, "logger=tensorboard", "name=another", "data.num_workers=1"))
    assert state(folder) == DONE
    assert list(folder.glob("tensorboard/events*"))
    (folder / "result.json").unlink()
    other = job_config(folder, "optimizer.lr=0.5")
    with pytest.raises(ConfigError, match="would change optimizer"):
        run_job(other)


def test_a_job_that_another_process_works_on_is_refused_and_not_failed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held(folder / ".lock"), pytest.raises(RunError, match=f"process {os.getpid()} works on"):
        run_job(job_config(folder))
    assert state(folder) == NEW
    assert read_failure(folder) is None


@pytest.mark.runs
def test_conditions_are_scored_where_they_are_missing_or_have_changed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_job(job_config(folder, "trainer.max_epochs=1"))
    conditions = 'sweep.evaluations={far:["box=detector-jittered","box.shift=0.3","trainer=cpu","num_workers=0"]}'
    assert state(folder, ["far"]) != DONE
    run_job(job_config(folder, "trainer.max_epochs=1", conditions))
    assert state(folder, ["far"]) == DONE
    clean, far = RunResult.read(folder), RunResult.read(folder / "eval" / "far")
    assert far.metrics["test"]["last"]["nme"] != clean.metrics["test"]["last"]["nme"]
    assert far.protocol.crop != clean.protocol.crop
    nearer = conditions.replace("0.3", "0.1")
    assert outdated(folder, {"far": ["box=detector-jittered", "box.shift=0.1", "trainer=cpu", "num_workers=0"]})
    run_job(job_config(folder, "trainer.max_epochs=1", nearer))
    near = RunResult.read(folder / "eval" / "far")
    assert near.metrics["test"]["last"]["nme"] < far.metrics["test"]["last"]["nme"]
    (kept,) = (folder / "eval").glob("far.outdated-*")
    assert RunResult.read(kept) == far
