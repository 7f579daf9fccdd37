"""Losses of heatmap models: known values, a plain implementation, the unit of the distance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from facegraph.codecs.decoders import ArgMax, Centroid
from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError
from facegraph.losses.heatmaps import AdaptiveWing, HeatmapCriterion, MeanSquaredError, box_distance
from facegraph.runs.compose import compose, make
from facegraph.structures import FaceBatch, LandmarkOutput
from tests.helpers.models import face_statistics

SIZE = 64


def faces(count: int = 3, num_landmarks: int = 5, scale: float = 2.0, angle: float = 0.0) -> FaceBatch:
    """Random landmarks; image px = scale * turned crop px + 7."""
    points = torch.rand(count, num_landmarks, 2, generator=torch.Generator().manual_seed(0)) * (SIZE - 1)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[c, -s, 7.0], [s, c, 7.0]]).expand(count, 2, 3)
    return FaceBatch(
        torch.zeros(count, 3, SIZE, SIZE),
        points,
        torch.ones(points.shape[:2], dtype=torch.bool),
        matrix,
        torch.ones(count, 1),
        torch.zeros(count, 0, dtype=torch.bool),
        torch.arange(count),
    )


def criterion(loss: nn.Module | None = None, heatmap: float = 1.0, distance: float = 0.01) -> HeatmapCriterion:
    codec = HeatmapCodec(Centroid())
    return HeatmapCriterion(face_statistics(5), codec, loss or MeanSquaredError(), heatmap, distance)


def perfect(batch: FaceBatch, stages: int = 1) -> Tensor:
    return criterion().codec.encode(batch.landmarks, SIZE, (16, 16))[:, None].repeat(1, stages, 1, 1, 1)


@pytest.mark.parametrize("option", ["heatmap", "heatmap_mse", "awing"])
def test_right_maps_cost_nothing(option: str) -> None:
    batch = faces()
    loss = make(compose([f"loss={option}"]).loss)(statistics=face_statistics(5))
    terms = loss(LandmarkOutput(batch.landmarks, heatmaps=perfect(batch, 2)), batch)
    assert float(terms["loss"]) == pytest.approx(0, abs=1e-5)
    assert set(terms) == ({"loss", "heatmap", "distance"} if option == "heatmap" else {"loss", "heatmap"})
    worse = loss(LandmarkOutput(batch.landmarks, heatmaps=perfect(batch, 2) * 0.5), batch)
    assert float(worse["loss"]) > 1e-3


def test_terms_by_hand() -> None:
    """Two stages, one empty, one right, each given its own landmarks: H and D are halves, the sum is weighted."""
    batch = faces(scale=3.0)
    heatmaps = perfect(batch, 2)
    heatmaps[:, 0] = 0
    stages = torch.stack([batch.landmarks + torch.tensor([3.0, 4.0]), batch.landmarks], dim=1)
    terms = criterion()(LandmarkOutput(batch.landmarks, stages, heatmaps), batch)
    truth = perfect(batch)
    heatmap = float((truth**2).mean()) / 2
    sides = batch.landmarks.amax(dim=1) - batch.landmarks.amin(dim=1)
    distance = float((5 / (sides[:, 0] * sides[:, 1]).sqrt()).mean()) / 2
    assert float(terms["heatmap"]) == pytest.approx(heatmap, rel=1e-5)
    assert float(terms["distance"]) == pytest.approx(distance, rel=1e-5)
    assert float(terms["loss"]) == pytest.approx((heatmap + 0.01 * distance) / 1.01, rel=1e-5)


def test_distance_is_relative_to_the_upright_box_of_the_photograph() -> None:
    """A face that augmentation turned by 40 degrees and made smaller counts as it was in its photograph."""
    angle, scale = math.radians(40), 2.5
    batch = faces(scale=scale, angle=angle)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    in_image = scale * batch.landmarks @ turn.T
    sides = in_image.amax(dim=1) - in_image.amin(dim=1)
    stages = (batch.landmarks + torch.tensor([0.0, 2.0]))[:, None]
    torch.testing.assert_close(box_distance(stages, batch)[:, 0], 2 * scale / sides.prod(dim=-1).sqrt())


def test_maps_are_read_where_a_model_gives_no_stage_landmarks() -> None:
    batch = faces()
    heatmaps = perfect(batch, 2) + 0.01 * torch.rand(3, 2, 5, 16, 16)
    decoded = criterion().codec.decode(heatmaps, SIZE)
    found, given = (criterion()(LandmarkOutput(batch.landmarks, stages, heatmaps), batch) for stages in (None, decoded))
    assert float(found["distance"]) == pytest.approx(float(given["distance"]))
    assert float(found["distance"]) > 0


def test_the_distance_trains_the_maps() -> None:
    """With the decoder that has a gradient; with arg-max the maps still learn from the heatmap term."""
    batch = faces()
    wrong = torch.rand(3, 1, 5, 16, 16, generator=torch.Generator().manual_seed(4))
    for decoder, expected in ((Centroid(), True), (ArgMax(), False)):
        codec = HeatmapCodec(decoder)
        gradients = []
        for weight in (0.0, 1.0):
            leaf = wrong.clone().requires_grad_()
            loss = HeatmapCriterion(face_statistics(5), codec, MeanSquaredError(), 1.0, weight)
            terms = loss(LandmarkOutput(batch.landmarks, heatmaps=leaf), batch)
            gradients.append(torch.autograd.grad(terms["loss"] * (1 + weight), leaf)[0])
        assert (not torch.allclose(*gradients, atol=1e-8)) == expected


def adaptive_wing_by_hand(pred: float, target: float) -> float:
    alpha, omega, epsilon, theta = 2.1, 14.0, 1.0, 0.5
    power = (theta / epsilon) ** (alpha - target)
    slope = omega / (1 + power) * (alpha - target) * (theta / epsilon) ** (alpha - target - 1) / epsilon
    offset = theta * slope - omega * math.log(1 + power)
    distance = abs(pred - target)
    if distance < theta:
        return omega * math.log(1 + (distance / epsilon) ** (alpha - target))
    return slope * distance - offset


@pytest.mark.parametrize(("pred", "target"), [(0.0, 0.0), (0.3, 0.0), (0.9, 0.0), (0.3, 1.0), (0.7, 1.0), (-0.4, 0.5)])
def test_adaptive_wing(pred: float, target: float) -> None:
    found = AdaptiveWing(weight=0)(torch.full((1, 1, 2, 2), pred), torch.full((1, 1, 2, 2), target))
    assert float(found) == pytest.approx(adaptive_wing_by_hand(pred, target), abs=1e-5)


def test_adaptive_wing_joins_smoothly_and_has_a_gradient_at_zero() -> None:
    target = torch.tensor([[[[0.0, 1.0]]]])
    ends = [AdaptiveWing(weight=0)(target + 0.5 + step, target) for step in (-1e-4, 0.0, 1e-4)]
    assert float(ends[2] - ends[1]) == pytest.approx(float(ends[1] - ends[0]), rel=0.02)
    leaf = target.clone().requires_grad_()
    AdaptiveWing()(leaf, target).backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())


def test_adaptive_wing_looks_at_the_gaussian() -> None:
    """Pixels whose target reaches 0.2, and their neighbours, count eleven times."""
    target = torch.zeros(1, 1, 7, 7)
    target[0, 0, 3, 3], target[0, 0, 0, 0] = 0.2, 0.19
    ratio = []
    for y, x in ((3, 3), (2, 4), (3, 5), (0, 0)):
        pred = target.clone()
        pred[0, 0, y, x] += 0.1
        ratio.append(float(AdaptiveWing()(pred, target) / AdaptiveWing(weight=0)(pred, target)))
    assert ratio == pytest.approx([11, 11, 1, 1])


def test_half_precision_outside() -> None:
    batch = faces()
    output = LandmarkOutput(batch.landmarks, heatmaps=perfect(batch).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert criterion()(output, batch)["loss"].dtype == torch.float32


def test_a_model_without_heatmaps_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"gives none; use it with head=heatmap.*loss=softwing"):
        criterion()(LandmarkOutput(faces().landmarks), faces())


@pytest.mark.parametrize(("heatmap", "distance"), [(-1.0, 1.0), (0.0, 0.0), (1.0, math.inf), (math.nan, 1.0)])
def test_weights_out_of_range(heatmap: float, distance: float) -> None:
    with pytest.raises(ConfigError, match=r"loss\.heatmap_weight"):
        criterion(heatmap=heatmap, distance=distance)


def test_the_smallest_alpha_has_a_gradient_at_an_exact_prediction() -> None:
    target = torch.tensor([[[[0.0, 0.3, 0.999, 1.0]]]])
    leaf = target.clone().requires_grad_()
    AdaptiveWing(alpha=2.0)(leaf, target).backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())


@pytest.mark.parametrize("setting", [{"omega": 0.0}, {"theta": -1.0}, {"alpha": 1.9}, {"weight": -1.0}])
def test_wing_constants_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"loss\.heatmap_loss"):
        AdaptiveWing(**setting)
