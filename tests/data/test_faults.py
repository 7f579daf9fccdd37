"""Landmarks that are no face in their picture, and marks of landmarks that are not there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facegraph.data.faults import landmark_fault, missing_text, picture_fault, without_marked
from facegraph.geometry.affine import landmark_box
from facegraph.geometry.completion import complete_shapes
from facegraph.landmarks import IBUG68
from tests.helpers.faces import QUAD, quad_landmarks

FACE = np.array([[10.0, 20.0], [50.0, 30.0], [20.0, 80.0], [30.0, 60.0]])
RIGHT = np.array([1.0, 0.0])
NORMALISERS = ("inter_ocular", "box")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: p[:3], "shape (3, 2)"),
        (lambda p: np.array([*p[:2], [np.nan, 80.0], p[3]]), "landmark 2 is [nan, 80.0]"),
        (lambda p: np.where(p == p[1], np.inf, p), "landmark 1 is [inf, inf]"),
        (lambda p: np.where(np.arange(4)[:, None] > 0, np.nan, p), "it has 1 of 4 landmarks"),
        (lambda p: p * [1, 0], "span 40 x 0 px; width and height must be positive"),
        (lambda p: np.concatenate([p[:1], p[:1], p[2:]]), "'inter_ocular' (landmarks ((0,), (1,))) is 0 px"),
        (lambda p: np.concatenate([p[:1], p[:1] + RIGHT * 0.01, p[2:]]), "is 0.01 px on a face of 34.6 px"),
        (lambda p: p / 100, "fractions of the picture's sides, which have to be multiplied"),
        (lambda p: p / 50 - 0.9, "numbers from -1 to 1"),
        (lambda p: p / 40 + 7, "within 2 px"),
    ],
)
def test_landmarks_that_cannot_be_used_are_told(change: Callable[[np.ndarray], np.ndarray], named: str) -> None:
    assert landmark_fault(FACE, QUAD, NORMALISERS) is None
    assert named in str(landmark_fault(change(FACE), QUAD, NORMALISERS))


def test_a_speck_with_a_few_stray_points_is_a_speck() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((68, 2))
    points[[3, 40]] = [[180.0, 90.0], [20.0, 200.0]]
    assert "nearly all of them within 2 px" in str(landmark_fault(points, IBUG68, ("box",)))
    assert landmark_fault(200 * rng.random((68, 2)), IBUG68, ("box",)) is None


def test_a_publisher_s_profile_keeps_its_short_distance() -> None:
    profile = np.array([[10.0, 20.0], [10.2, 20.0], [20.0, 80.0], [60.0, 60.0]])
    assert landmark_fault(profile, QUAD, NORMALISERS) is not None
    assert landmark_fault(profile, QUAD, NORMALISERS, smallest_share=0.0) is None
    assert landmark_fault(profile, QUAD, ("box",)) is None


def test_a_missing_eye_is_no_fault() -> None:
    points = FACE.copy()
    points[0] = np.nan
    assert landmark_fault(points, QUAD, NORMALISERS) is None


@pytest.mark.parametrize(
    ("points", "share", "named"),
    [
        (FACE, 0.5, None),
        (FACE + RIGHT * 60, 0.5, None),  # one of four is beyond the border
        (FACE + RIGHT * 85, 0.5, "3 of 4 landmarks lie outside the picture of 100 x 90 px, in the middle at (110, 45)"),
        (FACE + RIGHT * 85, 1.0, None),
        (np.concatenate([FACE[:3], [[30.0, 400.0]]]), 0.5, "landmark 3 at (30, 400) lies more than one image side"),
        (np.concatenate([FACE[:3], [[np.nan, np.nan]]]), 0.5, None),
    ],
)
def test_landmarks_beside_the_picture(points: np.ndarray, share: float, named: str | None) -> None:
    fault = picture_fault(points, 100, 90, share)
    assert fault is None if named is None else named in str(fault)


def test_marks_of_missing_landmarks() -> None:
    nan = np.nan
    marked = [[0, 0], [-1, -1], [-999, -999], [nan, nan]]
    kept = [[0, 5], [-1, -2], [nan, 3], [7, 7], [0.001, 0.001]]
    found = without_marked(np.array([*marked, *kept], dtype=np.float64))
    assert np.isnan(found[:4]).all()
    np.testing.assert_array_equal(found[4:], np.array(kept, dtype=np.float64))
    assert missing_text(found[:5]) == "4 of 5 landmarks are marked as missing (0, 1, 2, 3)"
    assert missing_text(np.full((6, 2), nan)).endswith("(0, 1, 2, 3 and 2 more)")


def test_boxes_leave_missing_landmarks_out() -> None:
    points = np.stack([FACE, FACE])
    points[1, 0] = np.nan
    assert landmark_box(points).tolist() == [[10, 20, 50, 80], [20, 30, 50, 80]]
    assert np.isnan(landmark_box(np.full((3, 2), np.nan))).all()


def test_stand_ins_lie_where_the_others_have_the_landmark() -> None:
    """Turned and scaled faces: what was taken away comes back to a fraction of the noise between faces."""
    whole = quad_landmarks(40, seed=3)
    turn = np.deg2rad(np.random.default_rng(1).uniform(-40, 40, 40))
    rotation = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    whole = np.einsum("mij,mnj->mni", rotation, whole) * 3
    partial = whole.copy()
    partial[::2, 1], partial[1::4, 2] = np.nan, np.nan
    completed = complete_shapes(partial)
    known = np.isfinite(partial)
    np.testing.assert_array_equal(completed[known], partial[known])
    assert np.abs(completed - whole).max() < 6  # faces of 60 px with noise of 1 px in each of three points
    assert complete_shapes(whole) is whole
    nowhere = whole.copy()
    nowhere[:, 3] = np.nan
    assert np.isfinite(complete_shapes(nowhere)).all()
