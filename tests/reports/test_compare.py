"""facegraph compare: where one run beats another, with known answers."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.cli.faces_of_run import draw_pairs, open_source
from facegraph.errors import ConfigError, DataError, RunError
from facegraph.landmarks import SCHEMES
from facegraph.records import RunResult, prediction_frame, predictions_of, read_predictions, write_predictions
from facegraph.reports.compare.comparison import compare, face_table, landmark_table, read_scores
from facegraph.reports.compare.run_labels import labels_of, run_label
from facegraph.reports.compare.text import FACES, SHEET, differences_table, verdict, write_comparison
from facegraph.viz.faces import GREEN, RED, write_png
from facegraph.viz.pairs import pair_tile, write_pair_sheet
from tests.helpers.runs import TinyRun
from tests.helpers.sweeps import drawn_errors, write_run, write_sweep


def run_with(folder: Path, errors: np.ndarray, **card: object) -> Path:
    write_run(folder, errors, card=card)
    return folder


def moved(run: Path, folder: Path, factor: float) -> Path:
    """A finished run whose predictions lie `factor` as far from the truth as another's, in reversed order of faces."""
    result, frame = RunResult.read(run), read_predictions(run)
    faces = predictions_of(frame[frame["checkpoint"] == "last"])
    back = slice(None, None, -1)
    write_predictions(
        prediction_frame(
            faces.ids[back],
            faces.row[back],
            (faces.truth + factor * (faces.prediction - faces.truth))[back],
            faces.truth[back],
            {name: v[back] for name, v in faces.norm_distances.items()},
            {name: v[back] for name, v in faces.attributes.items()},
            "last",
        ),
        folder,
    )
    result.write(folder)
    (folder / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    return folder


def draw_dot(path: Path) -> Path:
    write_png(path, np.zeros((8, 8, 3), dtype=np.uint8))
    return path


def test_half_the_error_is_seen_face_by_face(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    result = compare(read_scores(a, "last"), read_scores(moved(a, tmp_path / "b", 0.5), "last"))
    everyone, occlusion = result.differences  # no face is in the subset blur
    assert (everyone.count, everyone.b_better, everyone.ties, everyone.a_better) == (60, 60, 0, 0)
    assert everyone.difference == pytest.approx(-0.03, abs=1e-6)
    assert everyone.low < -0.03 < everyone.high < 0
    assert everyone.p < 0.001
    assert (occlusion.name, occlusion.count) == ("occlusion", 20)
    np.testing.assert_allclose(result.b.point_errors, 0.5 * result.a.point_errors, atol=1e-5)
    assert verdict(result).startswith("B (b) is better than A (a): mean error 6.00 % and 3.00 %, difference -3.00")


def test_noise_is_not_called_a_difference(tmp_path: Path) -> None:
    errors = drawn_errors(0.05)
    noise = np.tile([0.001, -0.001], 30)
    a, b = run_with(tmp_path / "a", errors), run_with(tmp_path / "b", errors + noise)
    result = compare(read_scores(a, "last"), read_scores(b, "last"))
    assert (result.differences[0].b_better, result.differences[0].a_better) == (30, 30)
    assert "No difference" in verdict(result)


def test_equal_runs_are_ties(tmp_path: Path) -> None:
    a, b = (run_with(tmp_path / name, drawn_errors(0.05)) for name in "ab")
    everyone = compare(read_scores(a, "last"), read_scores(b, "last")).differences[0]
    assert (everyone.ties, everyone.p) == (60, 1.0)
    assert everyone.difference == pytest.approx(0.0, abs=1e-9)


def test_few_faces_have_no_verdict(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.05, count=5))
    result = compare(read_scores(a, "last"), read_scores(moved(a, tmp_path / "b", 0.5), "last"))
    assert np.isnan(result.differences[0].p)
    assert verdict(result).startswith("5 faces are too few for an interval or a test (below 10), so A (a) and B (b)")
    assert "nan" not in verdict(result)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(differences_table(result))
    assert re.search(r"-2\.50 - +- ", console.export_text())


def test_other_faces_are_refused(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.05))
    b = run_with(tmp_path / "b", drawn_errors(0.05), test_hash="f" * 12)
    with pytest.raises(DataError, match=r"test_hash 0123456789ab and ffffffffffff.*eval\.py"):
        compare(read_scores(a, "last"), read_scores(b, "last"))
    fewer = run_with(tmp_path / "c", drawn_errors(0.05)[:50])
    with pytest.raises(DataError, match=r"60 faces.*50 faces"):
        compare(read_scores(a, "last"), read_scores(fewer, "last"))


def test_wrong_checkpoint_and_normaliser_list_what_there_is(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.05))
    with pytest.raises(RunError, match="best, last"):
        read_scores(a, "final")
    with pytest.raises(ConfigError, match="no normaliser 'box'; it has inter_ocular, inter_pupil"):
        read_scores(a, "last", "box")
    # 36 and 45 are the outer eye corners, whose distance is inter_ocular
    np.testing.assert_allclose(read_scores(a, "last", "36,45").errors, read_scores(a, "last").errors, rtol=1e-5)
    assert read_scores(a, "last", "Inter-Pupil").normaliser == "inter_pupil"
    assert read_scores(a, "best").errors.mean() == pytest.approx(0.98 * read_scores(a, "last").errors.mean(), rel=1e-4)
    wider = read_scores(a, "last", "inter_pupil")
    assert wider.errors.mean() > 1.05 * read_scores(a, "last").errors.mean()
    with pytest.raises(DataError, match="inter_pupil"):
        compare(read_scores(a, "last"), wider)


