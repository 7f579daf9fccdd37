"""Heatmaps of landmarks and landmarks of heatmaps: known answers, a plain implementation beside it, round trips."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facegraph.codecs.decoders import ArgMax, Centroid, Decoder, QuarterOffset, SoftArgMax
from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError

DECODERS: dict[str, Decoder] = {
    "centroid": Centroid(),
    "plain": Centroid(border="plain"),
    "argmax": ArgMax(),
    "quarter": QuarterOffset(),
    "soft": SoftArgMax(),
}


def in_crop(points: Tensor, size: int, input_size: int) -> Tensor:
    return (points + 0.5) * input_size / size - 0.5


def gaussians(points: Tensor, size: int, sigma: float = 1.0) -> Tensor:
    """Maps (M, size, size) of points (M, 2) heatmap px."""
    return HeatmapCodec(ArgMax(), sigma).encode(in_crop(points, size, 4 * size)[None], 4 * size, (size, size))[0]


def fan_centroid(heatmap: Tensor, radius: float = 0.1, gamma: float = 1.0) -> tuple[float, float]:
    """The spec's decoder with loops, in coordinates whose 0 is the left edge of the first pixel."""
    height, width = heatmap.shape
    flat = int(heatmap.argmax())
    peak = (flat % width + 0.5, flat // width + 0.5)
    total, x_sum, y_sum = 0.0, 0.0, 0.0
    for y in range(height):
        for x in range(width):
            within = math.dist(peak, (x + 0.5, y + 0.5)) <= radius * math.sqrt(height * width)
            mass = max(float(heatmap[y, x]), 0.0) ** gamma if within else 0.0
            total, x_sum, y_sum = total + mass, x_sum + mass * (x + 0.5), y_sum + mass * (y + 0.5)
    return x_sum / total, y_sum / total


def test_values_of_a_gaussian() -> None:
    """Crop px 101.5, 49.5 is 25, 12 in a map of 64; height 1 at its centre, exp(-d^2 / 2) beside it, 0 beyond 5."""
    heatmap = HeatmapCodec(Centroid()).encode(torch.tensor([[[101.5, 49.5]]]), 256, (64, 64))
    assert heatmap.shape == (1, 1, 64, 64)
    assert float(heatmap[0, 0, 12, 25]) == pytest.approx(1.0)
    assert float(heatmap[0, 0, 13, 27]) == pytest.approx(math.exp(-2.5))
    assert float(heatmap[0, 0, 12, 30]) == pytest.approx(math.exp(-12.5))
    assert float(heatmap[0, 0, 12, 31]) == 0
    assert int((heatmap > 0).sum()) == 11 * 11


def test_a_gaussian_between_pixels_keeps_its_centre() -> None:
    exact = HeatmapCodec(Centroid()).encode(torch.tensor([[[103.1, 49.5]]]), 256, (64, 64))[0, 0]
    snapped = HeatmapCodec(Centroid(), subpixel=False).encode(torch.tensor([[[103.1, 49.5]]]), 256, (64, 64))[0, 0]
    assert float(exact[12, 25]) == pytest.approx(math.exp(-(0.4**2) / 2), abs=1e-5)
    assert float(snapped[12, 25]) == 1
    torch.testing.assert_close(snapped[12, 20:25], snapped[12, 26:31].flip(0))


@pytest.mark.parametrize("point", [(-40.0, 30.0), (30.0, 290.0), (-1e6, 1e6)])
def test_a_landmark_far_outside_has_an_empty_map(point: tuple[float, float]) -> None:
    assert float(HeatmapCodec(Centroid()).encode(torch.tensor([[point]]), 256, (64, 64)).abs().sum()) == 0


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("size", [16, 32, 64, 96])
def test_round_trip(size: int, sigma: float) -> None:
    """Everywhere in the map, half of the points within two pixels of a border, corners among them."""
    points = torch.rand(600, 2, generator=torch.Generator().manual_seed(size)) * size - 0.5
    points[:150, 0] = points[:150, 0] / size * 2 - 0.5
    points[100:200, 1] = size - 1.0 - points[100:200, 1] / size * 2
    points[0], points[1] = torch.tensor([-0.5, -0.5]), torch.tensor([size - 0.5, size - 0.5])
    codec = HeatmapCodec(Centroid(), sigma)
    truth = in_crop(points.clamp(-0.5, size - 0.5), size, 4 * size)[None]
    found = codec.decode(codec.encode(truth, 4 * size, (size, size)), 4 * size)
    assert float((found - truth).abs().max()) / 4 < 1e-3


def test_the_border_is_why() -> None:
    """The plain centroid of a Gaussian on the very edge lies 0.8 px inside."""
    edge = torch.tensor([[-0.5, 30.0]])
    assert float(DECODERS["plain"](gaussians(edge, 64), 1.0)[0, 0]) == pytest.approx(0.33, abs=0.03)
    assert float(DECODERS["centroid"](gaussians(edge, 64), 1.0)[0, 0]) == pytest.approx(-0.5, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([(9, 7), (12, 12)]), st.sampled_from([0.1, 0.25, 3.0]))
def test_plain_centroid_is_fans(seed: int, size: tuple[int, int], radius: float) -> None:
    heatmap = torch.randn(*size, generator=torch.Generator().manual_seed(seed))
    found = Centroid(radius, border="plain")(heatmap)
    assert found.tolist() == pytest.approx([v - 0.5 for v in fan_centroid(heatmap, radius)], abs=1e-4)


def test_inside_the_map_the_correction_changes_nothing() -> None:
    """Whatever the map looks like, if its peak is a radius away from every border."""
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(20, 64, 64, generator=generator)
    peaks = torch.randint(7, 57, (20, 2), generator=generator)
    heatmaps[torch.arange(20), peaks[:, 1], peaks[:, 0]] = 2.0
    corrected = Centroid()(heatmaps)
    assert torch.equal(corrected, Centroid(border="plain")(heatmaps))
    for heatmap, point in zip(heatmaps[:3], corrected, strict=False):
        assert point.tolist() == pytest.approx([v - 0.5 for v in fan_centroid(heatmap)], abs=1e-4)


def test_gamma_keeps_the_centre() -> None:
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) * 40 - 0.5
    for border in ("corrected", "plain"):
        found = Centroid(gamma=2.0, border=border)(gaussians(points + 10, 64))
        torch.testing.assert_close(found, points + 10, atol=1e-3, rtol=0)
    torch.testing.assert_close(Centroid(gamma=2.0)(gaussians(points, 40)), points, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "point", "expected"),
    [
        ("argmax", (20.3, 11.6), (20, 12)),
        ("quarter", (20.3, 11.6), (20.25, 11.75)),
        ("quarter", (0.3, 12.2), (0, 12.25)),  # no neighbour on one side: it stays
        ("soft", (20.0, 12.0), (20, 12)),
        ("centroid", (20.3, 11.6), (20.3, 11.6)),
    ],
)
def test_known_points(name: str, point: tuple[float, float], expected: tuple[float, float]) -> None:
    found = DECODERS[name](gaussians(torch.tensor([point]), 32), 1.0)[0]
    assert found.tolist() == pytest.approx(expected, abs=0.02)


