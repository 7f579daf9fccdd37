"""Affine matrices and warps in tensors: known answers, parity with scipy and numpy, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from facegraph.geometry.matrices import compose, invert
from facegraph.geometry.points import map_points
from facegraph.geometry.sampling import warp


def similarity(degrees: float, scale: float, x: float, y: float) -> torch.Tensor:
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return torch.tensor([[[c, -s, x], [s, c, y]]])


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(0.3, 3), st.floats(-200, 200), st.floats(-2, 2))
def test_the_inverse_leads_back(degrees: float, scale: float, shift: float, shear: float) -> None:
    forth = similarity(degrees, scale, shift, 30.0)
    forth[0, 0, 1] += 0.2 * shear
    torch.testing.assert_close(compose(invert(forth), forth)[0], torch.eye(3)[:2], atol=2e-3, rtol=1e-4)
    square = torch.cat([forth[0], torch.tensor([[0.0, 0.0, 1.0]])])
    torch.testing.assert_close(invert(square), torch.linalg.inv(square.double())[:2].float(), atol=2e-3, rtol=1e-4)


def test_composition_reads_right_to_left_and_broadcasts() -> None:
    first, second = similarity(30, 2, 5, -3).repeat(4, 1, 1), torch.randn(4, 2, 3)
    points = torch.randn(4, 7, 2)
    both = map_points(compose(second, first), points)
    torch.testing.assert_close(both, map_points(second, map_points(first, points)), atol=1e-4, rtol=1e-4)
    square = torch.cat([first[0], torch.tensor([[0.0, 0.0, 1.0]])])
    torch.testing.assert_close(compose(second, square), compose(second, first))


def test_a_flat_matrix_gives_finite_numbers_and_gradients() -> None:
    flat = torch.zeros(1, 2, 3, requires_grad=True)
    image = torch.rand(1, 3, 8, 8)
    (invert(flat).sum() + warp(image, flat, 4).sum()).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_the_identity_keeps_the_image_and_whole_steps_shift_it() -> None:
    image = torch.rand(2, 3, 6, 6)
    identity = torch.eye(3).expand(2, 3, 3)
    torch.testing.assert_close(warp(image, identity, 6), image, atol=1e-6, rtol=0)
    moved = warp(image, similarity(0, 1, 2, -1).expand(2, 2, 3), 6, border=-1.0)
    torch.testing.assert_close(moved[..., :5, 2:], image[..., 1:, :4], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., :2], torch.full((2, 3, 6, 2), -1.0))
    torch.testing.assert_close(moved[..., 5, :], torch.full((2, 3, 6), -1.0))


@pytest.mark.parametrize("border", [0.0, -1.0])
def test_as_scipy_interpolates(border: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((2, 3, 20, 31)).astype(np.float32)  # not square: x and y must not be mixed up
    matrices = torch.cat([similarity(25, 0.8, 3, 1), similarity(-100, 1.7, 20, 40)])
    matrices[1, 0, 1] += 0.3
    got = warp(torch.from_numpy(image), matrices, 24, border).numpy()
    y, x = np.mgrid[:24, :24]
    for b in range(2):
        back = np.linalg.inv(np.vstack([matrices[b].double().numpy(), [0, 0, 1]]))
        sx, sy, _ = back @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        for c in range(3):
            want = map_coordinates(image[b, c], [sy, sx], order=1, mode="grid-constant", cval=border)
            np.testing.assert_allclose(got[b, c].ravel(), want, atol=1e-4)


def test_the_gradient_of_a_slope_is_its_slope() -> None:
    """An image that rises by 0.5 per px to the right and 0.25 downwards: moving the frame moves its values."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = (0.5 * x + 0.25 * y)[None, None].requires_grad_()
    matrix = similarity(0, 1, -8, -8).requires_grad_()
    warp(image, matrix, 8).mean().backward()
    assert matrix.grad is not None
    assert image.grad is not None
    # frame px q shows image px q + 8; towards larger shifts it shows what lies further left and up
    torch.testing.assert_close(matrix.grad[0, :, 2], torch.tensor([-0.5, -0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(matrix.grad[0, 0, 0], torch.tensor(-0.5 * (3.5 + 8)), atol=1e-3, rtol=0)
    torch.testing.assert_close(image.grad.sum(), torch.tensor(1.0))
    assert image.grad[0, 0, 10, 10] > 0 == image.grad[0, 0, 20, 20]


def test_autocast_changes_nothing() -> None:
    image, matrix = torch.rand(1, 3, 200, 200), similarity(13, 1.1, 7.3, -9.1)
    with torch.autocast("cpu", torch.bfloat16):
        got = warp(image, matrix, 100)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, warp(image, matrix, 100), atol=0, rtol=0)
