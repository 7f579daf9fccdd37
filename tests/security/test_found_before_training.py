"""What would stop the test or spoil its result is said before the first step, and a full disk by a message."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from facegraph.data.source import check_scored
from facegraph.data.synthetic import SyntheticDataset
from facegraph.errors import DataError, FacegraphError, RunError
from facegraph.runs.entry import guarded
from facegraph.runs.train import train
from facegraph.training.task import LandmarkTask
from tests.helpers.runs import TinyRun, evaluate_run, tiny_config, train_tiny

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("dataset.normalisers=[]", r"dataset\.normalisers=\[\] .*give one or more"),
        ("dataset.thresholds=[0.1,-1]", r"dataset\.thresholds=\[0\.1, -1\] has -1; .*above zero"),
        ("dataset.thresholds=[0.1,half]", r"dataset\.thresholds=\[0\.1,half\] cannot be used"),
        ("+trainer.limit_test_batches=0.5", r"limit_test_batches=0\.5 tests 2 of 5 batches.*partial_test=true"),
        ("+trainer.limit_test_batches=4", r"limit_test_batches=4 tests 4 of 5 batches"),
        ("+trainer.fast_dev_run=true", r"limit_test_batches=1 tests 1 of 5 batches"),
    ],
)
def test_it_is_said_before_the_folder_is_taken(override: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(FacegraphError, match=named):
        train_tiny(tmp_path / "run", "data.eval_batch_size=2", override)
    assert not (tmp_path / "run").exists()


def test_a_part_is_tested_where_that_is_wanted(tiny_run: TinyRun, tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run", "debug=fast", "data.eval_batch_size=2", "trainer.limit_test_batches=2")
    assert run.result.protocol.test_faces == 4
    with pytest.raises(FacegraphError, match="tests 1 of 5 batches"):
        evaluate_run(tiny_run.folder, "eval_batch_size=2", "+trainer.limit_test_batches=1")


def stop(self: LandmarkTask) -> None:
    """As max_time does."""
    self.trainer.should_stop = True


@pytest.mark.parametrize("by", ["max_steps", "max_time"])
def test_a_training_that_ends_early_is_tested(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch of which last.ckpt would be left out."""
    overrides = ["callbacks.last.every_n_epochs=2", "data.val_fraction=0"]
    if by == "max_steps":
        overrides.append("+trainer.max_steps=1")
    else:
        monkeypatch.setattr(LandmarkTask, "on_train_batch_end", lambda self, *batch: stop(self))
    run = train_tiny(tmp_path / "run", *overrides)
    assert run.result.protocol.optimiser_steps == run.checkpoint()["global_step"] == 1
    assert set(run.result.metrics["test"]) == {"last"}


def test_a_training_without_a_step_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="ended before it had a checkpoint to test"):
        train_tiny(tmp_path / "run", "+trainer.max_time='00:00:00:00'")


def test_a_face_that_cannot_be_scored_is_named() -> None:
    dataset = SyntheticDataset(train_size=1, test_size=4, image_size=64)
    table = dataset.test().table
    check_scored(table, dataset)
    with pytest.raises(DataError, match=rf"id '{table.ids[0]}' stands for 2 of 4 faces"):
        check_scored(replace(table, ids=(*table.ids[:3], table.ids[0])), dataset)
    points = table.landmarks.copy()
    points[2] = points[2, 0]
    with pytest.raises(DataError, match=rf"of face '{table.ids[2]}' the distance inter_ocular is 0\.0 \(1 of 4"):
        check_scored(replace(table, landmarks=points), dataset)


def full_disk(cfg: DictConfig) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_message(tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = OmegaConf.create({"output_dir": str(tiny_run.folder), "resume": None, "sweep": {"identity": None}})
    again = (
        rf"error: No space left on device: {tiny_run.folder}\. Make room there\. .*train\.py resume={tiny_run.folder}"
    )
    with pytest.raises(SystemExit, match=again):
        guarded(full_disk, cfg)
    evaluation = OmegaConf.create({"run": str(tiny_run.folder), "output_dir": None})
    with pytest.raises(SystemExit, match=r"No space left.*The same command scores the run again\."):
        guarded(full_disk, evaluation)


def test_a_disk_that_fills_up_while_results_are_written(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def full(source: Path, target: Path) -> None:
        if "parquet" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    folder = tmp_path / "run"
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SystemExit, match=rf"No space left on device: {folder}\..*resume={folder}"):
        guarded(train, tiny_config(folder, "trainer.max_epochs=1"))
    assert not list(folder.glob(".*")), "what was written in part, and the lock"
