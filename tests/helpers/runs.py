"""Trainings of a second or two."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from facegraph.records import RunResult
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run
from facegraph.runs.evaluate import evaluate
from facegraph.runs.train import train

ROOT = Path(__file__).resolve().parents[2]

TINY_DATA = ("dataset.train_size=20", "dataset.test_size=9", "dataset.image_size=64")
TINY = (
    "trainer=cpu",
    "trainer.max_epochs=2",
    "input_size=64",
    "data.batch_size=8",
    "data.val_fraction=0.2",
    "data.num_workers=0",
)
"""Two epochs of two batches, four faces for validation."""


@dataclass(frozen=True)
class TinyRun:
    folder: Path
    result: RunResult

    def checkpoint(self, which: str = "last") -> dict[str, Any]:
        return torch.load(self.folder / "checkpoints" / f"{which}.ckpt", weights_only=True)


def tiny_overrides(folder: Path, *overrides: str) -> list[str]:
    """Overrides of a small run on drawn faces; later ones win."""
    return [*TINY, *TINY_DATA, f"output_dir={folder}", *overrides]


def tiny_config(folder: Path, *overrides: str) -> DictConfig:
    return compose(tiny_overrides(folder, *overrides))


def train_tiny(folder: Path, *overrides: str) -> TinyRun:
    return TinyRun(folder, train(tiny_config(folder, *overrides)))


def resume(folder: Path) -> TinyRun:
    return TinyRun(folder, train(compose([f"resume={folder}"])))


def evaluate_run(run: Path, *overrides: str) -> RunResult:
    """What `python eval.py run=...` does, in this process; the data set's settings are those of the run."""
    offer_data_of_run(run)
    return evaluate(compose([f"run={run}", "trainer=cpu", "num_workers=0", *overrides], config_name="eval"))


def ways_to_open(run: Path, new: Path) -> tuple[Callable[[], object], ...]:
    """All that reads a run's last checkpoint: scoring, going on, a run in the folder `new` that starts from it."""
    return (
        lambda: evaluate_run(run),
        lambda: resume(run),
        lambda: train_tiny(new, f"init_from={run}"),
    )


def environment() -> dict[str, str]:
    """For a process of its own: as many threads as the tests themselves have, so that sums come out the same."""
    threads = str(torch.get_num_threads())
    variables = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    variables.pop("FACEGRAPH_OUTPUT_DIR", None)
    return variables


def python(*arguments: str | Path, folder: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository from another folder."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
