"""A killed run continues to the same end; runs never overwrite each other."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from facegraph.errors import ConfigError, DataError, RunError
from facegraph.runs import train as run
from facegraph.runs.compose import compose
from facegraph.structures import FaceBatch
from facegraph.training.task import LandmarkTask
from tests.helpers.crops import write_crops
from tests.helpers.runs import ROOT, TINY, TinyRun, environment, resume, tiny_config, tiny_overrides, train_tiny

pytestmark = [pytest.mark.usefixtures("no_pictures"), pytest.mark.runs]


class Killed(Exception):
    pass


def train_until_killed(folder: Path, *overrides: str) -> None:
    until_killed(lambda: train_tiny(folder, *overrides))


def until_killed(training: Callable[[], object]) -> None:
    """Ends after the first batch of the second epoch, without a farewell as far as the folder can tell."""
    step = LandmarkTask.training_step

    def dying(self: LandmarkTask, batch: FaceBatch, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1 and batch_idx == 1:
            raise Killed
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LandmarkTask, "training_step", dying)
        with pytest.raises(Killed):
            training()


def assert_same_end(continued: TinyRun, uninterrupted: TinyRun) -> None:
    for which in ("last", "best"):
        ours, theirs = (r.checkpoint(which)["state_dict"] for r in (continued, uninterrupted))
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), (which, name)
    assert continued.result.metrics == uninterrupted.result.metrics
    assert continued.result.protocol == uninterrupted.result.protocol


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "run"
    train_until_killed(folder)
    return folder


def test_a_copy_elsewhere_continues_to_the_same_end(killed: Path, tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "moved")
    before = (killed / "log" / "metrics.csv").read_text()
    assert_same_end(resume(folder), tiny_run)
    assert (folder / "log" / "metrics.csv").read_text() == before
    assert len(list(folder.glob("log_from_*/metrics.csv"))) == 1
    assert not (killed / "result.json").exists()


@pytest.mark.runs
def test_killed_process_continues_to_the_same_end(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / "dying_train.py"), *tiny_overrides(folder)],
        cwd=tmp_path,
        env=environment() | {"DIES": "0:kill", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "result.json").exists()
    assert_same_end(resume(folder), tiny_run)


def test_a_run_killed_while_testing_is_tested(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder, ignore=shutil.ignore_patterns("*.png", "result.json", "*.parquet", "eval"))
    assert_same_end(resume(folder), tiny_run)


def test_a_finished_run_is_left_alone(tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    def times() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in tiny_run.folder.glob("**/*") if "eval" not in p.parts}

    before = times()
    assert resume(tiny_run.folder).result == tiny_run.result
    assert times() == before
    assert "finished already" in capsys.readouterr().out


@pytest.mark.runs
def test_averaged_weights_continue_to_the_same_end(tmp_path: Path) -> None:
    overrides = ["callbacks=ema", "callbacks.ema.decay=0.8"]
    whole = train_tiny(tmp_path / "whole", *overrides)
    train_until_killed(tmp_path / "killed", *overrides)
    assert_same_end(resume(tmp_path / "killed"), whole)


def test_other_settings_are_refused(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [f"resume={killed}", *tiny_overrides(killed, "head=fc")]
    monkeypatch.setattr(run, "given_overrides", lambda: given)
    with pytest.raises(ConfigError, match=r"but head=fc would change head\. Leave .*init_from=.*another output_dir"):
        run.train(compose(given))


def test_the_one_setting_that_would_change_is_named(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [f"resume={killed}", "trainer.max_epochs=3", "trainer=cpu"]
    monkeypatch.setattr(run, "given_overrides", lambda: given)
    with pytest.raises(ConfigError, match=r"but trainer\.max_epochs=3 would change trainer\.max_epochs, which is 2\. "):
        run.train(compose(given))


def test_a_recipe_that_is_not_the_run_s_is_named(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [f"resume={killed}", "scale=smoke"]
    monkeypatch.setattr(run, "given_overrides", lambda: given)
    with pytest.raises(ConfigError, match=r"but scale=smoke would change data, dataset"):
        run.train(compose(given))


@pytest.fixture
def on_crops(tmp_path: Path) -> tuple[Path, Path]:
    """A run on a folder of crops that was killed, and that folder."""
    root, folder = write_crops(tmp_path / "root", "ibug68", train=24), tmp_path / "run"
    crops = ["dataset=crops", f"dataset.root={root}", "dataset.scheme.name_or_path=ibug68", f"output_dir={folder}"]
    until_killed(lambda: run.train(compose([*TINY, *crops])))
    return folder, root


def test_other_faces_than_at_the_start_are_refused(on_crops: tuple[Path, Path]) -> None:
    folder, root = on_crops
    table = pd.read_csv(root / "annotations.csv")
    train = table.index[table["split"] == "train"]
    table.drop(index=train[:4]).to_csv(root / "annotations.csv", index=False)
    with pytest.raises(DataError, match=r"has changed since .*(train|val): \d+ faces then, \d+ now.*init_from="):
        resume(folder)


def test_landmarks_that_moved_are_refused(on_crops: tuple[Path, Path]) -> None:
    folder, root = on_crops
    table = pd.read_csv(root / "annotations.csv")
    table["x3"] += 1.0
    table.to_csv(root / "annotations.csv", index=False)
    with pytest.raises(
        DataError, match=r"train: (\d+) faces then and now, with other ids or landmarks \(\w+, now \w+\)"
    ):
        resume(folder)


def test_images_that_were_replaced_are_refused(on_crops: tuple[Path, Path]) -> None:
    folder, root = on_crops
    for file in (root / "images").glob("helen_test_*"):
        cv2.imwrite(str(file), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"\(test: the same 5 faces with other images \(\w+, now \w+\)\)"):
        resume(folder)


def test_a_run_of_before_faces_were_kept_goes_on_with_a_warning(
    killed: Path, tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    (folder / "faces.json").unlink()
    assert_same_end(resume(folder), tiny_run)
    assert f"warning: {folder} does not say which faces" in capsys.readouterr().out
    assert (folder / "faces.json").read_bytes() == (killed / "faces.json").read_bytes()


def test_a_folder_in_use_is_refused(killed: Path, tiny_run: TinyRun) -> None:
    before = (killed / "config.yaml").read_bytes()
    with pytest.raises(RunError, match=rf"never overwrites another: continue it with resume={killed}"):
        train_tiny(killed, "seed=1")
    assert (killed / "config.yaml").read_bytes() == before


def test_a_finished_folder_is_refused_too(tiny_run: TinyRun) -> None:
    with pytest.raises(RunError, match="never overwrites"):
        train_tiny(tiny_run.folder, "seed=1")


def test_a_folder_that_cannot_be_written_stops_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        pytest.fail("training started")

    (tmp_path / "file").touch()
    monkeypatch.setattr(pl.Trainer, "fit", never)
    with pytest.raises(RunError, match=rf"cannot write to {tmp_path}/file/run.*another output_dir"):
        run.train(tiny_config(tmp_path / "file" / "run"))


def test_a_truncated_checkpoint_is_named(killed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "run")
    path = folder / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RunError, match=rf"cannot read the checkpoint {path}.*whole"):
        resume(folder)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"{tmp_path} holds no run: config.yaml is missing"):
        resume(tmp_path)
