"""MuSiCa against plain loops, its published costs, and the formulas of its cascade."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.metrics.cost import count_macs, count_params
from facegraph.models.musica.iteration import Iteration, PatchNetwork
from facegraph.models.musica.model import INITIAL_WEIGHTS, MuSiCa
from facegraph.models.musica.patches import choose_patches, cut_patches
from facegraph.models.musica.pyramid import image_pyramid, to_level
from tests.helpers.models import face_statistics, faces

PATCHES_OF_19 = [0, 4, 8, 12, 16, 17, 21, 22, 26, 36, 39, 42, 45, 31, 34, 48, 51, 54, 57]
build = functools.partial(MuSiCa, hidden=24, channels=4)


def small(num_landmarks: int = 29, **settings: object) -> MuSiCa:
    torch.manual_seed(0)
    statistics = face_statistics(num_landmarks)
    return build(64, statistics, **{"initial_weights": "he", **settings}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("landmarks", "patches", "macs", "params"),
    [
        (98, list(range(0, 98, 2)), (23.32, 46.64, 69.96), 20.59),
        (98, list(range(98)), (46.27, 92.55, 138.82), 39.85),
        (68, list(range(68)), (32.19, 64.38, 96.57), 27.97),
        (68, list(range(0, 68, 2)), (16.26, 32.52, 48.78), 14.60),
        (68, PATCHES_OF_19, (9.23, 18.47, 27.70), 8.70),
    ],
)
def test_the_released_codes_costs(
    landmarks: int, patches: list[int], macs: tuple[float, ...], params: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INITIAL_WEIGHTS, "truncated_normal", lambda module: None)  # takes longer than all the rest
    model = MuSiCa(228, face_statistics(landmarks), patch_landmarks=patches)
    counted, by_name = count_macs(model, 228)
    of_one = len(patches) * 337_408 + (256 * len(patches) + 512) * 512 + 512 * (2 * landmarks + 1)
    assert [by_name[f"iterations.{k}"] for k in range(3)] == [of_one] * 3
    assert counted == 3 * of_one
    assert tuple(round(k * of_one / 1e6, 2) for k in (1, 2, 3)) == macs
    assert round(count_params(model) / 1e6, 2) == params


def test_a_pyramid_level_is_the_blurred_half_of_the_one_below() -> None:
    image = faces(2, 36)
    levels = image_pyramid(image, 2)
    assert [tuple(level.shape) for level in levels] == [(2, 3, 36, 36), (2, 3, 18, 18), (2, 3, 9, 9)]
    for below, level in pairwise(levels):
        blurred = gaussian_filter(below.double().numpy(), (0, 0, 2 / 3, 2 / 3), mode="nearest", truncate=4)
        size = blurred.shape[-1] // 2
        half = blurred.reshape(2, 3, size, 2, size, 2).mean(axis=(3, 5))
        np.testing.assert_allclose(level.numpy(), half, atol=1e-6)


def test_a_point_lies_where_its_pixel_went() -> None:
    """A ramp x + 100 y holds at each pixel of each level the crop position it shows."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    for level, image in enumerate(image_pyramid((x + 100 * y).expand(1, 3, 128, 128), 3)):
        at = to_level(torch.tensor([63.5, 55.5]), level)  # where four pixels meet, on every level
        around = [image[0, 0, int(at[1] + dy), int(at[0] + dx)] for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)]
        assert float(sum(around)) / 4 == pytest.approx(63.5 + 5550, rel=1e-5)
    torch.testing.assert_close(to_level(torch.tensor([-0.5, 0.5]), 2), torch.tensor([-0.5, -0.25]))


def patch_by_loops(image: np.ndarray, centre: np.ndarray, side: int) -> np.ndarray:
    """(3, P, P): the whole pixels whose middle is nearest to the centre, zeros outside."""
    patch = np.zeros((3, side, side), dtype=np.float32)
    first = np.floor(centre - (side - 1) / 2 + 0.5)
    for row in range(side):
        for column in range(side):
            x, y = first[0] + column, first[1] + row
            if 0 <= x < image.shape[2] and 0 <= y < image.shape[1]:
                patch[:, row, column] = image[:, int(y), int(x)]
    return patch


