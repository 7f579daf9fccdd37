"""facegraph bench data: what it counts; no time is judged."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from facegraph.bench.data import bench_data
from facegraph.cli import app
from facegraph.errors import ConfigError

pytestmark = pytest.mark.any_processor

DRAWN = ("dataset.train_size=20", "dataset.test_size=1", "dataset.image_size=64", "data.val_fraction=0.2")
BATCHES = ("data.batch_size=8", "input_size=32")


def test_it_says_what_was_measured() -> None:
    threads = torch.get_num_threads()
    found = bench_data([*DRAWN, *BATCHES], (0, 1), seconds=0.05)
    assert (found.dataset, found.faces, found.input_size, found.batch_size) == ("synthetic", 16, 32, 8)
    assert [speed.workers for speed in found.speeds] == [0, 1]
    assert all(0 < speed.middle <= speed.best for speed in found.speeds)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("workers", "seconds", "named"),
    [((), 1.0, "[]"), ((-1,), 1.0, "[-1]"), ((0,), 0.0, "0.0"), ((0,), float("nan"), "nan")],
)
def test_numbers_that_are_none(workers: tuple[int, ...], seconds: float, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench_data(DRAWN, workers, seconds)
    assert named in str(caught.value)


def test_command() -> None:
    options = ["--workers", "0", "--seconds", "0.05"]
    done = CliRunner().invoke(app, ["bench", "data", *DRAWN, *BATCHES, *options])
    assert done.exit_code == 0, done.output
    assert "16 training faces, 32 px" in done.output
    assert "in the training process" in done.output
    done = CliRunner().invoke(app, ["bench", "data", *DRAWN, *BATCHES, *options, "--json"])
    assert json.loads(done.stdout)["speeds"][0]["workers"] == 0
    done = CliRunner().invoke(app, ["bench", "data", "--workers", "two"])
    assert done.exit_code == 1
    assert "two" in done.output
