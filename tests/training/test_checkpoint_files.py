"""Checkpoints are whole on the disk, whatever happens while one is written; a damaged one ends no job of a sweep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from facegraph.errors import RunError
from facegraph.runs.folder import alone_in, set_damaged_aside
from facegraph.runs.job import run_job
from facegraph.runs.train import settings_of
from facegraph.sweeps.failures import DISK_FULL, failure_of
from facegraph.sweeps.identity import identity
from facegraph.training.checkpoint_files import WholeCheckpoints, is_damaged
from tests.helpers.runs import environment, tiny_config, train_tiny

pytestmark = [pytest.mark.usefixtures("no_pictures"), pytest.mark.runs]

# the second checkpoint is written bit by bit, and its writer killed in the middle
KILLED = """
import os, signal, sys, torch
from facegraph.training import checkpoint_files as checkpoint_io
path = sys.argv[1]
checkpoint_io.WholeCheckpoints().save_checkpoint({"epoch": 1, "weights": torch.zeros(5000)}, path)

class Dying:
    def __init__(self, file): self.file, self.written = file, 0
    def write(self, data):
        self.written += self.file.write(data)
        if self.written > 10000:
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return len(data)
    def __getattr__(self, name): return getattr(self.file, name)

save = torch.save
torch.save = lambda what, file: save(what, Dying(file))
checkpoint_io.WholeCheckpoints().save_checkpoint({"epoch": 2, "weights": torch.ones(5000)}, path)
"""


@pytest.mark.runs
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert torch.load(path, weights_only=True)["epoch"] == 1
    assert not is_damaged(path)
    (left,) = tmp_path.glob(".last.ckpt.*")
    with alone_in(tmp_path):
        assert not left.exists()
    WholeCheckpoints().save_checkpoint({"epoch": 3}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True) == {"epoch": 3}


def test_a_checkpoint_that_cannot_be_written_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=rf"cannot write the checkpoint {path}: No space left") as caught:
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert failure_of(caught.value).kind == DISK_FULL
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def test_training_needs_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **settings: object) -> None:
        pytest.fail("a checkpoint went through the temporary folder")

    monkeypatch.setattr(tempfile, "mkstemp", never)
    folder = train_tiny(tmp_path / "run").folder / "checkpoints"
    assert sorted(file.name for file in folder.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"weights": torch.ones(5000)}, path)
    whole = path.read_bytes()
    changed = whole[:8000] + bytes([whole[8000] ^ 1]) + whole[8001:]
    path.write_bytes({"cut off": whole[:-5], "changed": changed, "empty": b""}[damage])
    assert is_damaged(path)


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_job_whose_checkpoint_is_damaged_starts_again(
    tmp_path: Path, which: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEGRAPH_OUTPUT_DIR", raising=False)
    folder = tmp_path / "run"
    cfg = tiny_config(folder, "sweep.row=a", "trainer.max_epochs=1")
    cfg.sweep.identity = identity(settings_of(cfg))
    run_job(cfg.copy())
    whole = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    shutil.move(folder / "result.json", tmp_path)
    path = folder / "checkpoints" / f"{which}.ckpt"
    damaged = path.read_bytes()[:5000]
    path.write_bytes(damaged)
    run_job(cfg.copy())
    assert f"{which}.ckpt in {path.parent} cannot be read: kept as" in capsys.readouterr().out
    (aside,) = path.parent.glob(f"{which}.ckpt.damaged-*")
    assert aside.read_bytes() == damaged
    again = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert not set_damaged_aside(folder)
