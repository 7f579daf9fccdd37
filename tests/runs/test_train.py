"""What a training does with losses, averages, seeds and the test split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facegraph.data.synthetic.dataset import SyntheticDataset, SyntheticSource
from facegraph.errors import NonFiniteLossError
from facegraph.losses.criteria import SoftWing
from facegraph.records import read_predictions
from tests.helpers.runs import TinyRun, evaluate_run, train_tiny

pytestmark = pytest.mark.usefixtures("no_pictures")


def weights(run: TinyRun, which: str = "last") -> dict[str, torch.Tensor]:
    return {k: v for k, v in run.checkpoint(which)["state_dict"].items() if k.startswith("model.")}


def test_the_test_split_chooses_nothing(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def others(self: SyntheticDataset) -> SyntheticSource:
        return SyntheticSource("test", self.scheme, 7, 64, seed=99, stream=1)

    monkeypatch.setattr(SyntheticDataset, "test", others)
    run = train_tiny(tmp_path / "run")
    for which in ("last", "best"):
        expected = weights(tiny_run, which)
        for name, value in weights(run, which).items():
            assert torch.equal(value, expected[name]), (which, name)
        assert run.checkpoint(which)["epoch"] == tiny_run.checkpoint(which)["epoch"]
    assert run.result.metrics["val"] == tiny_run.result.metrics["val"]
    assert run.result.metrics["test"]["last"]["nme"] != tiny_run.result.metrics["test"]["last"]["nme"]


def test_training_moves_the_weights_and_the_seed_matters(tiny_run: TinyRun, tmp_path: Path) -> None:
    other = train_tiny(tmp_path / "run", "seed=1", "trainer.max_epochs=1")
    name = "model.head.network.outlet.own.weight"
    assert not torch.equal(weights(other)[name], weights(tiny_run)[name])


def test_a_loss_that_explodes_names_its_faces(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        train_tiny(tmp_path / "run", "optimizer=sgd", "optimizer.lr=1e18")
    message = str(caught.value)
    assert message.count("train-0000") == 8
    assert "epoch 0, step 1" in message
    assert "optimizer.lr" in message
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_nan_in_the_first_batch_leaves_the_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoftWing, "point_loss", lambda self, pred, target: (pred * torch.nan).mean())
    with pytest.raises(NonFiniteLossError, match=r"loss is nan in epoch 0, step 0"):
        train_tiny(tmp_path / "run")


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return train_tiny(
        tmp_path_factory.mktemp("ema") / "run",
        "callbacks=ema",
        "callbacks.ema.decay=0.95",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=1.0",
        "trainer.precision=bf16-mixed",
        "callbacks.last.every_n_epochs=5",
    )


def test_checkpoints_hold_the_average(averaged: TinyRun) -> None:
    checkpoint = averaged.checkpoint("best")
    average, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    name = "model.head.network.outlet.own.weight"
    assert average.keys() == current.keys()
    if checkpoint["global_step"] > 1:
        assert not torch.equal(average[name], current[name])


def test_averaging_leaves_the_graph_alone(averaged: TinyRun, tiny_run: TinyRun) -> None:
    for name in ("model.head.mask", "model.head.edges.softmax.slot"):
        assert torch.equal(averaged.checkpoint()["state_dict"][name], tiny_run.checkpoint()["state_dict"][name])
    assert averaged.checkpoint()["averaging_state"]["n_averaged"] == 2


def test_averages_are_scored_as_they_were_trained(averaged: TinyRun, tmp_path: Path) -> None:
    again = evaluate_run(averaged.folder, f"output_dir={tmp_path}")
    own = averaged.result.metrics["test"]["last"]
    assert again.metrics["test"]["last"]["nme"] == pytest.approx(own["nme"], abs=1e-6)


def test_the_last_checkpoint_is_of_the_final_epoch(averaged: TinyRun) -> None:
    # every_n_epochs=5 of 2 epochs
    assert averaged.checkpoint("last")["epoch"] == 1


def test_two_batches_make_one_step(averaged: TinyRun) -> None:
    assert averaged.result.protocol.optimiser_steps == 2
    assert averaged.checkpoint("last")["global_step"] == 2


def test_no_validation_faces_means_no_best_checkpoint(tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run", "data.val_fraction=0", "trainer.max_epochs=1", "head=fc")
    assert set(run.result.metrics["test"]) == {"last"}
    assert run.result.metrics["val"] == {}
    assert run.result.protocol.val_faces == 0
    assert set(read_predictions(run.folder)["checkpoint"]) == {"last"}


OVERFIT = (
    "dataset.train_size=8",
    "dataset.test_size=8",
    "data.val_fraction=0",
    "augment=none",
    "trainer.max_epochs=250",
    "callbacks.last.every_n_epochs=1000",
    "optimizer.weight_decay=0",
)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gcn", "fc"])
def test_eight_faces_are_learned_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    monkeypatch.setattr(SyntheticDataset, "test", SyntheticDataset.train)
    run = train_tiny(tmp_path / "run", *OVERFIT, f"head={head}")
    assert run.result.metrics["test"]["last"]["nme"] < 0.015
