"""MuSiCa's criterion against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.landmarks import LandmarkScheme
from facegraph.models.musica.criterion import CascadeLoss
from facegraph.models.musica.output import CascadeOutput
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics
from tests.helpers.models import face_statistics

# eyes: mean of landmarks 0 and 1 against 2; in TRUTH 3 px apart in x and 4 in y
SCHEME = LandmarkScheme("four", (0, 1, 2, 3), {"box": ((3,), (0,)), "inter_ocular": ((0, 1), (2,))})
STATISTICS = ShapeStatistics(torch.rand(4, 2), torch.eye(4), SCHEME)
TRUTH = torch.tensor([[[10.0, 8.0], [12.0, 12.0], [14.0, 14.0], [3.0, 3.0]]])


def batch(truth: Tensor = TRUTH) -> FaceBatch:
    b = len(truth)
    return FaceBatch(
        image=torch.zeros(b, 3, 32, 32),
        landmarks=truth,
        labelled=torch.ones(truth.shape[:2], dtype=torch.bool),
        crop_to_image=torch.eye(3)[:2].expand(b, 2, 3),
        norm_distances=torch.full((b, 2), 99.0),  # of the photograph and of other normalisers: not used
        attributes=torch.zeros(b, 0, dtype=torch.bool),
        index=torch.arange(b),
    )


def output(stages: Tensor, errors: Tensor) -> CascadeOutput:
    return CascadeOutput(
        landmarks=stages[:, -1],
        stage_landmarks=stages,
        stage_errors=errors,
        iterations=torch.full((len(stages),), stages.shape[1]),
    )


def moved(*offsets: tuple[float, float]) -> Tensor:
    """(1, T, 4, 2): in iteration k the first two landmarks are off by offsets[k], the others are right."""
    stages = TRUTH[:, None].repeat(1, len(offsets), 1, 1)
    for k, offset in enumerate(offsets):
        stages[:, k, :2] += torch.tensor(offset)
    return stages


def test_l1_by_hand() -> None:
    # e_1 = 2 * (1 + 2.5) / (4 * 7) = 0.25, e_2 = 2 * (0 + 0.7) / 28 = 0.05
    terms = CascadeLoss(STATISTICS)(output(moved((1, -2.5), (0, 0.7)), torch.tensor([[0.05, 0.25]])), batch())
    assert float(terms["error_1"]) == pytest.approx(0.25)
    assert float(terms["error_2"]) == pytest.approx(0.05)
    assert float(terms["prediction_1"]) == pytest.approx(0.2)
    assert float(terms["prediction_2"]) == pytest.approx(0.2)
    assert float(terms["loss"]) == pytest.approx(0.95 * 0.3 + 0.05 * 0.4)
    assert set(terms) == {"loss", "error_1", "error_2", "prediction_1", "prediction_2"}


def test_l2_by_hand() -> None:
    terms = CascadeLoss(STATISTICS, form="l2")(output(moved((3, -4)), torch.tensor([[0.0]])), batch())
    expected = (2 * math.sqrt(25 + 1e-3) + 2 * math.sqrt(1e-3)) / (4 * 5)
    assert float(terms["error_1"]) == pytest.approx(expected)
    assert float(terms["loss"]) == pytest.approx(expected)  # 0.95 of the error and 0.05 of its distance to 0


def test_means_over_faces_and_a_weight_of_its_own() -> None:
    stages = torch.cat([moved((1, 0)), moved((0, 3))])  # e = 1/14 and 3/14
    criterion = CascadeLoss(STATISTICS, error_weight=0.5)
    terms = criterion(output(stages, torch.zeros(2, 1)), batch(TRUTH.repeat(2, 1, 1)))
    assert float(terms["error_1"]) == pytest.approx(2 / 14)
    assert float(terms["loss"]) == pytest.approx(0.5 * 2 / 14 + 0.5 * 2 / 14)


def test_landmarks_within_a_hundredth_px_are_right() -> None:
    stages = moved((0.004, -0.005)).requires_grad_()
    loss = CascadeLoss(STATISTICS)
    terms = loss(output(stages, torch.zeros(1, 1)), batch())
    assert float(terms["error_1"]) == 0
    terms["loss"].backward()
    assert not stages.grad.any()  # type: ignore[union-attr]
    further = CascadeLoss(STATISTICS)(output(moved((0.006, -0.005)), torch.zeros(1, 1)), batch())
    assert float(further["error_1"]) == pytest.approx(2 * 0.011 / 28, rel=1e-3)


@pytest.mark.parametrize(("detach", "share"), [(False, 0.95 + 0.05), (True, 0.95)])
def test_whether_the_prediction_moves_the_landmarks(detach: bool, share: float) -> None:
    stages, errors = moved((2, 0)).requires_grad_(), torch.tensor([[0.01]], requires_grad=True)
    CascadeLoss(STATISTICS, detach_error=detach)(output(stages, errors), batch())["loss"].backward()
    assert float(stages.grad[0, 0, 0, 0]) == pytest.approx(share / 28)  # type: ignore[index]
    assert float(errors.grad) == pytest.approx(-0.05)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["l1", "l2"])
def test_the_size_of_the_crop_does_not_matter(form: str) -> None:
    criterion = CascadeLoss(STATISTICS, form=form)
    at = [
        float(criterion(output(f * moved((3, 1)), torch.zeros(1, 1)), batch(f * TRUTH))["error_1"]) for f in (1.0, 2.0)
    ]
    assert at[0] == pytest.approx(at[1], rel=0.02)  # l2's softening is in px


def test_in_profile_the_loss_stays_finite() -> None:
    flat = TRUTH.clone()
    flat[:, 2] = flat[:, :2].mean(dim=1)  # the corners meet
    terms = CascadeLoss(STATISTICS)(output(flat[:, None] + 1, torch.zeros(1, 1)), batch(flat))
    assert float(terms["error_1"]) == pytest.approx(2.0)


def test_under_autocast_it_is_float32() -> None:
    stages = moved((0.3, 0.0005))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = CascadeLoss(STATISTICS)(output(stages, torch.zeros(1, 1)), batch())
    assert rough["loss"].dtype == torch.float32
    assert float(rough["error_1"]) == pytest.approx(2 * 0.3005 / 28, rel=1e-5)


def test_what_it_cannot_use_is_explained() -> None:
    plain = LandmarkOutput(landmarks=TRUTH)
    with pytest.raises(ConfigError, match=r"model=musica.*loss=l1"):
        CascadeLoss(STATISTICS)(plain, batch())
    with pytest.raises(ConfigError, match=r"'l3'.*\['l1', 'l2'\]"):
        CascadeLoss(STATISTICS, form="l3")
    with pytest.raises(ConfigError, match=r"error_weight=1\.5.*\[0, 1\]"):
        CascadeLoss(STATISTICS, error_weight=1.5)
    eyeless = LandmarkScheme("eyeless", (0, 1), {"box": ((0,), (1,))})
    with pytest.raises(ConfigError, match=r"'eyeless' has no normaliser 'inter_ocular', only \['box'\]"):
        CascadeLoss(face_statistics(2)._replace(scheme=eyeless))
