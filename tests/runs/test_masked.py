"""A training whose annotations lack landmarks, from the csv to the numbers and what is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.errors import DataError
from facegraph.records import predictions_of, read_predictions
from facegraph.runs.compose import compose
from facegraph.runs.train import train
from tests.helpers.crops import write_crops
from tests.helpers.runs import TINY, TinyRun, evaluate_run

FACES = [*TINY, "experiment=crops", "dataset.scheme.name_or_path=ibug68", "box=landmarks", "head=fc", "augment=light"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Every second face lacks six landmarks; the eyes' corners are there."""
    root = write_crops(tmp_path_factory.mktemp("masked") / "faces", train=16, test=6)
    frame = pd.read_csv(root / "annotations.csv")
    for row in range(0, len(frame), 2):
        numbers = (np.arange(6) * 5 + row) % 36
        frame.loc[row, [f"{axis}{i}" for i in numbers for axis in "xy"]] = -1.0
    frame.to_csv(root / "annotations.csv", index=False)
    folder = root.parent / "run"
    given = [*FACES, f"dataset.root={root}", "dataset.missing=mask", "trainer.max_epochs=1", f"output_dir={folder}"]
    return TinyRun(folder, train(compose(given)))


def test_errors_are_means_over_the_landmarks_that_are_there(run: TinyRun) -> None:
    frame = read_predictions(run.folder)
    faces = predictions_of(frame[frame["checkpoint"] == "last"])
    missing = np.isnan(faces.truth).all(axis=-1)
    assert missing.sum(axis=1).tolist() == [6, 0] * 3
    distances = np.linalg.norm(faces.prediction - faces.truth, axis=-1) / faces.norm_distances["inter_ocular"][:, None]
    expected = np.nanmean(distances, axis=1)
    assert run.result.metrics["test"]["last"]["nme"] == pytest.approx(expected.mean(), rel=1e-5)
    per_landmark = run.result.metrics["test"]["last"]["per_landmark"]
    np.testing.assert_allclose(np.array(per_landmark, dtype=float), np.nanmean(distances, axis=0), rtol=1e-4)
    card = run.result.protocol
    assert card.partly_labelled["test"] == 3
    assert card.partly_labelled["train"] + card.partly_labelled.get("val", 0) == 8


def test_what_a_checkpoint_knows_of_shapes_is_finite(run: TinyRun) -> None:
    for name, tensor in run.checkpoint()["state_dict"].items():
        assert torch.isfinite(tensor).all(), name


def test_it_is_scored_compared_and_rescored_alike(run: TinyRun, tmp_path: Path) -> None:
    again = evaluate_run(run.folder, f"output_dir={tmp_path / 'again'}")
    nme = run.result.metrics["test"]["last"]["nme"]
    assert again.metrics["test"]["last"]["nme"] == pytest.approx(nme, rel=1e-4)
    runner = CliRunner()
    done = runner.invoke(app, ["rescore", str(run.folder), "--norm", "inter_ocular", "--json"])
    assert done.exit_code == 0, done.output
    assert f"{nme:.6f}"[:7] in done.output
    done = runner.invoke(
        app, ["compare", str(run.folder), str(tmp_path / "again"), "--out", str(tmp_path / "compared")]
    )
    assert done.exit_code == 0, done.output


def test_without_a_choice_it_does_not_start(run: TinyRun, tmp_path: Path) -> None:
    root = run.folder.parent / "faces"
    with pytest.raises(DataError, match="marked as missing"):
        train(compose([*FACES, f"dataset.root={root}", f"output_dir={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()