def test_patches_are_pixels_and_zeros_outside() -> None:
    image = faces(2, 30)
    centres = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(1)) * 60 - 15
    centres[0, :3] = torch.tensor([[6.5, 6.5], [1e12, 3.0], [3.0, -1e12]])
    centres[1, :2] = torch.tensor([[float("nan"), 5.0], [float("inf"), 5.0]])
    patches = cut_patches(image, centres, 14)
    for b, m in np.ndindex(2, 40):
        expected = np.zeros((3, 14, 14)) if not np.isfinite(centres[b, m]).all() else None
        if expected is None:
            expected = patch_by_loops(image[b].numpy(), centres[b, m].numpy(), 14)
        np.testing.assert_array_equal(patches[b, m].numpy(), expected)
    assert torch.equal(patches[0, 0], image[0, :, :14, :14]), "pixels 0..13 have their middle at 6.5"


def test_patches_pass_gradients_to_pixels_alone() -> None:
    image, centres = faces(1, 30).requires_grad_(), torch.full((1, 2, 2), 12.0, requires_grad=True)
    cut_patches(image, centres, 14).sum().backward()
    assert centres.grad is None
    assert image.grad is not None
    assert float(image.grad.max()) == 2, "both patches hold these pixels"


def test_shapes_in_the_patch_network() -> None:
    network = PatchNetwork(14, 32, attention=True)
    seen: list[tuple[int, ...]] = []
    for layer in (network.conv1, network.conv2):
        layer.register_forward_hook(
            lambda module, inputs, output: seen.extend([tuple(inputs[0].shape[1:]), tuple(output.shape[1:])])
        )
    features, weights = network(torch.randn(5, 3, 14, 14))
    assert seen == [(3, 14, 14), (32, 12, 12), (32, 6, 6), (32, 4, 4)]
    assert features.shape == (5, 256)
    assert weights is not None
    assert weights.shape == (5, 256)
    assert ((weights > 0) & (weights < 1)).all()


