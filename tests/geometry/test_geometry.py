"""Matrices and shapes: known points, compositions, and the limits of alignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facegraph.geometry.affine import (
    horizontal_flip,
    landmark_box,
    rotation,
    scaling,
    square_crop,
    transform_points,
    translation,
)
from facegraph.geometry.points import map_points
from facegraph.geometry.procrustes import align_to, procrustes

finite = st.floats(-50, 50)


def test_known_points() -> None:
    point = np.array([3.0, 1.0])
    np.testing.assert_allclose(transform_points(translation(2, -1), point), [5, 0])
    np.testing.assert_allclose(transform_points(scaling(2, (1, 1)), point), [5, 1])
    np.testing.assert_allclose(transform_points(rotation(90, (1, 1)), point), [1, 3], atol=1e-12)  # x turns towards y
    np.testing.assert_allclose(transform_points(horizontal_flip(8), point), [4, 1])


@given(st.floats(-180, 180), st.floats(0.1, 5), finite, finite)
def test_turn_and_scale_keep_their_centre_and_shape(degrees: float, factor: float, x: float, y: float) -> None:
    points = np.array([[x, y], [x + 1, y], [x, y + 1]])
    moved = transform_points(scaling(factor, (x, y)) @ rotation(degrees, (x, y)), points)
    np.testing.assert_allclose(moved[0], [x, y], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(moved[1:] - moved[0], axis=1), factor, rtol=1e-9)
    # right to left: the matrix of a product is applied last to first
    steps = transform_points(scaling(factor, (x, y)), transform_points(rotation(degrees, (x, y)), points))
    np.testing.assert_allclose(moved, steps, atol=1e-9)


def test_flipping_twice_changes_nothing() -> None:
    np.testing.assert_allclose(horizontal_flip(65) @ horizontal_flip(65), np.eye(3))


@given(finite, finite, st.floats(1, 100), st.floats(1, 100), st.floats(0.5, 2), st.sampled_from([32, 64, 256]))
def test_square_crop_puts_the_box_in_the_middle(
    x: float, y: float, w: float, h: float, margin: float, size: int
) -> None:
    box = np.array([x, y, x + w, y + h])
    corners = transform_points(square_crop(box, margin, size), box.reshape(2, 2))
    np.testing.assert_allclose(corners.mean(axis=0), (size - 1) / 2, atol=1e-6)
    np.testing.assert_allclose((corners[1] - corners[0]).max(), size / margin, rtol=1e-9)


def test_landmark_box() -> None:
    faces = np.array([[[1.0, 5.0], [4.0, 2.0]], [[0.0, 0.0], [-1.0, 7.0]]])
    np.testing.assert_allclose(landmark_box(faces), [[1, 2, 4, 5], [-1, 0, 0, 7]])


def test_tensors_map_as_arrays_do_and_stay_float32_under_autocast() -> None:
    rng = np.random.default_rng(0)
    matrices, points = rng.normal(size=(3, 2, 3)), rng.normal(size=(3, 5, 2)) * 100
    expected = np.stack([transform_points(m, p) for m, p in zip(matrices, points, strict=True)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = map_points(torch.from_numpy(matrices).float(), torch.from_numpy(points).float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-3)


def similar_copies(shape: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    matrices = [
        rotation(a, (0, 0)) @ scaling(s, (0, 0))
        for a, s in zip(rng.uniform(-30, 30, count), rng.uniform(0.5, 3, count), strict=True)
    ]
    return np.stack([transform_points(translation(*rng.normal(0, 9, 2)) @ m, shape) for m in matrices])


def test_copies_of_one_shape_fall_together() -> None:
    shape = np.random.default_rng(1).normal(size=(9, 2))
    aligned, mean = procrustes(similar_copies(shape, 20))
    np.testing.assert_allclose(aligned, np.broadcast_to(mean, aligned.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(mean), 1)
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-12)


def test_alignment_is_the_best_rotation_and_never_a_reflection() -> None:
    rng = np.random.default_rng(2)
    reference, shape = (s - s.mean(axis=0) for s in rng.normal(size=(2, 7, 2)))
    best = np.linalg.norm(align_to(shape[None], reference)[0] - reference)
    for degrees in np.linspace(0, 360, 721):
        turned = transform_points(rotation(degrees, (0, 0)), shape)
        assert np.linalg.norm(turned - reference) >= best - 1e-9
    mirrored = align_to((reference * [-1, 1])[None], reference)[0]
    assert np.linalg.norm(mirrored - reference) > 0.1


def test_an_upright_set_stays_upright() -> None:
    face = np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.5]])
    mean = procrustes(similar_copies(face, 200))[1]
    eyes = mean[1] - mean[0]
    assert abs(np.degrees(np.arctan2(eyes[1], eyes[0]))) < 5


@pytest.mark.parametrize("iterations", [3, 10])
def test_the_mean_is_stable(iterations: int) -> None:
    shapes = similar_copies(np.random.default_rng(1).normal(size=(9, 2)), 30) + np.random.default_rng(3).normal(
        0, 0.1, (30, 9, 2)
    )
    np.testing.assert_allclose(procrustes(shapes, iterations)[1], procrustes(shapes, 30)[1], atol=1e-5)
