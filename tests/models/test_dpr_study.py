"""facegraph bench frames: what a trained DPR loses by its frames and by batch norm's running means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.models.dpr.study.frames import bench_frames
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run
from facegraph.runs.evaluate import OpenedRun, open_run
from tests.helpers.runs import TinyRun, train_tiny

pytestmark = [pytest.mark.usefixtures("no_pictures"), pytest.mark.runs]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    small = ("model=dpr", "loss=dpr", "normalise=signed", "model.global_size=64", "model.part_size=32")
    return train_tiny(tmp_path_factory.mktemp("dpr") / "run", *small)


def opened(folder: Path) -> OpenedRun:
    offer_data_of_run(folder)
    return open_run(compose([f"run={folder}", "num_workers=0"], "eval"))


def test_its_test_error_is_the_run_s_own_and_true_frames_are_true(run: TinyRun) -> None:
    found = bench_frames(opened(run.folder), 100)
    assert [(row.split, row.faces) for row in found[::4]] == [("train", 16), ("validation", 4), ("test", 9)]
    by_choice = {(row.split, row.statistics, row.frames): row for row in found}
    own = by_choice["test", "running", "predicted"]
    assert own.stages[-1] == pytest.approx(run.result.metrics["test"]["last"]["nme"], rel=1e-4)
    assert own.reinit > 0.01
    for split in ("train", "validation", "test"):
        true = by_choice[split, "running", "true"]
        assert true.reinit == 0
        assert true.stages != by_choice[split, "running", "predicted"].stages
        assert by_choice[split, "batch", "predicted"].stages != by_choice[split, "running", "predicted"].stages


def test_the_model_stays_as_it_is(run: TinyRun) -> None:
    trained = opened(run.folder)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    first = bench_frames(trained, 5)
    assert [row.stages for row in bench_frames(trained, 5) if row.split == "test"] == [
        row.stages for row in first if row.split == "test"
    ]
    after = trained.model.state_dict()
    assert before.keys() == after.keys()
    assert all((after[name] == value).all() for name, value in before.items())


def test_the_command_prints_a_table_or_json(run: TinyRun) -> None:
    shown = CliRunner().invoke(app, ["bench", "frames", str(run.folder), "--faces", "4"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown.stdout
    plain = CliRunner().invoke(app, ["bench", "frames", str(run.folder), "--faces", "4", "--json"])
    assert {row["split"] for row in json.loads(plain.stdout)} == {"train", "validation", "test"}


def test_another_model_and_no_faces_are_refused(tiny_run: TinyRun, run: TinyRun) -> None:
    other = CliRunner().invoke(app, ["bench", "frames", str(tiny_run.folder)])
    assert other.exit_code == 1
    assert "bench frames needs a run of model=dpr" in " ".join(other.output.split())
    none = CliRunner().invoke(app, ["bench", "frames", str(run.folder), "--faces", "0"])
    assert "--faces is 0" in none.output
