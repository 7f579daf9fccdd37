"""What a training leaves behind and what eval.py makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from facegraph.errors import ConfigError, RunError
from facegraph.records import RunResult, read_predictions, summarise
from facegraph.runs.compose import compose
from facegraph.runs.folder import output_folder
from facegraph.runs.train import train
from tests.helpers.runs import TinyRun, evaluate_run

PICTURES = ("ced.png", "worst.png", "per_landmark.png", "graph.png")


def test_folder_holds_everything(tiny_run: TinyRun) -> None:
    for name in (*PICTURES, "result.json", "predictions.parquet", "config.yaml"):
        assert (tiny_run.folder / name).stat().st_size > 0, name
    for name in PICTURES:
        assert (tiny_run.folder / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (tiny_run.folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (tiny_run.folder / "log" / "metrics.csv").is_file()


def test_result_json_has_the_documented_keys(tiny_run: TinyRun) -> None:
    content = json.loads((tiny_run.folder / "result.json").read_text())
    test = content["metrics"]["test"]
    assert set(test) == {"last", "best"}
    for which in test:
        assert 0 < test[which]["nme"] < 1
        assert test[which]["count"] == 9
        assert set(test[which]["normalisers"]) == {"inter_ocular", "inter_pupil", "box"}
        assert set(test[which]["subsets"]) == {"pose", "expression", "illumination", "makeup", "occlusion", "blur"}
        assert len(test[which]["per_landmark"]) == 98
        for name in ("fr@0.08", "auc@0.08", "fr@0.10", "auc@0.10"):
            assert 0 <= test[which][name] <= 1
    assert content["metrics"]["val"]["best"]["nme"] <= content["metrics"]["val"]["last"]["nme"]
    card, provenance = content["protocol"], content["provenance"]
    assert (card["train_faces"], card["val_faces"], card["test_faces"]) == (16, 4, 9)
    assert (card["epochs"], card["optimiser_steps"], card["input_size"]) == (2, 4, 64)
    assert (card["validation"], card["shared_photographs"]) == ("cut from train by photograph", 0)
    assert provenance["params"] > 1e6
    assert provenance["macs"] > 1e6
    assert provenance["train_seconds"] > 0
    assert "torch" in provenance["versions"]
    assert RunResult.read(tiny_run.folder) == tiny_run.result


def test_metrics_follow_from_the_predictions(tiny_run: TinyRun) -> None:
    frame = read_predictions(tiny_run.folder)
    assert len(frame) == 2 * 9
    for which, metrics in tiny_run.result.metrics["test"].items():
        rows = frame[frame["checkpoint"] == which]
        pred, true = (
            rows[[f"{p}_{a}{i}" for i in range(98) for a in "xy"]].to_numpy(float).reshape(-1, 98, 2)
            for p in ("pred", "true")
        )
        ocular = np.linalg.norm(true[:, 60] - true[:, 72], axis=-1)
        errors = np.linalg.norm(pred - true, axis=-1).mean(axis=1) / ocular
        assert errors.mean() == pytest.approx(metrics["nme"], abs=1e-6)
        assert np.mean(errors > 0.08) == pytest.approx(metrics["fr@0.08"], abs=1e-9)
        thresholds = dict.fromkeys(("inter_ocular", "inter_pupil", "box"), (0.08, 0.10))
        again = summarise(rows, list(thresholds), thresholds)
        assert again == metrics


def test_checkpoints_hold_tensors_and_plain_values_only(tiny_run: TinyRun) -> None:
    for which in ("last", "best"):
        checkpoint = tiny_run.checkpoint(which)
        made_for = checkpoint["facegraph"]
        assert (made_for["scheme"], made_for["num_landmarks"]) == ("wflw98", 98)
        state = checkpoint["state_dict"]
        assert state["model.correlation"].shape == (98, 98)
        assert state["model.head.mask"].dtype == torch.bool
        assert int(state["model.head.mask"].sum()) == 98 * 4


def test_saved_configuration_is_resolved(tiny_run: TinyRun) -> None:
    text = (tiny_run.folder / "config.yaml").read_text()
    assert "${" not in text
    saved = OmegaConf.load(tiny_run.folder / "config.yaml")
    assert saved.data.input_size == 64


@pytest.mark.parametrize("which", ["last", "best"])
def test_evaluation_agrees_with_the_training_s_own_test(tiny_run: TinyRun, which: str) -> None:
    own = tiny_run.result.metrics["test"][which]
    scored = tiny_run.folder / "eval" / f"synthetic_{which}"
    before = set(scored.glob("*"))  # other tests evaluate this run too, in any order
    again = evaluate_run(tiny_run.folder, f"checkpoint={which}", "eval_batch_size=4")
    test = again.metrics["test"][which]
    assert test["nme"] == pytest.approx(own["nme"], abs=1e-6)
    assert test["per_landmark"] == pytest.approx(own["per_landmark"], abs=1e-6)
    assert again.protocol.trained_on == "synthetic"
    assert again.protocol.train_faces == 16
    (folder,) = set(scored.glob("*")) - before
    assert RunResult.read(folder) == again


def test_evaluation_on_another_data_set(tiny_run: TinyRun, tmp_path) -> None:
    before = (tiny_run.folder / "result.json").read_bytes()
    other = evaluate_run(
        tiny_run.folder,
        "dataset=synthetic",
        "dataset.name=others",
        "dataset.thresholds=[0.07]",
        "dataset.seed=5",
        "dataset.test_size=5",
        "dataset.train_size=1",
        "dataset.image_size=64",
        "box=detector-jittered",
        f"output_dir={tmp_path / 'eval'}",
    )
    assert other.protocol.dataset == "others"
    assert "moved by up to 0.1" in other.protocol.crop
    assert tiny_run.result.protocol.crop == "square around the tight landmark box"
    assert other.protocol.test_hash != tiny_run.result.protocol.test_hash
    assert other.protocol.trained_on == "synthetic"
    assert other.protocol.test_faces == other.metrics["test"]["last"]["count"] == 5
    assert other.protocol.thresholds["box"] == (0.07,)
    assert (tiny_run.folder / "result.json").read_bytes() == before
    with pytest.raises(RunError, match="nothing is overwritten"):
        evaluate_run(tiny_run.folder, f"output_dir={tmp_path / 'eval'}")
    with pytest.raises(RunError, match="nothing is overwritten"):
        evaluate_run(tiny_run.folder, f"output_dir={tiny_run.folder}")


def test_evaluation_takes_single_settings_of_the_run_s_data_set(tiny_run: TinyRun, tmp_path) -> None:
    fewer = evaluate_run(tiny_run.folder, "dataset.test_size=3", f"output_dir={tmp_path}")
    assert fewer.metrics["test"]["last"]["count"] == 3


@pytest.mark.parametrize(
    ("overrides", "error", "named"),
    [
        (["dataset.scheme.name_or_path=ibug68"], RunError, ["wflw98", "98", "ibug68", "68", "last.ckpt"]),
        (["checkpoint=foo"], ConfigError, ["foo", "last or best"]),
        (["run=nowhere"], RunError, ["nowhere", "config.yaml", "output folder"]),
    ],
)
def test_evaluation_refuses(tiny_run: TinyRun, overrides, error, named) -> None:
    with pytest.raises(error) as caught:
        evaluate_run(tiny_run.folder, *overrides)
    for part in named:
        assert part in str(caught.value)


def test_processes_started_from_outside_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEGRAPH_OUTPUT_DIR", raising=False)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="output_dir"):
        output_folder(None, "quickstart")
    assert output_folder("here", "quickstart") == Path("here")


def test_resume_in_another_folder_is_refused(tiny_run: TinyRun) -> None:
    with pytest.raises(ConfigError, match="leave output_dir=other out"):
        train(compose([f"resume={tiny_run.folder}", "output_dir=other"]))
