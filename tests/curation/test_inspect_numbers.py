"""Numbers beside landmarks: none hides another, and colours that tell the sides of a face apart."""

from __future__ import annotations

import numpy as np
import pytest

from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop, transform_points
from facegraph.landmarks import SCHEMES, WFLW98, LandmarkScheme
from facegraph.viz.faces import GREEN, RED, draw_landmarks
from facegraph.viz.numbers import (
    LEFT,
    MIDDLE,
    RIGHT,
    draw_numbers,
    draw_pairs,
    landmark_sides,
    place_labels,
    side_colours,
)

SIDE = 900


def faces(scheme: LandmarkScheme, count: int) -> np.ndarray:
    """(count, N, 2) drawn faces, each filling a picture of SIDE px."""
    table = SyntheticDataset(scheme=scheme, train_size=count, test_size=1).train().table
    return np.stack([transform_points(square_crop(landmark_box(f), 1.2, SIDE), f) for f in table.landmarks])


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_sides_follow_the_picture_and_mirror(scheme: LandmarkScheme) -> None:
    mean = faces(scheme, 40).mean(axis=0)
    sides, flip = landmark_sides(scheme, mean), np.array(scheme.flip)
    np.testing.assert_array_equal(sides[flip], -sides)
    assert ((sides == 0) == (flip == np.arange(len(flip)))).all()
    left, right = (c for c in scheme.contours if c.name in ("left_eye", "right_eye"))
    assert (sides[list(left.indices)] == -1).all()
    assert (sides[list(right.indices)] == 1).all()
    mirrored = mean * [-1, 1]
    np.testing.assert_array_equal(landmark_sides(scheme, mirrored), -sides)


def test_every_side_has_its_colour() -> None:
    np.testing.assert_array_equal(side_colours(np.array([-1, 0, 1, -1])), [LEFT, MIDDLE, RIGHT, LEFT])


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_labels_lie_beside_their_dots_and_in_the_picture(scheme: LandmarkScheme) -> None:
    sizes = np.tile([26.0, 15.0], (scheme.num_landmarks, 1))
    for points in faces(scheme, 6):
        centres = place_labels(points, sizes, scheme, (SIDE, SIDE))
        assert (centres >= sizes / 2).all()
        assert (centres <= SIDE - 1 - sizes / 2).all()
        gaps = np.linalg.norm(centres - points, axis=-1)
        assert ((gaps > 10) & (gaps < 25)).all()


def test_lonely_label_lies_on_the_outside() -> None:
    ring = 450 + 300 * np.array([[-1, 0], [0, -1], [1, 0], [0, 1]], dtype=float)
    scheme = LandmarkScheme("ring", (0, 1, 2, 3), {})
    centres = place_labels(ring, np.full((4, 2), 16.0), scheme, (SIDE, SIDE))
    outward = (ring - 450) / 300
    assert (((centres - ring) * outward).sum(axis=-1) > 10).all()
    assert (np.linalg.norm(centres - ring, axis=-1) < 20).all()


def test_numbers_are_drawn_beside_their_dots() -> None:
    points = faces(WFLW98, 1)[0]
    black = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    colours = side_colours(landmark_sides(WFLW98, points))
    plain, numbered = draw_landmarks(black, points, WFLW98, colours, 0.75), draw_numbers(black, points, WFLW98, colours)
    assert black.max() == 0
    ink = (numbered.astype(int) - plain).max(axis=-1) > 60
    for x, y in points:
        near = ink[max(0, int(y) - 40) : int(y) + 40, max(0, int(x) - 45) : int(x) + 45]
        assert near.sum() > 20
    blue = numbered[..., 2].astype(int) - numbered[..., 0] > 100
    orange = numbered[..., 0].astype(int) - numbered[..., 2] > 100
    assert blue[:, : SIDE // 3].sum() > 1000 > 50 > blue[:, -SIDE // 3 :].sum()
    assert orange[:, -SIDE // 3 :].sum() > 1000 > 50 > orange[:, : SIDE // 3].sum()
    with pytest.raises(DataError, match=r"\(98, 3\) are needed"):
        draw_numbers(black, points, WFLW98, colours[:5])


def test_pairs_are_joined_and_the_middle_is_not() -> None:
    scheme = LandmarkScheme("three", (1, 0, 2), {})
    points = np.array([[10.0, 20.0], [50.0, 20.0], [30.0, 50.0]])
    drawn = draw_pairs(np.zeros((64, 64, 3), dtype=np.uint8), points, scheme)
    assert drawn[20, 10:51].min() > 40
    drawn[18:23] = 0
    assert drawn.max() == 0


def test_landmarks_can_have_a_colour_each() -> None:
    scheme = LandmarkScheme("two", (1, 0), {})
    points = np.array([[16.0, 32.0], [48.0, 32.0]])
    drawn = draw_landmarks(np.zeros((64, 64, 3), dtype=np.uint8), points, scheme, np.array([GREEN, RED]))
    assert tuple(drawn[32, 16]) == GREEN
    assert tuple(drawn[32, 48]) == RED
