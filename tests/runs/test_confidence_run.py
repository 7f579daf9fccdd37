"""Runs with a confidence: what they write, that the head moves nothing, that it learns; a criterion that learns."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facegraph.records import predictions_of, read_predictions
from facegraph.reports.compare.rescoring import rescore
from facegraph.reports.table.marks import confidence_table
from facegraph.structures import FaceBatch, LandmarkOutput
from facegraph.training.schedules import LinearRate, OneCycle, Schedule
from facegraph.training.task import LandmarkTask
from tests.helpers.runs import TinyRun, evaluate_run, train_tiny

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def sure_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """tiny_run with an error head."""
    return train_tiny(tmp_path_factory.mktemp("sure") / "run", "model=regressor_error")


def test_error_head_moves_nothing(tiny_run: TinyRun, sure_run: TinyRun) -> None:
    for which in ("last", "best"):
        without, with_head = (run.checkpoint(which)["state_dict"] for run in (tiny_run, sure_run))
        added = set(with_head) - set(without)
        assert added
        assert all("error_head" in name for name in added)
        for name, value in without.items():
            assert torch.equal(with_head[name], value), name
        ours, theirs = (run.result.metrics["test"][which] for run in (sure_run, tiny_run))
        assert {name: value for name, value in ours.items() if name != "confidence"} == theirs


def test_a_run_with_confidence(sure_run: TinyRun, tiny_run: TinyRun) -> None:
    found = sure_run.result.metrics["test"]["last"]["confidence"]
    assert {"rank_correlation", "retention_area", "retention_score", "failure_auroc@0.08"} <= set(found)
    faces = predictions_of(read_predictions(sure_run.folder).query("checkpoint == 'last'"))
    assert "confidence" in faces.said
    assert len(set(faces.said["confidence"].tolist())) > 1
    assert (faces.said["confidence"] > 0).all()
    assert "predicted_error" in faces.said
    assert faces.said["confidence"] == pytest.approx(np.exp(-faces.said["predicted_error"]), rel=1e-5)
    assert "iterations" not in faces.said
    assert (sure_run.folder / "retention.png").is_file()
    columns = confidence_table(sure_run.result).columns
    assert [column.header for column in columns] == ["", "last", "best"]
    assert "-" not in list(columns[1].cells)
    assert rescore(sure_run.folder, None, (0.1,)).faces == 9
    # a model without one writes what runs of before wrote
    assert not (tiny_run.folder / "retention.png").exists()
    assert "confidence" not in read_predictions(tiny_run.folder).columns
    assert "confidence" not in tiny_run.result.metrics["test"]["last"]


@pytest.mark.usefixtures("no_pictures")
def test_evaluation_gives_the_same_confidence(sure_run: TinyRun, tmp_path: Path) -> None:
    again = evaluate_run(sure_run.folder, f"output_dir={tmp_path / 'eval'}", "eval_batch_size=1")
    for name, value in sure_run.result.metrics["test"]["last"]["confidence"].items():
        assert again.metrics["test"]["last"]["confidence"][name] == pytest.approx(value, abs=1e-5), name
    own, other = (
        predictions_of(read_predictions(folder).query("checkpoint == 'last'")).said["confidence"]
        for folder in (sure_run.folder, tmp_path / "eval")
    )
    assert own == pytest.approx(other, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_error_head_learns_which_faces_are_hard(tmp_path: Path) -> None:
    sizes = ("dataset.train_size=500", "dataset.test_size=300", "data.batch_size=32", "data.val_fraction=0.05")
    recipe = ("augment=paper", "trainer.max_epochs=16", "model=regressor_error")
    run = train_tiny(tmp_path / "run", *sizes, *recipe)
    found = run.result.metrics["test"]["last"]["confidence"]
    # two seeds gave 0.44 and 0.50, 0.72 and 0.74; chance, of 300 faces, is 0 +- 0.06 and 0.5 +- 0.035
    assert found["rank_correlation"] > 0.25
    assert found["failure_auroc@0.10"] > 0.62
    assert found["retention_score"] > 0.25


# ---- what else is trained


class Weighing(nn.Module):
    """A criterion that learns a weight and keeps a number as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.kept = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        return {"loss": (self.weight * output.landmarks.mean()).sum()}


class Points(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.ones(4, 2))

    def forward(self, image: Tensor) -> LandmarkOutput:
        return LandmarkOutput(self.points.expand(len(image), -1, -1))


def task_of(criterion: nn.Module, schedule: Schedule | None = None, adversary: object = None) -> LandmarkTask:
    def optimizer(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.5)  # type: ignore[arg-type]

    task = LandmarkTask(
        Points(),
        criterion,
        optimizer,
        schedule,
        LinearRate(4),
        4,
        1,
        0,
        {},
        adversary=adversary,  # type: ignore[arg-type]
    )
    task._trainer = types.SimpleNamespace(  # type: ignore[assignment]
        datamodule=types.SimpleNamespace(batch_size=8),
        world_size=1,
        accumulate_grad_batches=1,
        estimated_stepping_batches=20,
        max_epochs=2,
        _results=None,
    )
    return task


def test_what_a_criterion_learns_is_trained_without_decay() -> None:
    criterion = Weighing()
    task = task_of(criterion, OneCycle(0.2))
    made = task.configure_optimizers()
    model, own = made["optimizer"].param_groups
    assert [id(p) for p in own["params"]] == [id(criterion.weight)]
    assert (model["weight_decay"], own["weight_decay"]) == (0.5, 0.0)
    rates = []
    for _ in range(20):
        assert model["lr"] == own["lr"]
        rates.append(own["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert max(rates) == pytest.approx(0.02, rel=0.02)  # doubled by the rule, then the schedule's peak
    assert rates[-1] < rates[0] < 0.001


def test_a_criterion_that_learns_nothing_adds_no_group() -> None:
    criterion = Weighing().requires_grad_(False)
    assert len(task_of(criterion, OneCycle(0.2)).configure_optimizers()["optimizer"].param_groups) == 1


def test_an_adversary_adds_its_term(monkeypatch: pytest.MonkeyPatch) -> None:
    class Adversary:
        def loss(self, model: nn.Module, criterion: nn.Module, batch: FaceBatch) -> Tensor:
            assert isinstance(criterion, Weighing)
            return 0.5 * model(batch.image).landmarks.sum()

    task, logged = task_of(Weighing(), adversary=Adversary()), {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "log_dict", lambda values, **_: logged.update({k: float(v) for k, v in values.items()}))
    b = 2
    batch = FaceBatch(
        torch.zeros(b, 3, 8, 8), torch.zeros(b, 4, 2), torch.ones(b, 4, dtype=torch.bool), torch.zeros(b, 2, 3),
        torch.ones(b, 1), torch.zeros(b, 0), torch.arange(b),
    )  # fmt: skip
    loss = task.training_step(batch, 0)
    assert float(loss) == pytest.approx(3 + 0.5 * b * 8)
    assert logged == pytest.approx({"train/loss": 11.0, "train/adversarial": 8.0})
    loss.backward()
    # 3 / 8 of the criterion for each coordinate, 0.5 for each of two faces from the adversary
    np.testing.assert_allclose(task.model.points.grad, 3 / 8 + 1.0)  # type: ignore[union-attr]
