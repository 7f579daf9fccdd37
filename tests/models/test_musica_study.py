"""facegraph bench quit: the result of a threshold follows from one record, and the model does what that says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.landmarks import SCHEMES
from facegraph.models.musica.model import MuSiCa
from facegraph.models.musica.study import quitting
from facegraph.models.musica.study.bench import calibrate
from facegraph.models.musica.study.cascade import macs_by_iterations
from facegraph.models.musica.study.quitting import (
    ALWAYS,
    Calibration,
    QuitPoint,
    RealRun,
    binned,
    plot_quitting,
    quit_table,
)
from facegraph.models.musica.study.stages import (
    StageRecord,
    automatic_thresholds,
    chosen_thresholds,
    fixed_points,
    iterations_until,
    quit_point,
)
from facegraph.records import predictions_of
from facegraph.structures import ShapeStatistics
from tests.helpers.crops import write_crops
from tests.helpers.runs import TinyRun, train_tiny

PREDICTED = np.array([[0.02, 0.01, 0.01], [0.05, 0.03, 0.01], [0.09, 0.06, 0.01], [np.nan, np.nan, np.nan]])
ERRORS = np.array([[0.03, 0.02, 0.02], [0.06, 0.04, 0.03], [0.10, 0.08, 0.07], [0.20, 0.18, 0.16]])
RECORD = StageRecord(ERRORS, PREDICTED, ERRORS)
MACS = (10, 20, 30)


def test_a_face_quits_at_the_first_error_below_the_threshold() -> None:
    assert iterations_until(PREDICTED, None).tolist() == [3, 3, 3, 3]
    assert iterations_until(PREDICTED, 0.04).tolist() == [1, 2, 3, 3]
    assert iterations_until(PREDICTED, 0.05).tolist() == [1, 2, 3, 3], "not below the threshold"
    assert iterations_until(PREDICTED, ALWAYS).tolist() == [1, 1, 1, 3], "nobody knows how wrong the last face is"
    assert iterations_until(PREDICTED, -1.0).tolist() == [3, 3, 3, 3]


def test_a_point_has_the_error_and_cost_of_where_faces_stopped() -> None:
    point = quit_point(RECORD, RECORD, MACS, 0.04)
    assert point.nme == point.val_nme == pytest.approx((0.03 + 0.04 + 0.07 + 0.16) / 4)
    assert (point.iterations, point.macs, point.shares) == (2.25, 22.5, (0.25, 0.25, 0.5))
    assert quit_point(RECORD, None, MACS, None).val_nme is None


def test_fixed_points_are_the_columns() -> None:
    points = fixed_points(RECORD, RECORD, MACS)
    assert [p.nme for p in points] == pytest.approx(ERRORS.mean(axis=0).tolist())
    assert [p.val_nme for p in points] == pytest.approx([p.nme for p in points])
    assert [(p.iterations, p.macs) for p in points] == [(1, 10), (2, 20), (3, 30)]


def test_thresholds_are_chosen_for_the_loss_that_they_cost() -> None:
    errors = np.array([[0.0502, 0.05], [0.0520, 0.05], [0.08, 0.05]])
    record = StageRecord(errors, np.array([[0.02, 0.0], [0.04, 0.0], [0.06, 0.0]]), errors)
    # never: 0.05; 0.03 costs 0.13 %, 0.05 costs 1.5 %, 0.07 costs 21 %
    assert chosen_thresholds(record, [None, 0.03, 0.05, 0.07]) == {0.03: "1 %", 0.05: "2 %, 5 %"}


def test_automatic_thresholds_are_what_was_predicted_before_the_end() -> None:
    rng = np.random.default_rng(0)
    errors, predicted = rng.uniform(size=(50, 3)), np.stack([*rng.uniform(1, 2, (2, 50)), np.full(50, 9.0)], axis=1)
    record = StageRecord(errors, predicted, errors)
    first, *between, last = automatic_thresholds(record)
    assert (first, last) == (None, ALWAYS)
    assert all(1 < t < 2 for t in between)
    assert between == sorted(set(between))
    assert not np.isin(between, predicted).any()
    assert all(np.abs(predicted - t).min() < np.ptp(predicted[:, :2]) / 10 for t in between)
    alike = StageRecord(errors, np.full((50, 3), 0.3), errors)
    assert automatic_thresholds(alike) == [None, ALWAYS]


@given(
    arrays(np.float64, (12, 3), elements=st.floats(0, 1)), st.floats(0.01, 1.0), st.floats(0.01, 1.0)
)  # fmt: skip
def test_a_higher_threshold_never_takes_longer(predicted: np.ndarray, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert (iterations_until(predicted, high) <= iterations_until(predicted, low)).all()


def test_calibration_is_of_the_last_iteration() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.02, 0.15, 200)
    noise = rng.uniform(size=200)
    predicted, own = np.stack([noise, 2 * true], axis=1), np.stack([noise, 2.1 * true], axis=1)
    found = calibrate(StageRecord(np.stack([true, true], axis=1), predicted, own), (0.05, 0.10))
    assert found.rank_correlation[1] == pytest.approx(1.0)
    assert abs(found.rank_correlation[0]) < 0.3
    assert found.auroc == {0.05: pytest.approx(1.0), 0.10: pytest.approx(1.0)}
    np.testing.assert_array_equal(found.own, own[:, 1], "drawn against what is predicted: both in one unit")


@pytest.mark.any_processor
def test_multiply_adds_by_iteration_are_those_of_the_spec() -> None:
    scheme = SCHEMES["wflw98"]
    model = MuSiCa(64, ShapeStatistics(torch.full((98, 2), 0.5), torch.eye(98), scheme))
    one = 49 * 337_408 + (256 * 49 + 512) * 512 + 512 * 197
    model.quit_threshold = ALWAYS
    assert macs_by_iterations(model, 64) == (one, 2 * one, 3 * one)
    assert model.quit_threshold == ALWAYS


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A small MuSiCa of three iterations, hardly trained."""
    small = ("model.patch_stride=14", "model.channels=8", "model.hidden=32", "optimizer.lr=1e-3")
    limits = "dataset.thresholds=[0.05,0.2]"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_ced", "plot_per_landmark", "plot_graph", "plot_retention"):
            patch.setattr(f"facegraph.runs.pictures.{name}", lambda *args, **kwargs: None)
        patch.setattr("facegraph.viz.faces.worst_faces", lambda *args, **kwargs: None)
        folder = tmp_path_factory.mktemp("musica") / "run"
        return train_tiny(folder, "model=musica", "loss=musica", "normalise=whole_image", limits, *small)


