"""Box policies: which box, how it moves, the square around it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegraph.data.boxes import BoxPolicy, DetectorJitteredBox, LandmarkBox, OfficialBox
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import transform_points

LANDMARKS = np.array([[[10.0, 20], [30, 60], [20, 40]], [[0, 0], [5, 9], [1, 1]]])
GIVEN = np.array([[8.0, 15, 32, 65], [np.nan] * 4])
IDS = ("a", "b")


def test_each_policy_takes_its_box() -> None:
    assert LandmarkBox().boxes(LANDMARKS, GIVEN, IDS).tolist() == [[10, 20, 30, 60], [0, 0, 5, 9]]
    assert OfficialBox(fallback=True).boxes(LANDMARKS, GIVEN, IDS).tolist() == [[8, 15, 32, 65], [0, 0, 5, 9]]
    with pytest.raises(DataError, match="1 of 2 faces have no box of their own, first 'b'"):
        OfficialBox().boxes(LANDMARKS, GIVEN, IDS)


def test_a_stretched_box_fills_the_crop() -> None:
    policy = OfficialBox(margin=2.0, side="each")
    matrix = policy.square(np.array([10.0, 20.0, 50.0, 120.0]), 64)
    # of the 64 px the box takes the middle half; its corners are positions, the crop covers [-0.5, 63.5]
    corners = transform_points(matrix, np.array([[10.0, 20.0], [50.0, 120.0], [30.0, 70.0]]))
    np.testing.assert_allclose(corners, [[15.5, 15.5], [47.5, 47.5], [31.5, 31.5]])
    assert policy.crop_description == "square around the official box, which stretches it"


@pytest.mark.parametrize(("side", "expected"), [("longer", 50 * 1.5), ("mean", 37 * 1.5)])
def test_the_square_has_the_margin_and_the_middle_of_the_box(side: str, expected: float) -> None:
    policy = LandmarkBox(margin=1.5, side=side)
    matrix = policy.square(GIVEN[0], 128)
    assert 128 / matrix[0, 0] == pytest.approx(expected)
    np.testing.assert_allclose(transform_points(matrix, np.array([20.0, 40])), [63.5, 63.5], atol=1e-9)


@given(seed=st.integers(0, 10**6), shift=st.floats(0, 0.3), low=st.floats(0.7, 1), high=st.floats(1, 1.4))
def test_jitter_stays_in_its_range(seed: int, shift: float, low: float, high: float) -> None:
    policy = DetectorJitteredBox(shift=shift, width=(low, high), height=(1.0, 1.0))
    box = GIVEN[0]
    moved = policy.jittered(box, np.random.default_rng(seed))
    size, before = moved[2:] - moved[:2], box[2:] - box[:2]
    offset = (moved[:2] + moved[2:] - box[:2] - box[2:]) / 2
    assert low - 1e-9 <= size[0] / before[0] <= high + 1e-9
    assert size[1] == pytest.approx(before[1])
    assert (np.abs(offset) <= shift * before + 1e-9).all()


def test_a_scored_face_keeps_its_draw_whatever_the_order() -> None:
    policy = DetectorJitteredBox(shift=0.2)
    boxes = policy.boxes(LANDMARKS, GIVEN, IDS)
    first, turned = policy.scored(boxes, IDS), policy.scored(boxes[::-1], IDS[::-1])
    np.testing.assert_array_equal(first, turned[::-1])
    assert not np.allclose(first, boxes)
    assert not np.allclose(first, DetectorJitteredBox(shift=0.2, seed=1).scored(boxes, IDS))
    np.testing.assert_array_equal(LandmarkBox().scored(boxes, IDS), boxes)
    still = DetectorJitteredBox(shift=0.2, probability=0.0)
    np.testing.assert_array_equal(still.scored(boxes, IDS), boxes)


def test_boxes_moved_in_training_only_and_around_the_landmarks() -> None:
    policy = DetectorJitteredBox(shift=0.2, around="landmarks", scored_too=False)
    boxes = policy.boxes(LANDMARKS, GIVEN, IDS)
    assert boxes.tolist() == [[10, 20, 30, 60], [0, 0, 5, 9]]
    np.testing.assert_array_equal(policy.scored(boxes, IDS), boxes)
    assert not np.allclose(policy.jittered(boxes[0], np.random.default_rng(0)), boxes[0])
    assert policy.description.startswith("tight landmark box, in training only moved")
    assert DetectorJitteredBox().boxes(LANDMARKS, GIVEN, IDS)[0].tolist() == [8, 15, 32, 65]


def test_draws_are_spread_over_the_range() -> None:
    policy, rng = DetectorJitteredBox(shift=0.2, probability=0.5), np.random.default_rng(0)
    moved = np.array([policy.jittered(GIVEN[0], rng) for _ in range(2000)])
    assert np.mean((moved == GIVEN[0]).all(axis=1)) == pytest.approx(0.5, abs=0.04)
    centres = (moved[:, 0] + moved[:, 2]) / 2 - 20
    assert centres.min() < -0.19 * 24
    assert centres.max() > 0.19 * 24
    assert abs(centres.mean()) < 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LandmarkBox(margin=0), "box.margin is 0; it must be positive"),
        (lambda: LandmarkBox(side="shorter"), "box.side is 'shorter'; longer, mean or each"),
        (lambda: DetectorJitteredBox(shift=1.0), "box.shift is 1.0"),
        (lambda: DetectorJitteredBox(width=(1.2, 1.0)), r"box.width is \[1.2, 1.0\]"),
        (lambda: DetectorJitteredBox(probability=2), "box.probability 2"),
        (lambda: DetectorJitteredBox(around="box"), "box.around is 'box'; official or landmarks"),
    ],
)
def test_settings_out_of_range_are_named(make: type[BoxPolicy], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