def test_tables_by_face_and_landmark(tmp_path: Path) -> None:
    errors = drawn_errors(0.05)
    change = np.zeros(60)
    change[[7, 9]] = (-0.02, 0.03)
    a, b = run_with(tmp_path / "a", errors + 0.03), run_with(tmp_path / "b", errors + 0.03 + change)
    result = compare(read_scores(a, "last"), read_scores(b, "last"))
    table = face_table(result)
    assert table["id"].iloc[[0, -1]].tolist() == ["face_007", "face_009"]
    np.testing.assert_allclose(table["difference"].iloc[[0, -1]], [-0.02, 0.03], atol=1e-6)
    assert result.largest(2).tolist() == [9, 7]
    by_landmark = landmark_table(result)
    assert by_landmark["difference"].mean() == pytest.approx(0.01 / 60, abs=1e-7)
    assert (by_landmark["standard_error"] > 0).all()


def test_labels_of_sweep_rows_and_of_evaluations(tmp_path: Path) -> None:
    swept = write_sweep(tmp_path / "sweep", seeds=(0, 1))
    folder = swept.jobs[1].folder(tmp_path / "sweep")
    assert run_label(folder) == "k = 1, seed 1"
    assert run_label(folder / "eval" / "share0.2") == "k = 1, seed 1, share0.2"
    assert run_label(tmp_path / "plain") == "plain"
    assert labels_of(tmp_path / "x" / "run", tmp_path / "y" / "run") == ("x/run", "y/run")


def test_the_folder_holds_csv_and_faces(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    result = compare(read_scores(a, "last"), read_scores(moved(a, tmp_path / "b", 0.9), "last"))
    folder, note = write_comparison(result, tmp_path / "out", lambda path: (draw_dot(path), "a note"))
    assert note == "a note"
    assert {path.name for path in folder.iterdir()} == {FACES, SHEET, "landmarks.csv", "subsets.csv"}
    assert len(pd.read_csv(folder / FACES)) == 60


def test_csv_of_a_comparison_runs_nothing(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    result = compare(read_scores(a, "last"), read_scores(moved(a, tmp_path / "b", 0.9), "last"))
    result = replace(result, differences=tuple(replace(d, name=f"=1+{d.name}") for d in result.differences))
    folder, _ = write_comparison(result, tmp_path / "out", lambda path: (draw_dot(path), ""))
    assert pd.read_csv(folder / "subsets.csv").iloc[0, 0] == "'=1+all"


def test_both_halves_of_a_pair_show_the_same_crop() -> None:
    scheme = SCHEMES["ibug68"]
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 80, size=(68, 2))
    image = rng.integers(0, 255, size=(100, 100, 3), dtype=np.uint8)
    same = pair_tile(image, truth, truth, truth, scheme, 64)
    assert same.shape == (64, 130, 3)
    np.testing.assert_array_equal(same[:, :64], same[:, 66:])
    off = pair_tile(None, truth, truth + np.array([8.0, 0.0]), truth, scheme, 256)
    hidden, shown = (np.abs(half.astype(int) - GREEN).sum(-1).min() for half in (off[:, :256], off[:, 258:]))
    assert shown < 40 < hidden  # an exact prediction lies on the truth and covers it
    assert np.abs(off[:, 258:].astype(int) - RED).sum(-1).min() < 40


def test_a_sheet_needs_as_many_captions_as_faces(tmp_path: Path) -> None:
    points = np.zeros((1, 68, 2))
    with pytest.raises(DataError, match="'captions': 0"):
        write_pair_sheet(None, points, points, points, [], SCHEMES["ibug68"], tmp_path / "x.png")


def test_images_come_from_the_data_set_of_the_run(tmp_path: Path, tiny_run: TinyRun) -> None:
    other = moved(tiny_run.folder, tmp_path / "other", 0.5)
    scores = read_scores(tiny_run.folder, "last"), read_scores(other, "last")
    source, reason = open_source(scores[0])
    assert source is not None, reason
    path, note = draw_pairs(compare(*scores), tmp_path / SHEET)
    assert path.is_file()
    assert "without images" not in note
    changed = replace(scores[0].result, protocol=replace(scores[0].result.protocol, test_hash="f" * 12))
    assert open_source(replace(scores[0], result=changed))[0] is None  # other faces than those scored


def test_without_data_the_points_are_drawn_and_said_so(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    result = compare(read_scores(a, "last"), read_scores(moved(a, tmp_path / "b", 0.9), "last"))
    path, note = draw_pairs(result, tmp_path / SHEET)
    assert path.is_file()
    assert "Drawn without images" in note
    assert "names no data set" in note


def test_a_configuration_of_somebody_else_builds_nothing_foreign(tmp_path: Path) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    (a / "config.yaml").write_text("dataset:\n  _target_: os.system\n  command: 'true'\n", encoding="utf-8")
    source, reason = open_source(read_scores(a, "last"))
    assert source is None
    assert "os.system" in reason


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = run_with(tmp_path / "a", drawn_errors(0.06))
    b = moved(a, tmp_path / "b", 0.5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["compare", str(a), str(b)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "occlusion" in done.output
    assert "seed of the training is not covered" in " ".join(done.output.split())
    assert "names no data set" in " ".join(done.output.split())
    assert (tmp_path / "outputs" / "compare" / "a_b" / FACES).is_file()
    refused = CliRunner().invoke(app, ["compare", str(a), str(a)])
    assert refused.exit_code == 1
    assert not (tmp_path / "outputs" / "compare" / "a_a").exists()
    assert json.loads((b / "result.json").read_text())["schema_version"] == 3  # the runs stay as they were
