"""DPR: published counts, parts, transforms with known answers, and that points come back out of every frame."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facegraph.data.boxes import LandmarkBox
from facegraph.data.synthetic import SyntheticDataset
from facegraph.errors import ConfigError
from facegraph.geometry.affine import landmark_box, transform_points
from facegraph.geometry.points import map_points
from facegraph.landmarks import COFW29, IBUG68, SCHEMES, WFLW98, LandmarkScheme
from facegraph.layers.error_head import ErrorHead
from facegraph.metrics.cost import count_macs, count_params
from facegraph.models.dpr.mobilenet import BLOCKS, STRIDES, InvertedResidual, trunk
from facegraph.models.dpr.model import DPR
from facegraph.models.dpr.output import ReinitOutput
from facegraph.models.dpr.parts import mean_face, part_means, parts_of
from facegraph.models.dpr.reinit import LocalReinitNetwork, PixelLocalReinitNetwork, SimilarityFit
from facegraph.models.dpr.transforms import eye_groups, fit_similarity, in_px, in_units, resize, upright_box
from facegraph.runs.compose import build_model, compose
from facegraph.structures import ShapeStatistics


@functools.lru_cache
def mean_shape(name: str) -> Tensor:
    landmarks = SyntheticDataset(SCHEMES[name], train_size=40, test_size=1).train().table.landmarks
    crops = [transform_points(LandmarkBox().square(landmark_box(points), 256), points) for points in landmarks]
    return torch.from_numpy(np.mean(crops, axis=0)).float() / 256


def statistics(scheme: LandmarkScheme) -> ShapeStatistics:
    return ShapeStatistics(mean_shape(scheme.name), torch.eye(scheme.num_landmarks), scheme)


def dpr(
    scheme: LandmarkScheme = IBUG68,
    local_reinit: Callable[..., nn.Module] = LocalReinitNetwork,
    size: int = 160,
    stages: str = "glsr",
    share: float = 1.0,
    detach: bool = False,
) -> DPR:
    torch.manual_seed(0)
    return DPR(size, statistics(scheme), local_reinit, stages=stages, coarse_share=share, detach=detach).eval()


@pytest.mark.parametrize("size", [32, 64, 128, 160])
def test_a_map_of_one_pixel_is_the_same_without_its_published_stride(size: int) -> None:
    torch.manual_seed(0)
    network, frames = trunk(size).eval(), torch.randn(2, 3, size, size)
    with torch.no_grad():
        found = network(frames)
        firsts = [layers for layers in network if isinstance(layers, InvertedResidual)]
        numbers = np.cumsum([0, *(repetitions for _, _, repetitions, _ in BLOCKS)])[:-1]
        for number, (*_, stride) in zip(numbers, BLOCKS, strict=True):
            next(m for m in firsts[number].modules() if isinstance(m, nn.Conv2d) and m.groups > 1).stride = (
                stride,
            ) * 2
        assert found.shape == (2, 64, math.ceil(size / STRIDES[0]), math.ceil(size / STRIDES[0]))
        torch.testing.assert_close(network(frames), found)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_trunk_of_less_stride_has_the_released_weights_and_larger_maps(stride: int) -> None:
    found, released = trunk(128, stride), trunk(128)
    assert found(torch.zeros(2, 3, 128, 128)).shape == (2, 64, 128 // stride, 128 // stride)
    found.load_state_dict(released.state_dict())
    model = DPR(
        96, statistics(IBUG68), LocalReinitNetwork, global_size=128, part_size=64, trunk_stride=stride, stages="glsr"
    )
    assert model(torch.zeros(2, 3, 96, 96)).landmarks.shape == (2, 68, 2)


def test_a_stride_that_a_trunk_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.trunk_stride=16 cannot be had; choose 128, 64, 32"):
        DPR(96, statistics(IBUG68), LocalReinitNetwork, trunk_stride=16)


def posed(scheme: LandmarkScheme, degrees: float, scale: float) -> Tensor:
    """(1, N, 2) the mean shape turned and moved."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return map_points(torch.tensor([[[c, -s, 12.0], [s, c, -5.0]]]), statistics(scheme).mean_shape[None])


