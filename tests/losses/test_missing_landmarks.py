"""Landmarks that an annotation lacks: no criterion counts them, wherever their stand-ins lie."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from facegraph.losses.criteria import L1
from facegraph.losses.labelled import mean_of_labelled, over_labelled
from facegraph.runs.compose import build_criterion, build_data, build_model, compose, training_statistics
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics
from tests.helpers.batches import batch_of
from tests.helpers.runs import ROOT, TINY
from tests.models.test_contract import SMALL_DPR

INNER = (30, 62, 66)
"""Tip of the nose and middle of the lips: inside the face, so that neither its box nor its eyes depend on them."""
OF_STAND_INS = ("reinit",)
"""Terms that ask for transforms of whole faces, stand-ins included."""
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))


def system_of(loss: str) -> str:
    if loss.startswith("dpr"):
        return SMALL_DPR
    if loss == "musica":
        return "model=musica normalise=whole_image"
    return "head=heatmap" if loss in ("heatmap", "heatmap_mse", "awing") else "model=regressor_error head=fc"


@functools.lru_cache
def parts_of(loss: str) -> tuple[LandmarkOutput, nn.Module, FaceBatch]:
    """What an untrained model says of four faces, and its criterion."""
    relative = (
        ["loss.relative_weight=1"] if "relative_weight" in (ROOT / "conf" / "loss" / f"{loss}.yaml").read_text() else []
    )
    small = ["dataset.train_size=12", "dataset.test_size=3", "dataset.image_size=64", "data.batch_size=4"]
    overrides = [
        *TINY,
        *small,
        "dataset.scheme.name_or_path=ibug68",
        *system_of(loss).split(),
        f"loss={loss}",
        *relative,
    ]
    cfg = compose(overrides)
    data = build_data(cfg)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    torch.manual_seed(0)
    statistics = training_statistics(data, "box")
    with torch.no_grad():
        output = build_model(cfg, statistics).eval()(batch.image)
    return output, build_criterion(cfg, statistics).eval(), batch


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_depends_on_what_stands_in(loss: str) -> None:
    output, criterion, batch = parts_of(loss)
    labelled = batch.labelled.clone()
    labelled[:2, list(INNER)] = False
    moved = batch.landmarks.clone()
    moved[:2, list(INNER)] += torch.tensor([2.0, -1.5])
    one, other = (criterion(output, batch._replace(landmarks=p, labelled=labelled)) for p in (batch.landmarks, moved))
    for name in one:
        if name not in OF_STAND_INS and not (name == "loss" and "reinit" in one):
            torch.testing.assert_close(one[name], other[name], msg=name)
    moved[:2, list(INNER)] += 500  # beyond the crop, where a heatmap is empty
    every = criterion(output, batch._replace(landmarks=moved))
    assert not torch.isclose(every["loss"], one["loss"], rtol=1e-5)
    assert all(torch.isfinite(term).all() for term in one.values())


def test_known_answer_and_no_gradient_where_nothing_is_labelled() -> None:
    truth = torch.zeros(2, 3, 2)
    points = torch.tensor([[[1.0, 3.0], [9.0, 9.0], [2.0, 2.0]], [[4.0, 4.0], [8.0, 8.0], [9.0, 9.0]]])
    pred = points.clone().requires_grad_()
    labelled = torch.tensor([[True, False, True], [True, False, False]])
    statistics = ShapeStatistics(torch.zeros(3, 2), torch.eye(3), None)  # type: ignore[arg-type]
    batch = batch_of(256, truth)._replace(labelled=labelled)
    loss = L1(statistics)(LandmarkOutput(pred), batch)["loss"]
    assert float(loss) == pytest.approx((1 + 3 + 2 + 2 + 4 + 4) / 6)
    loss.backward()
    assert pred.grad is not None
    assert torch.equal(pred.grad != 0, labelled[..., None].expand_as(pred))
    torch.testing.assert_close(pred.grad[labelled], torch.full((3, 2), 1 / 6))


def test_a_relative_location_needs_all_of_its_landmarks() -> None:
    """Each landmark's one neighbour is its stronger correlate: 0 and 1 each other's, 2 has 1."""
    correlation = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]])
    statistics = ShapeStatistics(torch.zeros(3, 2), correlation, None)  # type: ignore[arg-type]
    criterion = L1(statistics, relative_weight=1.0, relative_neighbours=1)
    pred = torch.tensor([[[1.0, 1.0], [3.0, 3.0], [7.0, 7.0]]])
    batch = batch_of(256, torch.zeros(1, 3, 2))
    # differences to the neighbour: 2, 2, 4 along x and y
    assert float(criterion(LandmarkOutput(pred), batch)["relative"]) == pytest.approx(8 / 3)
    without_last = batch._replace(labelled=torch.tensor([[True, True, False]]))
    assert float(criterion(LandmarkOutput(pred), without_last)["relative"]) == pytest.approx(2)
    without_first = batch._replace(labelled=torch.tensor([[False, True, True]]))
    assert float(criterion(LandmarkOutput(pred), without_first)["relative"]) == pytest.approx(4)
    without_middle = batch._replace(labelled=torch.tensor([[True, False, True]]))
    assert float(criterion(LandmarkOutput(pred), without_middle)["relative"]) == 0


@pytest.mark.parametrize("shape", [(4, 5, 2), (4, 5, 6, 7)])
def test_where_all_are_labelled_the_loss_is_the_plain_one(shape: tuple[int, ...]) -> None:
    def squared(pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).square().mean()

    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, *shape, generator=generator)
    labelled = torch.ones(shape[:2], dtype=torch.bool)
    assert torch.equal(over_labelled(squared, pred, target, labelled), squared(pred, target))
    assert float(over_labelled(squared, pred, target, ~labelled)) == 0
    labelled[1:, 2] = False
    mine = over_labelled(squared, pred, target, labelled)
    torch.testing.assert_close(mine, squared(pred[labelled], target[labelled]))


def test_a_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, torch.nan, 5.0], [torch.nan, torch.nan, torch.nan]])
    assert mean_of_labelled(values, ~values.isnan()).tolist() == [3, 0]