def test_what_each_decoder_costs() -> None:
    """Arg-max alone loses 0.38 px (the mean distance to the middle of a unit square), a quarter step half of that."""
    points = torch.rand(2000, 2, generator=torch.Generator().manual_seed(1)) * 40 + 10
    heatmaps = gaussians(points, 64)
    losses = {name: float((decode(heatmaps, 1.0) - points).norm(dim=-1).mean()) for name, decode in DECODERS.items()}
    assert losses["argmax"] == pytest.approx(0.3826, abs=0.01)
    assert losses["quarter"] == pytest.approx(0.1913, abs=0.01)
    assert losses["plain"] < 1e-5
    assert losses["centroid"] < 1e-5
    assert 0.1 < losses["soft"] < 0.25


@pytest.mark.parametrize("name", DECODERS)
def test_every_map_by_itself_in_any_shape(name: str) -> None:
    heatmaps = torch.randn(2, 3, 5, 24, 16, generator=torch.Generator().manual_seed(3))
    together = DECODERS[name](heatmaps, 1.0)
    assert together.shape == (2, 3, 5, 2)
    torch.testing.assert_close(together[1, 2, 4], DECODERS[name](heatmaps[1, 2, 4], 1.0), atol=1e-5, rtol=0)
    assert bool((together >= -1.5).all())
    assert bool((together <= torch.tensor([16.5, 24.5])).all())


@pytest.mark.parametrize("name", DECODERS)
def test_odd_maps_give_finite_points(name: str) -> None:
    constant = [torch.full((1, 16, 16), value) for value in (0.0, -1.0, 1.0, 1e-30, 1e30)]
    assert bool(DECODERS[name](torch.cat(constant), 1.0).isfinite().all())