@pytest.mark.any_processor
@pytest.mark.parametrize(
    ("stages", "params", "macs"), [("gsr", 538_419, 53.8), ("glsr", 1_961_821, 101.3)], ids=["gsr", "glsr"]
)
def test_published_counts(stages: str, params: int, macs: float) -> None:
    cfg = compose(["model=dpr", f"model.stages={stages}", "input_size=256"])
    model = build_model(cfg, statistics(WFLW98))
    total, by_module = count_macs(model, 256)
    assert count_params(model) == params
    assert round(total / 1e6, 1) == macs
    assert round(by_module["global_reinit"] / 1e6, 2) == 6.34
    assert round(by_module["global_regression"] / 1e6, 2) == 47.46
    assert count_params(model.get_submodule("global_reinit")) == 44_909
    assert count_params(model.get_submodule("global_regression")) == 493_510
    if stages == "glsr":
        assert round(by_module["local_regression"] / 1e6, 2) == 47.32
        assert count_params(model.get_submodule("local_reinit")) == 135_456
        assert count_params(model.get_submodule("local_regression")) == 1_287_946


def test_tensors_are_named_and_shaped_as_released() -> None:
    state = dpr(WFLW98).state_dict()
    count = {net: sum(name.startswith(f"{net}.") for name in state) for net in ("global_reinit", "global_regression")}
    assert count == {"global_reinit": 23, "global_regression": 320}
    shapes = {
        "global_reinit.localization.13.weight": (64, 32, 3, 3),
        "global_reinit.localization.14.weight": (1,),
        "global_reinit.fc_loc.2.weight": (6, 32),
        "global_regression.features.1.conv.3.weight": (8, 8, 1, 1),
        "global_regression.features.2.conv.7.running_var": (12,),
        "global_regression.features.18.1.bias": (64,),
        "global_regression.pts_net.4.weight": (196, 256),
        "local_reinit.mouth_net.4.bias": (6,),
        "local_regression.nose_net.0.0.weight": (8, 3, 3, 3),
        "local_regression.left_eye_loc.4.weight": (36, 64),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_parts_of_the_released_schemes() -> None:
    assert [(part.name, part.indices) for part in parts_of(WFLW98)] == [
        ("left_eye", (*range(33, 42), *range(60, 68), 96)),
        ("right_eye", (*range(42, 51), *range(68, 76), 97)),
        ("nose", tuple(range(51, 60))),
        ("mouth", tuple(range(76, 96))),
    ]
    assert [2 * len(part.indices) for part in parts_of(IBUG68)] == [22, 22, 18, 40]
    assert [part.indices for part in parts_of(COFW29)] == [
        (0, 2, 4, 5, 8, 10, 12, 13, 16), (1, 3, 6, 7, 9, 11, 14, 15, 17), (18, 19, 20, 21), tuple(range(22, 28)),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_a_mirrored_face_has_mirrored_parts(scheme: LandmarkScheme) -> None:
    left, right, nose, mouth = ({scheme.flip[i] for i in part.indices} for part in parts_of(scheme))
    assert [left, right, nose, mouth] == [set(parts_of(scheme)[i].indices) for i in (1, 0, 2, 3)]


def test_schemes_that_cannot_be_cut_are_refused() -> None:
    nameless = LandmarkScheme("four", (1, 0, 3, 2), {"inter_ocular": ((0,), (1,))})
    with pytest.raises(ConfigError, match=r"'four' has no contour .* model.stages=gsr"):
        parts_of(nameless)
    with pytest.raises(ConfigError, match=r"'blind' has the normalisers \['box'\]"):
        eye_groups(LandmarkScheme("blind", (0, 1), {"box": ((0,), (1,))}))


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("degrees", [0.0, 37.0, -160.0])
def test_upright_box(scheme: LandmarkScheme, degrees: float) -> None:
    points = posed(scheme, degrees, 83.0)
    upright = map_points(upright_box(points, scheme), points)
    low, high = upright.amin(dim=1)[0], upright.amax(dim=1)[0]
    assert (high - low).max().item() == pytest.approx(0.88, abs=1e-4)
    torch.testing.assert_close((low + high) / 2, torch.tensor([0.5, 0.55]), atol=1e-4, rtol=0)
    left, right = (upright[0, list(group)].mean(dim=0) for group in eye_groups(scheme))
    assert right[1].item() == pytest.approx(left[1].item(), abs=1e-4)
    assert right[0] > left[0]
    # whatever the pose, the same face comes out
    torch.testing.assert_close(upright[0], mean_face(statistics(scheme)), atol=1e-4, rtol=0)


def test_upright_box_of_one_point_is_finite() -> None:
    assert torch.isfinite(upright_box(torch.full((2, 68, 2), 7.0), IBUG68)).all()


def test_a_similarity_is_found_again() -> None:
    source = torch.randn(3, 9, 2)
    matrix = torch.tensor([[[1.5, -0.7, 20.0], [0.7, 1.5, -4.0]]]).repeat(3, 1, 1)
    torch.testing.assert_close(fit_similarity(source, map_points(matrix, source)), matrix, atol=1e-4, rtol=1e-4)


def test_the_fit_is_least_squares() -> None:
    source, target = 50 * torch.randn(4, 11, 2), torch.randn(11, 2)
    got = fit_similarity(source, target)
    for points, matrix in zip(source.double(), got.double(), strict=True):
        x, y = points.unbind(dim=1)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        # unknowns a, b, x0, y0 of [[a, -b, x0], [b, a, y0]]
        rows = torch.cat([torch.stack([x, -y, one, zero], dim=1), torch.stack([y, x, zero, one], dim=1)])
        a, b, x0, y0 = torch.linalg.lstsq(rows, target.double().T.reshape(-1, 1)).solution.flatten()
        want = torch.stack([torch.stack([a, -b, x0]), torch.stack([b, a, y0])])
        torch.testing.assert_close(matrix, want, atol=1e-5, rtol=1e-4)


def test_fits_do_not_reflect_and_stay_finite() -> None:
    source = torch.randn(1, 6, 2)
    linear = fit_similarity(source, source * torch.tensor([-1.0, 1.0]))[0, :, :2]
    assert linear[0, 0] == linear[1, 1]
    assert linear[0, 1] == -linear[1, 0]
    one = torch.zeros(1, 6, 2, requires_grad=True)
    fit = fit_similarity(one, source[0])
    fit.sum().backward()
    assert one.grad is not None
    assert torch.isfinite(one.grad).all()
    torch.testing.assert_close(map_points(fit, one)[0, 0], source[0].mean(dim=0))


def test_units_and_px_are_one_transform() -> None:
    matrix, points = torch.randn(2, 2, 3), torch.rand(2, 5, 2)
    unit = map_points(matrix, points)
    torch.testing.assert_close(map_points(in_px(matrix, 128), points * 128), unit * 128, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(map_points(resize(matrix, 128, 256), points * 128), unit * 256, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(in_units(in_px(matrix, 128), 128, 128), matrix)
    torch.testing.assert_close(in_units(resize(matrix, 128, 256), 128, 256), matrix)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_parts_fill_their_frames(scheme: LandmarkScheme) -> None:
    for mean in part_means(mean_face(statistics(scheme)), parts_of(scheme)):
        low, high = mean.amin(dim=0), mean.amax(dim=0)
        torch.testing.assert_close((low + high) / 2, torch.tensor([0.5, 0.5]))
        longer = int((high - low).argmax())
        assert low[longer].item() == pytest.approx(1 / 12, abs=1e-5)
        assert high[longer].item() == pytest.approx(11 / 12, abs=1e-5)


@pytest.mark.parametrize("local_reinit", [LocalReinitNetwork, PixelLocalReinitNetwork])
def test_frames_of_the_mean_face_are_fitted_ones_at_the_start(local_reinit: Callable[..., nn.Module]) -> None:
    model = dpr(WFLW98, local_reinit)
    points = model.mean_face[None] * 256
    means = part_means(model.mean_face, model.parts)
    want = torch.stack(
        [fit_similarity(points[:, list(p.indices)], m * 128) for p, m in zip(model.parts, means, strict=True)], dim=1
    )
    torch.testing.assert_close(model.local_reinit(points, means), want, atol=1e-3, rtol=1e-4)
    exact = SimilarityFit(model.parts, model.mean_face, means, 256, 128, start_at_mean=True)(points, means)
    torch.testing.assert_close(exact, want)


@pytest.mark.parametrize("share", [1.0, 0.7])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_training_starts_at_the_mean_face(scheme: LandmarkScheme, share: float) -> None:
    """Untrained, the global frame has the mean face where it belongs, and the landmarks are the mean shape."""
    model = dpr(scheme, share=share)
    with torch.no_grad():
        output = model(torch.randn(2, 3, 160, 160))
    shape = (statistics(scheme).mean_shape * 160).expand(2, -1, 2)
    where = map_points(output.crop_to_global, shape)
    assert (where - model.mean_face * 256).norm(dim=-1).mean() < 8
    assert (output.landmarks - shape).norm(dim=-1).mean() < 8
    assert output.part_points is not None
    for points in output.part_points:
        assert points.min() > -20
        assert points.max() < 148


def test_starting_at_zeros_stays_finite() -> None:
    model = DPR(128, statistics(IBUG68), LocalReinitNetwork, start_at_mean=False)
    output = model(torch.rand(2, 3, 128, 128))
    output.landmarks.mean().backward()
    assert torch.isfinite(output.landmarks).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.fixture(scope="module")
def output() -> ReinitOutput:
    model = dpr(WFLW98, share=0.8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("_loc.4.bias", "pts_net.4.bias", "fc_loc.2.bias", "_net.4.bias")):
                parameter += 0.05 * torch.randn(parameter.shape)  # away from the mean face, where stages agree
        return model(torch.randn(2, 3, 160, 160))


def test_points_of_all_frames_are_one_face(output: ReinitOutput) -> None:
    assert output.stage_landmarks is not None
    assert output.part_transforms is not None
    assert output.part_points is not None
    first, last = output.stage_landmarks.unbind(dim=1)
    torch.testing.assert_close(output.landmarks, last)
    torch.testing.assert_close(map_points(output.crop_to_global, first), output.global_points, atol=1e-2, rtol=0)
    coarse = map_points(output.crop_to_coarse[None, :2], first)
    unit = map_points(output.reinit, coarse / output.coarse_size)
    torch.testing.assert_close(unit * output.global_size, output.global_points, atol=1e-2, rtol=0)
    for i, part in enumerate(parts_of(WFLW98)):
        inside = map_points(
            output.part_transforms[:, i], map_points(output.crop_to_global, last)[:, list(part.indices)]
        )
        torch.testing.assert_close(inside, output.part_points[i], atol=2e-2, rtol=0)


def test_the_contour_stays_with_the_global_stage(output: ReinitOutput) -> None:
    assert output.stage_landmarks is not None
    moved = (output.stage_landmarks[:, 0] - output.stage_landmarks[:, 1]).norm(dim=-1).amax(dim=0) > 1e-3
    assert moved.tolist() == [False] * 33 + [True] * 65


def test_the_box_of_the_coarse_frame() -> None:
    """Of a crop of twice the box, the corners of the box come to the corners of the coarse frame, as released."""
    model = dpr(size=512, stages="gsr", share=0.5)
    corners = torch.tensor([[[127.5, 127.5], [127.5, 383.5], [383.5, 127.5]]])
    want = torch.tensor([[[0.0, 0.0], [0.0, 127.0], [127.0, 0.0]]])
    torch.testing.assert_close(map_points(model.crop_to_coarse[None, :2], corners), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("detach", [False, True])
def test_gradients_cross_stages_unless_detached(detach: bool) -> None:
    model = dpr(detach=detach)
    output = model(torch.randn(2, 3, 160, 160))
    assert output.part_points is not None
    sum(points.sum() for points in output.part_points).backward()

    def reached(name: str) -> bool:
        grads = [p.grad for p in model.get_submodule(name).parameters()]
        return any(g is not None and bool(g.abs().sum() > 0) for g in grads)

    assert reached("local_regression")
    # the patches' pixels depend on where the frames are cut: only grid_sample's coordinates lead there
    assert [reached(name) for name in ("local_reinit", "global_regression", "global_reinit")] == [not detach] * 3


def test_an_error_head_leaves_the_landmarks_alone() -> None:
    image = torch.randn(2, 3, 160, 160)
    torch.manual_seed(0)
    model = DPR(160, statistics(IBUG68), LocalReinitNetwork, error_head=ErrorHead).eval()
    output = model(image)
    torch.testing.assert_close(output.landmarks, dpr()(image).landmarks, atol=0, rtol=0)
    assert output.predicted_error.shape == output.confidence.shape == (2,)
    output.predicted_error.sum().backward()
    assert all(p.grad is None or not p.grad.any() for n, p in model.named_parameters() if "error_head" not in n)


@pytest.mark.parametrize("local_reinit", [LocalReinitNetwork, PixelLocalReinitNetwork])
def test_matrices_and_points_keep_their_precision_under_autocast(local_reinit: Callable[..., nn.Module]) -> None:
    model, image = dpr(local_reinit=local_reinit), torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        exact = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(image)
    tensors = (output.landmarks, output.reinit, output.crop_to_global, output.part_transforms, output.global_points)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    # the nets' last layers add to a mean face: a coordinate in bfloat16 alone would be off by up to half a px
    assert (output.landmarks - exact.landmarks).abs().max() < 0.3
    means = part_means(model.mean_face, model.parts)
    with torch.no_grad():
        want = model.local_reinit(exact.global_points, means)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.local_reinit(exact.global_points, means), want)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.stages=local", "model.stages=local does not exist; gsr .* glsr"),
        ("model.coarse_share=1.2", "coarse_share=1.2 is no share"),
        ("model.coarse_size=64", "coarse_size=64 is too small"),
        ("model.part_size=0", "'part_size': 0"),
    ],
)
def test_settings_out_of_range(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(compose(["model=dpr", setting]), statistics(IBUG68))
