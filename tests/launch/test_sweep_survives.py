"""Whole sweeps as a user runs them: killed, continued, extended, with a row that cannot work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from facegraph.records import RunResult, read_predictions
from facegraph.sweeps.manifest import read_sweep
from facegraph.sweeps.status import DONE, FAILED, read_failure, read_progress, state
from tests.helpers.processes import wait_for
from tests.helpers.runs import ROOT, environment, python

SMALL = ("scale=smoke", "dataset.train_size=16", "dataset.test_size=4", "trainer.max_epochs=3")


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return python(ROOT / "train.py", "-m", *SMALL, f"sweep_dir={folder}", *overrides, folder=folder.parent)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def alive(folder: Path) -> list[int]:
    """Processes that were told to write into a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.runs
def test_a_failed_row_stops_no_other_and_the_next_call_adds_to_what_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    done = sweep(folder, "head.top_k=1,99", "trainer.max_epochs=1")
    assert done.returncode == 1
    (swept,) = read_sweep(folder)
    first, wrong = (job.folder(folder) for job in swept.jobs)
    failure = read_failure(wrong)
    assert state(wrong) == FAILED
    assert failure is not None
    assert failure.kind == "settings"
    assert "top_k=99 is out of range" in done.stdout
    assert RunResult.read(first).protocol.epochs == 1
    assert "1 of 2 jobs are done" in done.stdout
    written = (first / "result.json").stat().st_mtime_ns
    more = sweep(folder, "head.top_k=1,3", "trainer.max_epochs=1")
    assert more.returncode == 0, more.stdout
    assert "2 jobs in" in more.stdout
    assert "1 of them done already" in more.stdout
    assert (first / "result.json").stat().st_mtime_ns == written
    (after,) = read_sweep(folder)
    assert {job.row: state(job.folder(folder)) for job in after.jobs} == {
        "head.top_k=1": DONE,
        "head.top_k=3": DONE,
        "head.top_k=99": FAILED,
    }


@pytest.mark.runs
@pytest.mark.parametrize(
    ("sweeper", "trainer"), [("table", ("trainer=cpu",)), ("basic", ("trainer=ddp", "trainer.devices=2"))]
)
def test_jobs_inside_the_process_of_the_sweep_are_refused(
    tmp_path: Path, sweeper: str, trainer: tuple[str, ...]
) -> None:
    chosen = (f"hydra/sweeper={sweeper}", "hydra/launcher=basic")
    done = sweep(tmp_path / "sweep", "head.top_k=1,3", *trainer, *chosen)
    assert done.returncode != 0
    assert "where the processes of one job would mix with those of the next" in done.stderr
    assert "hydra/launcher=local" in done.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to look for processes left over")
@pytest.mark.timeout(900)
def test_a_sweep_killed_five_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    """At random moments after so many epochs of its jobs: while it plans, while jobs start, train, test and write."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    rows = ("head.top_k=1,3", "seed=0,1", "trainer.max_epochs=12", "dataset.train_size=40")
    assert sweep(quiet, *rows).returncode == 0
    chance, epochs = random.Random(5), 0
    command = [sys.executable, ROOT / "train.py", "-m", *SMALL, *rows, f"sweep_dir={killed}"]
    for begun in (0, 1, 8, 16, 24):  # of 48, so that the fifth still finds it at work
        process = subprocess.Popen(list(map(str, command)), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
        assert wait_for(lambda least=begun, job=process: epochs_begun(killed) >= least or job.poll() is not None, 400)
        time.sleep(chance.uniform(0.0, 2.0))  # any moment will do
        assert process.poll() is None, "the sweep was through before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not alive(killed)), "jobs outlived their launcher"
    assert sweep(killed, *rows).returncode == 0
    (expected,), (found,) = read_sweep(quiet), read_sweep(killed)
    assert found.jobs == expected.jobs
    for job in expected.jobs:
        ours, theirs = job.folder(killed), job.folder(quiet)
        for name, value in weights(theirs).items():
            assert torch.equal(value, weights(ours)[name]), (job, name)
        assert read_predictions(theirs).equals(read_predictions(ours))
        assert RunResult.read(theirs).metrics == RunResult.read(ours).metrics
        epochs += sum(trained_epochs(log) for log in ours.glob("log*/metrics.csv"))
    # an epoch that a kill cut short is trained again, no other: at most one per job at work and kill
    assert 4 * 12 <= epochs <= 4 * 12 + 5 * 2


def epochs_begun(sweep_folder: Path) -> int:
    """By all jobs together, as their progress says."""
    found = [read_progress(path.parent) for path in sweep_folder.glob("jobs/*/progress.json")]
    return sum(progress.epoch for progress in found if progress is not None)


def trained_epochs(log: Path) -> int:
    """Epochs that one process finished, from the curve that it logged."""
    import pandas as pd

    table = pd.read_csv(log)
    return int(table["val/nme"].notna().sum()) if "val/nme" in table else 0