@pytest.mark.parametrize("border", ["corrected", "plain"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [16, 64])
def test_a_map_without_a_positive_value_gives_its_argmax_exactly(size: int, gamma: float, border: str) -> None:
    heatmaps = torch.stack([torch.zeros(size, size), torch.full((size, size), -1.0), -torch.rand(size, size) - 0.1])
    heatmaps[1, 3, 1] = -0.5
    heatmaps[2, size - 1, 0] = -0.01
    found = Centroid(gamma=gamma, border=border)(heatmaps.requires_grad_())
    assert found.tolist() == [[0, 0], [1, 3], [0, size - 1]]
    found.sum().backward()
    assert heatmaps.grad is not None
    assert bool(heatmaps.grad.isfinite().all())


def test_a_quarter_step_is_taken_on_each_axis_by_itself() -> None:
    """On the left border, where the published code does not move at all, it still moves up or down."""
    assert QuarterOffset()(gaussians(torch.tensor([[0.2, 12.3]]), 32)).tolist() == [[0, 12.25]]


@pytest.mark.parametrize("name", ["centroid", "plain", "soft"])
def test_gradient(name: str) -> None:
    """Against differences, also at the border, where the centre is found by iteration."""
    points = torch.tensor([[0.3, 15.4], [14.8, 7.2], [9.0, 9.0]])
    heatmaps = gaussians(points, 16) + 0.02 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    leaf = heatmaps.clone().requires_grad_()
    DECODERS[name](leaf, 1.0).sum().backward()
    assert leaf.grad is not None
    for k, y, x in ((0, 14, 1), (1, 8, 14), (2, 10, 9)):
        step = torch.zeros_like(heatmaps)
        step[k, y, x] = 2e-3
        ends = [DECODERS[name](heatmaps + sign * step, 1.0).double().sum() for sign in (1, -1)]
        assert float(leaf.grad[k, y, x]) == pytest.approx(float(ends[0] - ends[1]) / 4e-3, rel=0.05, abs=3e-3)


def test_half_precision_around_it_changes_nothing() -> None:
    codec = HeatmapCodec(Centroid())
    landmarks = torch.rand(2, 5, 2) * 128
    with torch.autocast("cpu", torch.bfloat16):
        heatmaps = codec.encode(landmarks, 128, (32, 32))
        found = codec.decode(heatmaps, 128)
    assert heatmaps.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, landmarks, atol=4e-3, rtol=0)
    assert codec.decode(heatmaps.bfloat16(), 128).dtype == torch.float32


def test_corner_origin() -> None:
    """Half a crop px further right and down, both ways."""
    centre, corner = (HeatmapCodec(Centroid(), corner_origin=c) for c in (False, True))
    landmarks = torch.rand(1, 5, 2) * 200 + 20
    heatmaps = centre.encode(landmarks, 256, (64, 64))
    torch.testing.assert_close(corner.decode(heatmaps, 256), landmarks + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(corner.encode(landmarks + 0.5, 256, (64, 64)), heatmaps, atol=1e-4, rtol=0)


def test_maps_need_not_be_square() -> None:
    codec = HeatmapCodec(Centroid())
    landmarks = torch.rand(1, 5, 2) * 128
    found = codec.decode(codec.encode(landmarks, 128, (64, 32)), 128)
    torch.testing.assert_close(found, landmarks, atol=4e-3, rtol=0)


def test_confidence_is_the_mean_peak() -> None:
    heatmaps = torch.zeros(2, 2, 4, 4)
    heatmaps[0, 0, 1, 2], heatmaps[0, 1, 0, 0], heatmaps[1, 0, 3, 3] = 0.5, 7.0, 0.25
    heatmaps[1, 1] = -1.0
    found = HeatmapCodec(Centroid()).confidence(heatmaps.requires_grad_())
    assert found.tolist() == pytest.approx([0.75, 0.125])
    assert not found.requires_grad


@pytest.mark.any_processor
def test_decoding_is_one_graph() -> None:
    """Exportable: nothing in the program looks at values."""

    class Decode(torch.nn.Module):
        def forward(self, heatmaps: Tensor) -> Tensor:
            return HeatmapCodec(Centroid()).decode(heatmaps, 64)

    first, second = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    program = torch.export.export(Decode(), (first,)).module()
    torch.testing.assert_close(program(second), Decode()(second))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: HeatmapCodec(ArgMax(), sigma=0), "codec.sigma=0"),
        (lambda: HeatmapCodec(ArgMax(), support=-1), "codec.support=-1"),
        (lambda: Centroid(radius=0), "codec.decoder.radius=0"),
        (lambda: Centroid(gamma=-2), "codec.decoder.gamma=-2"),
        (lambda: Centroid(border="open"), "'open' is unknown; use corrected or plain"),
        (lambda: SoftArgMax(beta=0), "codec.decoder.beta=0"),
    ],
)
def test_settings_out_of_range(make, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=named):
        make()