def errors_of_the_loss(folder: Path) -> np.ndarray:
    """(M,) what loss=musica trains of the test faces, from what the run itself wrote; alike in image and crop px."""
    faces = pd.read_parquet(folder / "predictions.parquet")
    found = predictions_of(faces[faces["checkpoint"] == "last"])
    left, right = (found.truth[:, list(group)].mean(axis=1) for group in SCHEMES["wflw98"].normalisers["inter_ocular"])
    missed = np.abs(found.prediction - found.truth).sum(axis=-1).mean(axis=-1)
    return missed / np.abs(right - left).sum(axis=-1)


def test_the_command_measures_a_run(cascade: TinyRun, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in cascade.folder.rglob("*")}
    arguments = ["bench", "quit", str(cascade.folder), "--out", str(tmp_path / "quit")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {p: p.stat().st_mtime_ns for p in cascade.folder.rglob("*")} == before
    assert sorted(p.name for p in (tmp_path / "quit").iterdir()) == [
        "attention.png", "quit.json", "quit_faces.parquet", "quitting.png", "quitting.svg",
    ]  # fmt: skip
    assert json.loads((tmp_path / "quit" / "quit.json").read_text()) == found
    assert (found["test_faces"], found["validation_faces"], found["checkpoint"]) == (9, 4, "last")
    assert list(found["calibration"]["auroc"]) == ["0.05", "0.2"], "the data set's own limits of a failure"
    assert (found["run_precision"], found["run_test_time_flip"]) == ("32-true", False)
    never, *_, always = found["points"]
    assert (never["threshold"], never["iterations"], never["macs"]) == (None, 3.0, found["macs"][-1])
    test = cascade.result.metrics["test"]["last"]["nme"]
    assert never["nme"] == pytest.approx(test, rel=1e-4)
    assert never["val_nme"] == pytest.approx(cascade.result.metrics["val"]["last"]["nme"], rel=1e-4)
    assert (always["iterations"], always["shares"]) == (1.0, [1.0, 0.0, 0.0])
    simulated = {point["threshold"]: point for point in found["points"]}
    assert len(found["real"]) >= 3
    faces = pd.read_parquet(tmp_path / "quit" / "quit_faces.parquet")
    predicted = faces.loc[faces["split"] == "test", ["predicted_1", "predicted_2"]].to_numpy()
    for run in found["real"]:
        limit = math.nan if run["threshold"] is None else run["threshold"]
        # where rounding decides, a face in a smaller batch may stop elsewhere
        decided_by_rounding = int((np.abs(predicted - limit) < 1e-6).any(axis=1).sum())
        assert run["differing"] <= decided_by_rounding
        if decided_by_rounding == 0:
            assert run["nme"] == pytest.approx(simulated[run["threshold"]]["nme"], rel=1e-4)
            assert run["iterations"] == pytest.approx(simulated[run["threshold"]]["iterations"])
        assert set(run["seconds"]) == {"1", "32"}
        assert min(run["seconds"].values()) > 0
    np.testing.assert_allclose(
        faces.loc[faces["split"] == "test", "own_error_3"], errors_of_the_loss(cascade.folder), rtol=1e-4
    )
    seen = faces[faces["split"] == "validation"][["predicted_1", "predicted_2"]].to_numpy()
    chosen = [p["threshold"] for p in found["points"][1:-1]]
    assert seen.min() <= min(chosen) <= max(chosen) <= seen.max(), "thresholds come from validation faces"

    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "nothing is overwritten" in again.output


@pytest.mark.any_processor
def test_given_thresholds_and_fewer_faces(cascade: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "quitting.png").write_text("of a measurement that was killed")
    arguments = ["bench", "quit", str(cascade.folder), "checkpoint=best", "--out", str(tmp_path), "--faces", "3"]
    done = CliRunner().invoke(app, [*arguments, "--thresholds", "0.5,0.001"])
    assert done.exit_code == 0, done.output
    assert "3 test and 3 validation faces" in done.stdout
    points = json.loads((tmp_path / "quit.json").read_text())["points"]
    assert [point["threshold"] for point in points] == [None, 0.001, 0.5]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--thresholds", "0.05,x"], ["0.05,x"]),
        (["--thresholds", "-0.1"], ["-0.1", "between zero and one"]),
        (["--thresholds", "4,5"], ["[4.0, 5.0]", "as fractions: 0.04"]),
        (["precision=bf16-mixed"], ["bf16-mixed", "32-true"]),
        (["--faces", "1"], ["--faces is 1"]),
        (["checkpoint=foo"], ["foo", "last or best"]),
    ],
)
def test_what_cannot_be_measured_is_refused(cascade: TinyRun, arguments: list[str], named: list[str]) -> None:
    done = CliRunner().invoke(app, ["bench", "quit", str(cascade.folder), *arguments])
    assert done.exit_code == 1, done.output
    assert all(part in " ".join(done.output.split()) for part in named), done.output
    assert not (cascade.folder / "quit").exists()


