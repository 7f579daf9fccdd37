"""train.py and eval.py as a user calls them, from another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from facegraph.runs.compose import compose
from facegraph.runs.configuration import refuse_mistyped
from facegraph.runs.train import make_absolute, train
from tests.helpers.crops import write_crops
from tests.helpers.runs import ROOT, TinyRun, evaluate_run, python, train_tiny


@pytest.mark.runs
def test_a_mistake_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = python(ROOT / "train.py", "dataset=crops", "dataset.scheme.name_or_path=ibug68", folder=tmp_path)
    assert done.returncode == 1
    assert (
        "error: the setting 'dataset.root' has no value; give it on the command line: dataset.root=..." in done.stderr
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.runs
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


@pytest.mark.usefixtures("no_pictures")
def test_another_folder_of_crops_takes_the_runs_scheme(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "root", "ibug68")
    run = train_tiny(tmp_path / "run", "dataset.scheme.name_or_path=ibug68")
    result = evaluate_run(run.folder, "dataset=crops", f"dataset.root={root}")
    assert (result.protocol.dataset, result.protocol.scheme) == ("crops", "ibug68")
    assert set(result.metrics["test"]["last"]["normalisers"]) == {"inter_ocular", "inter_pupil", "box"}


@pytest.mark.usefixtures("no_pictures")
def test_a_run_opens_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = write_crops(tmp_path / "root", "ibug68") / "annotations.csv"
    frame = pd.read_csv(csv)
    frame.loc[:3, "split"] = "val"
    frame.to_csv(csv, index=False)
    monkeypatch.chdir(tmp_path)
    crops = ("dataset=crops", "dataset.root=root", "dataset.scheme.name_or_path=ibug68")
    small = ("input_size=64", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=4", "data.val_fraction=0.2")
    run = train(compose([*crops, *small, "data.num_workers=0", "output_dir=run"]))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = evaluate_run(tmp_path / "run")
    assert again.metrics["test"]["last"]["nme"] == pytest.approx(run.metrics["test"]["last"]["nme"], abs=1e-6)
    for card in (run.protocol, again.protocol):
        assert (card.validation, card.train_faces, card.val_faces) == ("given as split 'val'", 10, 4)
        assert card.checkpoint_rule.endswith("lowest NME on validation faces given as split 'val'")


def test_a_scheme_s_name_is_one_whatever_the_working_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibug68").mkdir()
    (tmp_path / "mine.yaml").touch()
    cfg = compose(["dataset=crops", "dataset.root=ibug68", "dataset.scheme.name_or_path=ibug68"])
    make_absolute(cfg)
    assert cfg.dataset.scheme.name_or_path == "ibug68"
    assert cfg.dataset.root == str(tmp_path / "ibug68")
    cfg.dataset.scheme.name_or_path = "mine.yaml"
    make_absolute(cfg)
    assert cfg.dataset.scheme.name_or_path == str(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "arguments", "quoted"),
    [
        ("train", ["dataset=crops", "dataset.root=/a=b"], """'dataset.root="/a=b"'"""),
        ("train", ["sweeps=scc/table7_topk", "dataset.root=/ü"], """'dataset.root="/ü"'"""),
        ("eval", ["run=/a=b"], """'run="/a=b"'"""),
    ],
)
def test_an_override_that_needs_quotes_is_named_with_them(name: str, arguments: list[str], quoted: str) -> None:
    with pytest.raises(SystemExit) as caught:
        refuse_mistyped(arguments, name)
    said = str(caught.value)
    assert said.startswith(f"error: the override {arguments[-1]} cannot be read")
    assert quoted in said
