"""Runs of a model that may stop early: what they record of it, thresholds of an evaluation, what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from facegraph.errors import ConfigError
from facegraph.records import RunResult, predictions_of, read_predictions
from facegraph.reports.table.marks import confidence_table
from tests.helpers.runs import TinyRun, evaluate_run, train_tiny

pytestmark = pytest.mark.runs

CASCADE = ("model=musica", "loss=musica", "normalise=whole_image", "model.hidden=16", "model.channels=4")


@pytest.fixture(scope="module")
def cascade_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Trained so that every face is done at once and none is reported as failed."""
    thresholds = ("model.quit_threshold=1e6", "model.fail_threshold=1e6", "trainer.max_epochs=1")
    return train_tiny(tmp_path_factory.mktemp("cascade") / "run", *CASCADE, *thresholds)


def evaluated(run: TinyRun, folder: Path, *overrides: str) -> RunResult:
    return evaluate_run(run.folder, f"output_dir={folder}", *overrides)


def test_what_a_run_records(cascade_run: TinyRun) -> None:
    card, test = cascade_run.result.protocol, cascade_run.result.metrics["test"]["last"]
    assert card.model_facts == {"quit_threshold": 1e6, "fail_threshold": 1e6}
    assert test["confidence"]["mean_iterations"] == 1
    assert test["confidence"]["reported_failures"] == 0
    assert "failure_auroc@0.10" in test["confidence"]
    faces = predictions_of(read_predictions(cascade_run.folder).query("checkpoint == 'last'"))
    assert "predicted_error" in faces.said
    assert "iterations" in faces.said
    assert "failed" in faces.said
    assert len(set(faces.said["predicted_error"].tolist())) > 1
    assert faces.said["iterations"].tolist() == [1] * 9
    assert faces.said["failed"].tolist() == [False] * 9
    labels = list(confidence_table(cascade_run.result).columns[0].cells)
    assert labels[-2:] == ["mean iterations", "share reported as failed"]


@pytest.mark.usefixtures("no_pictures")
def test_an_evaluation_with_other_thresholds(cascade_run: TinyRun, tmp_path: Path) -> None:
    as_trained = evaluated(cascade_run, tmp_path / "same")
    assert as_trained.protocol == cascade_run.result.protocol
    whole = evaluated(cascade_run, tmp_path / "whole", "model.quit_threshold=never", "model.fail_threshold=1e-9")
    found = whole.metrics["test"]["last"]["confidence"]
    assert whole.protocol.model_facts == {"fail_threshold": 1e-9}
    assert found["mean_iterations"] == 3
    assert found["reported_failures"] > 0
    silent = evaluated(cascade_run, tmp_path / "silent", "model.fail_threshold=never")
    assert "reported_failures" not in silent.metrics["test"]["last"]["confidence"]
    # what a black image would be predicted has no part in it
    assert as_trained.provenance.macs == whole.provenance.macs == cascade_run.result.provenance.macs


@pytest.mark.usefixtures("no_pictures")
def test_two_passes_cost_twice(cascade_run: TinyRun, tmp_path: Path) -> None:
    once = cascade_run.result.provenance
    twice = evaluated(cascade_run, tmp_path / "twice", "test_time_flip=true")
    assert once.macs is not None
    assert twice.provenance.macs == 2 * once.macs
    assert twice.metrics["test"]["last"]["confidence"]["mean_iterations"] == 1
    assert twice.metrics["test"]["last"]["confidence"]["reported_failures"] == 0


@pytest.mark.parametrize("threshold", ["model.quit_threshold=0.05", "model.fail_threshold=never"])
def test_another_model_has_no_such_setting(tiny_run: TinyRun, tmp_path: Path, threshold: str) -> None:
    with pytest.raises(ConfigError, match=r"has no such setting.*Leave"):
        evaluated(tiny_run, tmp_path / "eval", threshold)


def test_what_is_no_threshold_is_refused(cascade_run: TinyRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quit_threshold"):
        evaluated(cascade_run, tmp_path / "eval", "model.quit_threshold=soon")