@pytest.mark.any_processor
def test_a_test_of_other_faces_takes_thresholds_from_the_runs_own(
    cascade: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plot_quitting", "plot_attention"):
        monkeypatch.setattr(f"facegraph.models.musica.study.bench.{name}", lambda *args: None)
    root = write_crops(tmp_path / "root", "wflw98", test=4)
    rows = pd.read_csv(root / "annotations.csv")
    rows[rows["split"] == "test"].to_csv(root / "annotations.csv", index=False)
    given = [f"dataset.root={root}", "test_time_flip=true", "model.quit_threshold=0.5"]
    arguments = ["bench", "quit", str(cascade.folder), "dataset=crops", *given]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for part in ("4 test faces of crops and 4 validation faces of synthetic", "own test: over mirror images too"):
        assert part in said
    found = json.loads((tmp_path / "a" / "quit.json").read_text())
    assert (found["dataset"], found["validation_dataset"], found["test_time_flip"]) == ("crops", "synthetic", False)
    assert found["run_test_time_flip"] is True
    assert [run["differing"] for run in found["real"]] == [0] * len(found["real"])
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "b"), "--thresholds", "0.1"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "b" / "quit.json").read_text())["validation_faces"] == 0


def test_a_folder_that_cannot_be_written_is_refused_first(cascade: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["bench", "quit", str(cascade.folder), "--out", str(tmp_path / "file" / "quit")])
    assert done.exit_code == 1
    assert "Choose another --out" in " ".join(done.output.split())
    assert "recording" not in done.output


