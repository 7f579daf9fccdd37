"""Sweeps on a real Slurm of one node: make test-slurm. They train for some minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from facegraph.records import RunResult
from facegraph.sweeps.failures import DATA, KILLED
from facegraph.sweeps.manifest import Job, read_sweep
from facegraph.sweeps.status import read_failure, read_progress
from tests.helpers.crops import write_crops

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

EPOCHS = 30
"""Long enough to be stopped in the middle."""
TINY = (
    "trainer=cpu", f"trainer.max_epochs={EPOCHS}", "input_size=64", "data.batch_size=4", "data.val_fraction=0.2",
    "data.num_workers=0", "dataset=crops", "dataset.scheme.name_or_path=ibug68",
)  # fmt: skip
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
LOCALLY = ("hydra/launcher=local", "hydra.launcher.cpu_jobs=2")


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *overrides]


def sweep(environment: Mapping[str, str], folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(f"sweep_dir={folder}", *overrides),
        env=dict(environment),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def jobs_of(folder: Path) -> dict[str, Job]:
    """Jobs by row and seed."""
    return {f"{job.row} {job.seed}": job for table in read_sweep(folder) for job in table.jobs}


def assert_same_results(one: Path, other: Path) -> None:
    assert RunResult.read(one).metrics == RunResult.read(other).metrics
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / "predictions.parquet") for f in (one, other)), check_exact=True)


def wait_for(true: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def in_the_middle(folder: Path) -> bool:
    """Whether a job has trained some epochs; fails where it is too late."""
    progress = read_progress(folder)
    assert progress is None or progress.epoch < EPOCHS - 5, f"{folder} was not caught in time"
    return progress is not None and progress.epoch >= 3


def slurm_number(folder: Path) -> str:
    return str(json.loads((folder / "slurm.json").read_text())["id"])


def called(environment: Mapping[str, str], *words: str) -> bool:
    return subprocess.run(words, env=dict(environment), capture_output=True, check=False).returncode == 0


def call(environment: Mapping[str, str], *words: str) -> None:
    assert called(environment, *words), words


def state_of(environment: Mapping[str, str], number: str) -> str:
    words = ["squeue", "-h", "-r", "-o", "%T", "-j", number]
    return subprocess.run(words, env=dict(environment), capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crops(tmp_path_factory.mktemp("faces") / "crops")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, slurm: Mapping[str, str], faces: Path) -> Path:
    """Four rows, run by the local launcher."""
    folder = tmp_path_factory.mktemp("local") / "sweep"
    done = sweep(slurm, folder, *LOCALLY, f"dataset.root={faces}", "head=gcn,fc", "seed=0,1")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_sweep_equals_the_local_launchers(
    slurm: Mapping[str, str], undisturbed: Path, faces: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    done = sweep(slurm, folder, *ON_SLURM, f"dataset.root={faces}", "head=gcn,fc", "seed=0,1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 jobs are done" in done.stdout
    expected, found = jobs_of(undisturbed), jobs_of(folder)
    assert len(found) == 4
    for name, job in found.items():
        assert job.identity == expected[name].identity
        assert_same_results(job.folder(folder), expected[name].folder(undisturbed))


def test_stopped_killed_and_failing_jobs(
    slurm: Mapping[str, str], undisturbed: Path, faces: Path, tmp_path: Path
) -> None:
    """One job is told to leave, one is killed without a word, two have no data; the sweep ends, and goes on later."""
    folder, expected = tmp_path / "sweep", jobs_of(undisturbed)
    requeued, killed = (expected[f"head=gcn {seed}"].folder(folder) for seed in (0, 1))
    (tmp_path / "empty").mkdir()
    words = command(f"sweep_dir={folder}", *ON_SLURM, f"dataset.root={faces},{tmp_path / 'empty'}", "seed=0,1")
    with (tmp_path / "screen.txt").open("w") as screen:
        watching = subprocess.Popen(words, env=dict(slurm), cwd=tmp_path, stdout=screen, stderr=screen)
    try:
        wait_for(lambda: in_the_middle(requeued))
        number = slurm_number(requeued)
        call(slurm, "scancel", "--signal=USR2", number)  # what Slurm sends before the time limit
        wait_for(lambda: in_the_middle(killed))
        call(slurm, "scancel", "--signal=KILL", slurm_number(killed))
        wait_for(lambda: state_of(slurm, number) == "PENDING")
        call(slurm, "scontrol", "update", f"JobId={number}", "StartTime=now")  # else it waits for two minutes
        assert watching.wait(timeout=300) == 1
    finally:
        watching.kill()
    said = (tmp_path / "screen.txt").read_text()
    assert "1 of 4 jobs are done" in said
    assert (requeued / "job.log").read_text().count("===== attempt") == 2
    assert len(list(requeued.glob("log_from_*"))) == 1, "it did not resume"
    assert_same_results(requeued, expected["head=gcn 0"].folder(undisturbed))
    kinds = sorted(f.kind for p in (folder / "jobs").iterdir() if (f := read_failure(p)) is not None)
    assert kinds == sorted([KILLED, DATA, DATA])
    assert read_failure(killed).kind == KILLED  # type: ignore[union-attr]

    done = sweep(slurm, folder, *ON_SLURM, f"dataset.root={faces}", "seed=0,1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs in" in done.stdout
    assert "1 of them done already" in done.stdout
    assert_same_results(killed, expected["head=gcn 1"].folder(undisturbed))


def test_a_job_of_two_tasks(slurm: Mapping[str, str], tmp_path: Path) -> None:
    """Of a table, so that one row is enough."""
    folder = tmp_path / "sweep"
    ddp = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    table = ("sweeps=scc/table7_topk", "scale=smoke", "rows=[k3]", f"sweep_dir={folder}")
    words = [sys.executable, str(ROOT / "train.py"), *table, *ON_SLURM, *ddp]
    done = subprocess.run(words, env=dict(slurm), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = jobs_of(folder).values()
    trained = job.folder(folder)
    assert list((folder / "jobs").iterdir()) == [trained]
    assert "MEMBER: 2/2" in (trained / "process1.log").read_text()
    predictions = pd.read_parquet(trained / "predictions.parquet")
    assert predictions.groupby("checkpoint")["id"].agg(["size", "nunique"]).eq(8).all(axis=None), "every test face once"
    assert len(list(trained.glob("log*/metrics.csv"))) == 1
