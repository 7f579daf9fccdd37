"""train.py and eval.py as a user calls them, from another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.runs import ROOT, TinyRun, python


def test_a_mistake_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = python(ROOT / "train.py", "dataset=crops", "dataset.scheme.name_or_path=ibug68", folder=tmp_path)
    assert done.returncode == 1
    assert (
        "error: the setting 'dataset.root' has no value; give it on the command line: dataset.root=..." in done.stderr
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


def test_evaluation_from_the_folder_alone(tiny_run: TinyRun, tmp_path: Path) -> None:
    arguments = (f"run={tiny_run.folder}", "checkpoint=best", "num_workers=0", "trainer=cpu", "output_dir=again")
    done = python(ROOT / "eval.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    own = tiny_run.result.metrics["test"]["best"]
    assert again["metrics"]["test"]["best"]["nme"] == pytest.approx(own["nme"], abs=1e-6)
    assert again["provenance"]["overrides"] == list(arguments)
    for noise in ("litlogger", "litmodels", "LeafSpec", "FutureWarning"):
        assert noise not in done.stderr, noise