def test_another_model_cannot_quit(tiny_run: TinyRun) -> None:
    done = CliRunner().invoke(app, ["bench", "quit", str(tiny_run.folder)])
    assert done.exit_code == 1
    for part in ("LandmarkRegressor", "model=musica"):
        assert part in done.output


def test_the_figure_shows_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list = []
    monkeypatch.setattr(quitting, "write_figure", lambda figure, path: figures.append(figure) or path)
    points = [
        QuitPoint(None, 0.04, 0.041, 3.0, 30e6, (0.0, 0.0, 1.0)),
        QuitPoint(0.05, 0.05, 0.050, 2.0, 20e6, (0.2, 0.6, 0.2), "5 %"),
        QuitPoint(ALWAYS, 0.06, 0.060, 1.0, 10e6, (1.0, 0.0, 0.0)),
    ]
    true = np.linspace(0.02, 0.2, 40)
    calibration = Calibration(true / 2, true, (0.5, 1.0), {0.08: 0.9, 0.10: float("nan")})
    plot_quitting(
        points, points, [RealRun(0.05, 0.05, 2.0, 0, {1: 0.1})], calibration, "inter_ocular", Path("x")
    )  # fmt: skip
    first, second, third = figures[0].axes
    by_error, _, chosen, real = first.lines
    np.testing.assert_allclose(by_error.get_xydata(), [[1, 6], [2, 5], [3, 4]])
    np.testing.assert_allclose(chosen.get_xydata(), [[2, 5]])
    np.testing.assert_allclose(real.get_xydata(), [[2, 5]])
    np.testing.assert_allclose(second.lines[0].get_xdata(), [10, 20, 30])
    np.testing.assert_allclose(third.collections[0].get_offsets(), 100 * np.stack([true / 2, true], axis=1))
    assert "0.900 at 8 %" in third.get_title()
    assert third.get_ylabel() == "Error as the training loss has it [%]"


def test_groups_are_of_equal_size() -> None:
    x = np.array([3.0, 1.0, 2.0, 4.0])
    parts = binned(x, 10 * x, 2)
    assert [part.tolist() for part in parts] == [[[1, 10], [2, 20]], [[3, 30], [4, 40]]]
    assert len(binned(x, x, 10)) == 4


def test_the_table_names_what_was_chosen() -> None:
    point = QuitPoint(0.05, 0.0512, None, 2.0, 20e6, (0.2, 0.6, 0.2), "5 %")
    table = quit_table([point], [point])
    cells = [list(column.cells) for column in table.columns]
    assert [column[0] for column in cells] == ["5", "5.120", "-", "2.00", "20.00 M", "20 60 20", "5 %"]
    assert cells[0][1] == "1 for all"