def iteration_by_loops(iteration: Iteration, patches: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches (M, 3, 14, 14) and state of one face -> numbers of the head, mean attention (M,), in float64."""
    named = {name: value.detach().double().numpy() for name, value in iteration.state_dict().items()}

    def conv(maps: np.ndarray, layer: str) -> np.ndarray:
        weight, bias = named[f"patch_network.{layer}.weight"], named[f"patch_network.{layer}.bias"]
        side = maps.shape[1] - 2
        out = np.empty((len(weight), side, side))
        for o, y, x in np.ndindex(*out.shape):
            out[o, y, x] = (weight[o] * maps[:, y : y + 3, x : x + 3]).sum() + bias[o]
        return np.maximum(out, 0)

    def pool(maps: np.ndarray) -> np.ndarray:
        c, side, _ = maps.shape
        return maps.reshape(c, side // 2, 2, side // 2, 2).max(axis=(2, 4))

    features, attention = [], []
    for patch in patches:
        second = conv(pool(conv(patch, "conv1")), "conv2")
        both = np.concatenate([second[:, 1:3, 1:3], pool(second)])  # (2 C, 2, 2)
        feature = np.array([both[c, y, x] for y in range(2) for x in range(2) for c in range(len(both))])
        logits = named["patch_network.attention.weight"] @ feature + named["patch_network.attention.bias"]
        weight = 1 / (1 + np.exp(-logits))
        features.append(weight * feature)
        attention.append(weight.mean())
    given = np.concatenate([*features, state])
    hidden = np.tanh(named["state.weight"] @ given + named["state.bias"])
    return named["head.weight"] @ hidden + named["head.bias"], np.array(attention)


def test_one_iteration_is_its_formulas() -> None:
    torch.manual_seed(0)
    iteration = Iteration(3, 5, 14, 4, 6, attention=True, dropout=0.5).eval()
    patches, state = torch.randn(2, 3, 3, 14, 14), torch.rand(2, 6) - 0.5
    step = iteration(patches, state)
    for face in range(2):
        raw, attention = iteration_by_loops(iteration, patches[face].double().numpy(), state[face].double().numpy())
        np.testing.assert_allclose(step.displacement[face].detach().flatten(), raw[:-1], atol=1e-5)
        np.testing.assert_allclose(step.error[face].detach(), raw[-1], atol=1e-5)
        np.testing.assert_allclose(step.attention[face], attention, atol=1e-6)


def test_dropout_acts_on_the_state_and_on_all_that_read_it() -> None:
    """What is left of the state is twice what it was, so nothing was dropped before; the head reads what is left."""
    torch.manual_seed(0)
    iteration = Iteration(3, 5, 14, 4, 200, attention=True, dropout=0.5)
    patches, before = torch.randn(2, 3, 3, 14, 14), torch.rand(2, 200) - 0.5
    whole = iteration.eval()(patches, before).state
    step = iteration.train()(patches, before)
    left = step.state != 0
    assert 0.35 < left.float().mean() < 0.65
    torch.testing.assert_close(step.state, torch.where(left, 2 * whole, 0))
    raw = iteration.head(step.state)
    torch.testing.assert_close(step.displacement.flatten(1), raw[:, :-1])
    torch.testing.assert_close(step.error, raw[:, -1])


@pytest.mark.parametrize("levels", [[2, 1, 0], [2, 2, 1, 0], [1, 0]])
def test_the_cascade_adds_displacements_in_px_of_its_levels(levels: list[int]) -> None:
    """Written as the paper does: what was moved so far is carried to the next level and doubled there."""
    model, image = small(levels=levels), faces(2)
    output = model(image)
    moved, state = torch.zeros(2, 29, 2), torch.zeros(2, 24)
    pyramid, before = image_pyramid(image, 2), levels[0]
    for k, level in enumerate(levels):
        moved = moved * 2.0 ** (before - level)
        shape = to_level(64 * model.mean_shape, level) + moved
        step = model.iterations[k](cut_patches(pyramid[level], shape[:, 0::2], 14), state)
        moved, state, before = moved + step.displacement, step.state, level
        expected = 64 * model.mean_shape + 2.0**level * moved
        assert output.stage_landmarks is not None
        torch.testing.assert_close(output.stage_landmarks[:, k], expected, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(output.stage_errors[:, k], step.error)
    torch.testing.assert_close(output.landmarks, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(output.predicted_error, step.error)
    assert output.confidence is not None
    torch.testing.assert_close(output.confidence, torch.exp(-output.predicted_error))
    assert output.iterations.tolist() == [len(levels)] * 2


def test_untrained_it_returns_the_mean_shape() -> None:
    torch.manual_seed(0)
    model = MuSiCa(228, face_statistics(68)).eval()
    output = model(faces(2, 228))
    assert (output.landmarks - 228 * model.mean_shape).abs().max() < 0.5
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
        else:
            assert float(value.std()) == pytest.approx(0.0088, abs=0.0007), f"{name}: 0.01, cut at two sigma"
            assert float(value.abs().max()) <= 0.02


def test_gradients_flow_through_the_sum_and_the_state_but_not_through_coordinates() -> None:
    model = small()
    model.zero_grad()
    output = model(faces(3))
    output.landmarks[:, 5, 1].sum().backward()
    first = model.iterations[0]
    bias = first.head.bias.grad
    assert bias is not None
    expected = torch.zeros(59)
    expected[2 * 5 + 1] = 3 * 4  # of three faces, at level 2; a patch that moved along would add to it
    torch.testing.assert_close(bias, expected)
    assert first.state.weight.grad is not None
    others = first.state.weight.grad.abs().sum()
    assert others > 0


def test_an_iteration_sees_the_crop_around_its_patches_alone() -> None:
    model = small(levels=[0], patch_landmarks=[3])
    image = faces(1)
    x, y = (64 * model.mean_shape[3]).round().int().tolist()
    far, near = image.clone(), image.clone()
    far[:, :, (y + 32) % 64, x] += 5
    near[:, :, y, x] += 5
    still, beside, inside = (model(picture).landmarks for picture in (image, far, near))
    assert torch.equal(still, beside)
    assert not torch.equal(still, inside)


@pytest.mark.parametrize("settings", [{"attention": False}, {"patch_size": 10}, {"patch_size": 22}, {"dropout": 0.5}])
def test_switches_build_and_train(settings: dict[str, object]) -> None:
    model = small(**settings).train()
    output = model(faces(2))
    assert (output.attention is None) == (settings.get("attention") is False)
    (output.landmarks.sum() + output.stage_errors.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    if "dropout" in settings:
        assert not torch.equal(model(faces(2)).landmarks, output.landmarks)
        assert torch.equal(model.eval()(faces(2)).landmarks, model(faces(2)).landmarks)


def test_attention_is_that_of_each_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    output = model(faces(2))
    assert output.attention is not None
    assert output.attention.shape == (2, 3, 15)
    before = output.landmarks
    for iteration in model.iterations:
        torch.nn.init.zeros_(iteration.patch_network.attention.weight)
        torch.nn.init.constant_(iteration.patch_network.attention.bias, 3.0)
    closed = model(faces(2))
    torch.testing.assert_close(closed.attention, torch.full((2, 3, 15), torch.sigmoid(torch.tensor(3.0)).item()))
    assert not torch.equal(closed.landmarks, before)


def test_coordinates_keep_their_precision_in_bfloat16() -> None:
    model, image = small(), faces(4)
    exact = model(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(image)
    for value in (rough.landmarks, rough.stage_landmarks, rough.stage_errors, rough.attention):
        assert value is not None
        assert value.dtype == torch.float32
    # coordinates of bfloat16 near 64 would be whole steps of 0.25; their fractions would be few
    assert len(torch.unique(rough.landmarks % 0.25)) > 150
    moved = exact.landmarks - 64 * model.mean_shape
    assert (rough.landmarks - exact.landmarks).norm() < 0.1 * moved.norm()


def test_patches_around_chosen_landmarks() -> None:
    assert choose_patches(98, 2, None) == list(range(0, 98, 2))
    assert choose_patches(5, 5, None) == [0]
    assert choose_patches(68, 2, PATCHES_OF_19) == PATCHES_OF_19
    assert small(patch_landmarks=[7, 2]).patch_indices.tolist() == [7, 2]
    assert "patch_indices" not in small().state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 12}, r"patch_size=12.*10, 14 \(paper\), 18"),
        ({"patch_size": 6}, "patch_size=6"),
        ({"patch_stride": 0}, r"patch_stride=0.*1\.\.29"),
        ({"patch_landmarks": [0, 29]}, r"\[0, 29\].*0\.\.28"),
        ({"patch_landmarks": [1, 1]}, r"\[1, 1\].*different"),
        ({"patch_landmarks": []}, "at least one"),
        ({"levels": []}, r"levels=\[\]"),
        ({"levels": [5, 0]}, r"levels=\[5, 0\].*0\.\.4"),
        ({"initial_weights": "zeros"}, r"'zeros'.*\['he', 'truncated_normal'\]"),
        ({"levels": [1.7]}, r"levels=\[1\.7\]"),
        ({"hidden": 0}, r"hidden=0 .*512"),
        ({"channels": 2.5}, r"channels=2\.5 .*whole number"),
        ({"dropout": 2}, r"dropout=2 .*below 1"),
        ({"dropout": 1.0}, r"dropout=1\.0 "),
        ({"patch_stride": 1.5}, r"patch_stride=1\.5 .*whole number"),
        ({"patch_landmarks": [0.5]}, r"patch_landmarks=\[0\.5\]"),
        ({"patch_size": 14.0}, r"patch_size=14\.0 "),
        ({"quit_threshold": -1}, r"quit_threshold=-1 .*above zero, such as 0\.05, or null"),
        ({"quit_threshold": float("nan")}, r"quit_threshold=nan"),
        ({"quit_threshold": "x"}, r"quit_threshold='x'"),
        ({"fail_threshold": 0}, r"fail_threshold=0 "),
        ({"fail_threshold": True}, r"fail_threshold=True"),
    ],
)
def test_settings_out_of_range_are_explained(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**settings)


def test_weights_of_half_precision_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"torch\.bfloat16.*bf16-mixed"):
        small().to(torch.bfloat16)(faces(1).to(torch.bfloat16))


@pytest.mark.parametrize("threshold", [None, 1e9])
def test_no_face_at_all_gives_no_result(threshold: float | None) -> None:
    output = small(quit_threshold=threshold)(faces(2)[:0])
    assert output.landmarks.shape == (0, 29, 2)
    assert output.stage_errors.shape == (0, 3)


def test_foretold_errors_below_zero_keep_their_order() -> None:
    """A model's confidence ranks faces; none may be lost to the range of float32 either."""
    model = small()
    torch.nn.init.constant_(model.iterations[-1].head.bias[-1:], -0.3)
    output = model(faces(4))
    assert output.predicted_error is not None
    assert output.confidence is not None
    assert (output.predicted_error < 0).any()
    assert torch.equal(output.confidence.argsort(), output.predicted_error.argsort(descending=True))
    torch.nn.init.constant_(model.iterations[-1].head.bias[-1:], -1e4)
    assert model(faces(1)).confidence.isfinite().all()


def test_an_input_that_does_not_halve_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"input_size=227 .*multiple of 4.*input_size=228"):
        MuSiCa(227, face_statistics(29))
    odd: Tensor = build(57, face_statistics(29), levels=[0])(faces(1, 57)).landmarks
    assert odd.shape == (1, 29, 2)
