"""facegraph rescore: metrics again from predictions, by other distances, thresholds and subsets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.errors import ConfigError, RunError
from facegraph.metrics.functional import auc, failure_rate, nme
from facegraph.records import PREDICTIONS_FILE, RESULT_FILE, RunResult, predictions_of, read_predictions
from facegraph.reports.compare.rescoring import rescore
from tests.helpers.sweeps import SCHEME, drawn_errors, write_run, write_sweep


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rescored") / "run"
    write_run(folder, drawn_errors(0.05))
    return folder


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rescore", *(str(a) for a in arguments)])


def test_the_run_s_own_protocol_gives_its_result(run: Path) -> None:
    summary = RunResult.read(run).metrics["test"]
    for checkpoint in ("last", "best"):
        found = rescore(run, thresholds=[0.1], checkpoint=checkpoint)
        assert found.normaliser == "inter_ocular"
        assert found.faces == 60
        assert dict(found.measures) == pytest.approx(
            {k: summary[checkpoint][k] for k in ("nme", "fr@0.10", "auc@0.10")}
        )


def test_another_normaliser_threshold_and_subset(run: Path) -> None:
    frame = read_predictions(run)
    faces = predictions_of(frame[frame["checkpoint"] == "last"])
    truth, counted = faces.truth.astype(np.float64), faces.attributes["occlusion"]
    errors = nme(faces.prediction.astype(np.float64), truth, SCHEME.distance("inter_pupil", truth))[counted]
    found = rescore(run, "inter_pupil", [0.08, 0.05], subset="occlusion")
    assert list(found.measures) == ["nme", "fr@0.08", "auc@0.08", "fr@0.05", "auc@0.05"]
    assert found.faces == 20
    assert found.measures["nme"] == pytest.approx(errors.mean(), rel=1e-6)
    assert found.measures["fr@0.08"] == pytest.approx(failure_rate(errors, 0.08))
    assert found.measures["auc@0.05"] == pytest.approx(auc(errors, 0.05), rel=1e-5)
    ends = found.intervals["nme"]
    assert ends is not None
    assert ends.low < errors.mean() < ends.high


def test_a_pair_of_landmarks_is_a_normaliser(run: Path) -> None:
    # 36 and 45 are the outer eye corners, whose distance is inter_ocular
    assert rescore(run, "36,45").measures["nme"] == pytest.approx(
        rescore(run, "inter_ocular").measures["nme"], rel=1e-6
    )
    assert rescore(run, "45,36").measures == rescore(run, "36,45").measures
    apart = rescore(run, "0,16").measures["nme"]
    frame = predictions_of(read_predictions(run).query("checkpoint == 'last'"))
    distance = np.linalg.norm(frame.truth[0, 0] - frame.truth[0, 16])
    # every face is the same shape, 50 px between the eye corners
    assert apart == pytest.approx(0.05 * 50 / distance, rel=1e-4)


@pytest.mark.parametrize("name", ["interpupil", "inter-pupil", "Inter_Pupil"])
def test_spellings_of_a_name(run: Path, name: str) -> None:
    assert rescore(run, name).measures == rescore(run, "inter_pupil").measures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normaliser": "diagonal"}, r"no normaliser 'diagonal'; it has inter_ocular, inter_pupil.*0 to 67"),
        ({"normaliser": "3,68"}, "'3,68' must be two different landmarks"),
        ({"normaliser": "3,3"}, "'3,3' must be two different landmarks"),
        ({"subset": "pose"}, "no subset 'pose'; its faces have: occlusion, blur"),
        ({"subset": "blur"}, "no test face .* subset 'blur'"),
        ({"checkpoint": "first"}, "checkpoint 'first'; it has best, last"),
        ({"thresholds": [0.0]}, "t a fraction above zero"),
    ],
)
def test_what_the_file_cannot_give_is_refused(run: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rescore(run, **options)


def test_a_folder_without_predictions(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read predictions"):
        rescore(tmp_path)


def test_predictions_alone_are_enough(run: Path, tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_FILE).write_bytes((run / PREDICTIONS_FILE).read_bytes())
    assert not (tmp_path / RESULT_FILE).exists()
    assert rescore(tmp_path / PREDICTIONS_FILE).measures == rescore(run).measures


def test_the_command_prints_json_only(run: Path) -> None:
    done = call(run, "--norm", "interpupil", "--threshold", 0.08, "--json")
    assert done.exit_code == 0, done.output
    (entry,) = json.loads(done.stdout)
    assert entry["normaliser"] == "inter_pupil"
    assert entry["nme"] == rescore(run, "inter_pupil").measures["nme"]
    assert entry["intervals"]["auc@0.08"][0] < entry["auc@0.08"] < entry["intervals"]["auc@0.08"][1]


def test_the_command_takes_a_sweep_and_prints_a_line_per_job(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k1", 0): "failed", ("k5", 1): "partial"})
    done = call(tmp_path, "--threshold", 0.08)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert all(label in text for label in ("k1, seed 1", "k3, seed 0", "k3, seed 1", "k5, seed 0", "by inter_ocular"))
    assert "k1, seed 0" not in text
    assert "4.70" in text  # NME of k3 with seed 0


def test_two_thresholds_fit_a_narrow_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = call(run, "--threshold", 0.08, "--threshold", 0.1)
    assert "…" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    for metric in ("NME", "FR@8", "AUC@8", "FR@10", "AUC@10"):
        (line,) = [words for words in lines if metric in words]
        value, low, high = (float(word.strip("[],│")) for word in line if re.search(r"\d\.\d", word))
        assert low <= value <= high
    assert str(run)[:8] in done.stdout
    assert "Metrics in %, checkpoint last" in done.stdout


@pytest.mark.parametrize("threshold", ["-0.1", "0", "8"])
def test_a_threshold_that_is_no_fraction_names_its_option(run: Path, threshold: str) -> None:
    done = call(run, f"--threshold={threshold}")
    assert done.exit_code == 1
    assert f"--threshold is {threshold}; give a fraction" in done.stderr


def test_the_command_ends_with_a_message(run: Path) -> None:
    done = call(run, "--norm", "diagonal")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.output
