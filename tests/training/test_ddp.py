"""Two processes give the numbers of one, in one folder, and speak with one voice."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from facegraph.records import RunResult, read_predictions
from facegraph.runs.compose import build_model, compose
from facegraph.structures import ShapeStatistics
from facegraph.training.batch_norm import GlobalBatchNorm, SyncBatchNorm
from tests.helpers.models import scheme_of
from tests.helpers.runs import ROOT, TinyRun, evaluate_run, python, tiny_overrides, train_tiny

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
TESTED = ("nme", "fr@0.08", "auc@0.08", "fr@0.10", "auc@0.10")


def assert_same_numbers(ours: dict, theirs: dict) -> None:
    assert ours["count"] == theirs["count"] == 9
    for name in TESTED:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name
    assert ours["per_landmark"] == pytest.approx(theirs["per_landmark"], abs=1e-6)
    for subset, numbers in ours["subsets"].items():
        assert numbers["count"] == theirs["subsets"][subset]["count"]


@pytest.mark.runs
def test_training_and_test_on_two_processes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = (
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=1",
        "optimizer=sgd",
        "scheduler=constant",
        "data.eval_batch_size=2",
    )
    # twice the rate of half the batch for a doubled one: that of the single process below
    half = ("data.batch_size=4", "optimizer.lr=0.0005", "lr_rule=linear", "lr_rule.reference=4")
    done = python(ROOT / "train.py", *tiny_overrides(folder, *TWO, *recipe, *half), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "learning rate 0.0005 -> 0.001" in done.stdout + done.stderr
    assert "global batch of 8 = 4 per process * 2 processes * 1 accumulated" in done.stdout + done.stderr
    assert done.stdout.count("Everything of this run is in") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    two = RunResult.read(folder)
    assert two.protocol.test_faces == 9
    assert two.protocol.optimiser_steps == 1
    assert len(read_predictions(folder)) == 2 * 9
    for which in ("last", "best"):
        one = evaluate_run(folder, f"checkpoint={which}")
        assert_same_numbers(two.metrics["test"][which], one.metrics["test"][which])
    alone = train_tiny(tmp_path / "alone", *recipe, "data.batch_size=8", "optimizer.lr=0.001")
    assert_same_step(TinyRun(folder, two).checkpoint(), alone.checkpoint())


def assert_same_step(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """After one step: running statistics, learning rate, and gradients up to what rounding does to open ReLUs."""
    for name, value in theirs["state_dict"].items():
        if "running" in name:
            torch.testing.assert_close(ours["state_dict"][name], value, rtol=1e-3, atol=1e-4, msg=name)
    first, second = (checkpoint["optimizer_states"][0] for checkpoint in (ours, theirs))
    assert first["param_groups"][0]["lr"] == pytest.approx(second["param_groups"][0]["lr"]) == 0.001
    gradients = [
        torch.cat([part["momentum_buffer"].flatten() for part in optimizer["state"].values()])
        for optimizer in (first, second)
    ]
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 0.05


@pytest.mark.slow
def test_evaluation_on_two_processes(tiny_run: TinyRun, tmp_path: Path) -> None:
    arguments = (f"run={tiny_run.folder}", *TWO, "num_workers=0", f"output_dir={tmp_path / 'eval'}")
    done = python(ROOT / "eval.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Everything of this run is in") == 1
    own = tiny_run.result.metrics["test"]["last"]
    assert_same_numbers(RunResult.read(tmp_path / "eval").metrics["test"]["last"], own)


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv3_small"])
def test_synchronised_batch_norm_keeps_the_network(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    statistics = ShapeStatistics(torch.rand(12, 2), torch.rand(12, 12), scheme_of(12))
    # hidden equals the number of landmarks: a norm over the wrong axis would go unnoticed by shapes alone
    cfg = compose([f"backbone={backbone}", "input_size=64", "head.hidden=12"])
    model = build_model(cfg, statistics).eval()
    if backbone == "mobilenetv3_small":
        assert any(isinstance(m, BatchNormAct2d) for m in model.modules())
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    image = torch.randn(2, 3, 64, 64)
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(image).landmarks
        original = copy.deepcopy(model)
        sync = SyncBatchNorm()
        assert sync.apply(model) is model
        assert {type(m) for m in model.modules() if isinstance(m, _BatchNorm)} == {GlobalBatchNorm}
        torch.testing.assert_close(model(image).landmarks, before, rtol=0, atol=0)
        assert list(model.state_dict()) == names
        monkeypatch.setattr("facegraph.training.batch_norm._on_cpu", lambda model: False)
        on_gpu = sync.apply(sync.revert(sync.apply(original))).eval()
        assert any(isinstance(m, nn.SyncBatchNorm) for m in on_gpu.modules())
        torch.testing.assert_close(on_gpu(image).landmarks, before)
    assert list(on_gpu.state_dict()) == names
