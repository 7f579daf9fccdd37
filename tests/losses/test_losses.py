"""Losses against the published check values and against themselves written another way."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facegraph.errors import ConfigError
from facegraph.losses import criteria, functional
from facegraph.structures import LandmarkOutput, ShapeStatistics
from tests.helpers.batches import batch_of
from tests.helpers.models import scheme_of


def relative_location(pred, target, neighbours, point_loss):
    return functional.relative_location(pred, target, functional.laplacian(neighbours, like=pred), point_loss)


def _at(loss, x: float) -> float:
    return float(loss(torch.tensor([[[x, -x]]], dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0, 0), (1, 1), (2, 2), (3, 8.729445), (5, 17.769147), (10, 30.701691), (20, 44.082683), (50, 62.113652),
        (100, 75.877340),
    ],
)  # fmt: skip
def test_soft_wing_published_values(x, expected):
    assert _at(functools.partial(functional.soft_wing, omega1=2, omega2=20, epsilon=0.5), x) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(
    ("omega", "epsilon", "x", "expected"),
    [
        (10, 2, 1, 4.054651), (10, 2, 5, 12.527630), (10, 2, 10, 17.917595), (10, 2, 20, 27.917595),
        (20, 0.5, 1, 21.972246), (20, 0.5, 10, 60.890449), (20, 0.5, 20, 74.271441),
    ],
)  # fmt: skip
def test_wing_published_values(omega, epsilon, x, expected):
    assert _at(functools.partial(functional.wing, omega=omega, epsilon=epsilon), x) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.1, 30), st.floats(0.05, 5))
def test_wings_are_continuous_at_their_joint(omega, epsilon):
    for loss in (
        functools.partial(functional.wing, omega=omega, epsilon=epsilon),
        functools.partial(functional.soft_wing, omega1=omega, omega2=20.0, epsilon=epsilon),
    ):
        assert _at(loss, omega - 1e-9) == pytest.approx(_at(loss, omega + 1e-9), abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (functools.partial(functional.wing, omega=20.0, epsilon=0.1), 20 / 0.1),
        (functools.partial(functional.wing, omega=10.0, epsilon=2.0), 10 / 2),
        (functools.partial(functional.soft_wing, omega1=2.0, omega2=20.0, epsilon=0.5), 1),
    ],
)
def test_slope_of_the_wings_at_and_beside_no_error(loss, slope):
    """None at zero, where the two sides disagree; beside it omega / epsilon for Wing and 1 for Soft Wing."""
    error = torch.tensor([[0.0, 1e-9], [-1e-9, 0.0]], dtype=torch.float64, requires_grad=True)
    loss(error, torch.zeros(2, 2, dtype=torch.float64)).backward()
    expected = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64) * slope / 4
    torch.testing.assert_close(error.grad, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bad", [{"omega": 0.0}, {"epsilon": -1.0}, {"epsilon": float("nan")}])
def test_constants_must_be_positive(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        criteria.Wing(_statistics(4), **bad)


def test_relative_location_by_hand():
    pred = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]]])
    target = torch.zeros(1, 3, 2)
    # N(0) = {1, 2}: mean (1, 2) - (0, 0); N(1) = {0}: (-2, 0); N(2) = {0}: (0, -4)
    expected = (1 + 2 + 2 + 0 + 0 + 4) / 6
    assert float(relative_location(pred, target, [[1, 2], [0], [0]], functional.l1)) == pytest.approx(expected)


def test_relative_location_ignores_translation_and_takes_tensors_or_lists():
    torch.manual_seed(0)
    pred, target = torch.randn(2, 4, 6, 2, dtype=torch.float64)
    neighbours = torch.tensor([[(i + 1) % 6, (i + 2) % 6] for i in range(6)])
    value = relative_location(pred, target, neighbours, functional.l2)
    moved = relative_location(pred + 7.0, target, neighbours.tolist(), functional.l2)
    torch.testing.assert_close(value, moved)


def test_landmark_without_neighbours_adds_nothing():
    pred, target = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    assert float(relative_location(pred, target, [[], [0]], functional.l1)) == 0.0


def _statistics(n: int) -> ShapeStatistics:
    torch.manual_seed(1)
    return ShapeStatistics(torch.rand(n, 2), torch.rand(n, n), scheme_of(n))


@pytest.mark.parametrize("name", ["L1", "L2", "SmoothL1", "Wing", "SoftWing"])
@pytest.mark.parametrize("relative_weight", [0.0, 1.0])
def test_same_face_at_another_input_size_costs_the_same(name, relative_weight):
    criterion = getattr(criteria, name)(_statistics(8), relative_weight=relative_weight)
    pred, target = torch.rand(2, 3, 8, 2) * 256
    large = criterion(LandmarkOutput(pred), batch_of(256, target))["loss"]
    small = criterion(LandmarkOutput(pred / 2), batch_of(128, target / 2))["loss"]
    torch.testing.assert_close(large, small)


@pytest.mark.parametrize("name", ["L1", "L2", "SmoothL1", "Wing", "SoftWing"])
def test_given_neighbours_take_the_place_of_the_strongest(name):
    lists = [[(i + 3) % 8, (i + 5) % 8] for i in range(8)]
    make = functools.partial(getattr(criteria, name), _statistics(8), relative_weight=1.0)
    pred, target = torch.rand(2, 3, 8, 2) * 256
    criterion = make(neighbours=lambda n: lists[:n])
    found = criterion(LandmarkOutput(pred), batch_of(256, target))["relative"]
    torch.testing.assert_close(found, relative_location(pred, target, lists, criterion.point_loss))
    assert not torch.equal(found, make()(LandmarkOutput(pred), batch_of(256, target))["relative"])


def test_relative_weight_adds_the_relative_term():
    statistics = _statistics(8)
    pred, target = torch.rand(2, 3, 8, 2) * 256
    terms = criteria.SoftWing(statistics, relative_weight=0.5)(LandmarkOutput(pred), batch_of(256, target))
    alone = criteria.SoftWing(statistics)(LandmarkOutput(pred), batch_of(256, target))
    assert set(alone) == {"loss"}
    torch.testing.assert_close(terms["loss"], alone["loss"] + 0.5 * terms["relative"])
