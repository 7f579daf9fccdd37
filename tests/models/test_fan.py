"""FAN: published sizes, an independent plain implementation, and what its switches change."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from facegraph.codecs.decoders import Centroid
from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError
from facegraph.metrics.cost import count_macs, count_params
from facegraph.models.fan.model import FAN
from tests.helpers.models import face_statistics, faces

SMALL: dict[str, Any] = {"num_features": 8, "depth": 2}


def fan(num_landmarks: int = 5, input_size: int = 32, **switches: Any) -> FAN:
    torch.manual_seed(0)
    return FAN(input_size, face_statistics(num_landmarks), HeatmapCodec(Centroid()), **switches)


@pytest.mark.parametrize(
    ("num_landmarks", "switches", "params", "tensors"),
    [
        (68, {}, 12_106_504, 599),
        (68, {"num_modules": 4, "pool": "avg"}, 23_820_176, 1129),
        (98, {}, 12_129_604, 599),
        (98, {"num_modules": 1}, 6_257_378, 334),
        (98, {"num_features": 128}, 3_225_476, 593),
    ],
)
def test_published_sizes(num_landmarks: int, switches: dict[str, Any], params: int, tensors: int) -> None:
    model = fan(num_landmarks, 256, **switches)
    assert count_params(model) == params
    assert len(model.state_dict()) == tensors + 2  # and the two statistics


@pytest.mark.any_processor
@pytest.mark.parametrize(
    ("num_landmarks", "input_size", "switches", "macs"),
    [
        (68, 256, {}, 13.92),
        (68, 256, {"num_modules": 4, "pool": "avg"}, 25.24),
        (98, 256, {}, 14.02),
        (98, 256, {"num_modules": 1}, 8.30),
        (98, 256, {"num_features": 128}, 5.02),
        (68, 128, {}, 3.48),
        (68, 128, {"stem_pool": 1}, 12.92),
    ],
)
def test_published_multiply_adds(num_landmarks: int, input_size: int, switches: dict[str, Any], macs: float) -> None:
    model = fan(num_landmarks, input_size, **switches)
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes only: nothing is computed
        assert count_macs(model, input_size)[0] / 1e9 == pytest.approx(macs, abs=0.006)


def plain_block(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """The block in evaluation, straight from the description."""

    def activated(layer: str, value: Tensor) -> Tensor:
        p = f"{name}.{layer}"
        return F.relu(
            F.batch_norm(value, w[f"{p}.running_mean"], w[f"{p}.running_var"], w[f"{p}.weight"], w[f"{p}.bias"])
        )

    a = F.conv2d(activated("bn1", x), w[f"{name}.conv1.weight"], padding=1)
    b = F.conv2d(activated("bn2", a), w[f"{name}.conv2.weight"], padding=1)
    c = F.conv2d(activated("bn3", b), w[f"{name}.conv3.weight"], padding=1)
    if f"{name}.downsample.2.weight" in w:
        x = F.conv2d(activated("downsample.0", x), w[f"{name}.downsample.2.weight"])
    return torch.cat([a, b, c], 1) + x


def plain_fan(w: dict[str, Tensor], image: Tensor, stacks: int, depth: int) -> list[Tensor]:
    """Heatmaps of all stacks from a state dict, without modules; the hourglass unrolled."""

    def norm(name: str, value: Tensor) -> Tensor:
        return F.batch_norm(
            value, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"]
        )

    def conv(name: str, value: Tensor, **how: int) -> Tensor:
        return F.conv2d(value, w[f"{name}.weight"], w[f"{name}.bias"], **how)

    x = plain_block(w, "conv2", F.relu(norm("bn1", conv("conv1", image, stride=2, padding=3))))
    x = plain_block(w, "conv4", plain_block(w, "conv3", F.max_pool2d(x, 2)))
    found = []
    for i in range(stacks):
        beside, low = [], x
        for level in range(depth, 0, -1):
            beside.append(plain_block(w, f"m{i}.b1_{level}", low))
            low = plain_block(w, f"m{i}.b2_{level}", F.max_pool2d(low, 2))
        low = plain_block(w, f"m{i}.b2_plus_1", low)
        for level in range(1, depth + 1):
            low = plain_block(w, f"m{i}.b3_{level}", low).repeat_interleave(2, 2).repeat_interleave(2, 3)
            low = low + beside.pop()
        top = F.relu(norm(f"bn_end{i}", conv(f"conv_last{i}", plain_block(w, f"top_m_{i}", low))))
        found.append(conv(f"l{i}", top))
        if i < stacks - 1:
            x = x + conv(f"bl{i}", top) + conv(f"al{i}", found[-1])
    return found


def test_agrees_with_a_plain_implementation() -> None:
    model = fan(num_modules=3, **SMALL)
    for _ in range(3):  # running statistics that are not the initial ones
        model(faces(4, 32))
    model.eval()
    image = faces(2, 32, seed=1)
    with torch.no_grad():
        output = model(image)
        expected = plain_fan(model.state_dict(), image, stacks=3, depth=2)
    assert output.heatmaps is not None
    assert output.heatmaps.shape == (2, 3, 5, 8, 8)
    torch.testing.assert_close(output.heatmaps, torch.stack(expected, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.landmarks, model.codec.decode(output.heatmaps[:, -1], 32))


def test_training_decodes_every_stack_and_evaluation_the_last() -> None:
    model = fan(num_modules=2, **SMALL)
    image = faces(2, 32)
    trained = model(image)
    assert trained.stage_landmarks is not None
    assert trained.stage_landmarks.shape == (2, 2, 5, 2)
    assert torch.equal(trained.stage_landmarks[:, -1], trained.landmarks)
    evaluated = model.eval()(image)
    assert evaluated.stage_landmarks is None
    assert evaluated.confidence is not None
    assert torch.equal(evaluated.confidence, model.codec.confidence(evaluated.heatmaps[:, -1]))


@pytest.mark.parametrize(
    ("switches", "side"),
    [({}, 8), ({"stem_stride": 1}, 16), ({"stem_pool": 1}, 16), ({"stem_kernel": 5, "stem_pool": 1}, 16),
     ({"stem_stride": 4, "stem_pool": 1}, 8)],
)  # fmt: skip
def test_the_stem_sets_the_size_of_the_maps(switches: dict[str, Any], side: int) -> None:
    assert fan(**SMALL, **switches).eval()(faces(1, 32)).heatmaps.shape == (1, 2, 5, side, side)


def test_instance_norm_has_no_state_and_no_parameters() -> None:
    batch, instance = fan(**SMALL), fan(**SMALL, norm="instance")
    names = {name for name, _ in instance.state_dict().items()}
    assert not any(".bn" in name or name.startswith("bn") for name in names)
    assert names < set(batch.state_dict())
    image = faces(3, 32)
    together = instance.eval()(image).heatmaps  # also: the same alone, in training and in evaluation
    torch.testing.assert_close(instance.train()(image[:1]).heatmaps, together[:1], rtol=1e-4, atol=1e-5)


def test_pooling_is_seen_in_the_maps() -> None:
    image = faces(1, 32)
    largest, mean = (fan(**SMALL, pool=pool).eval()(image).heatmaps for pool in ("max", "avg"))
    assert not torch.allclose(largest, mean)


def test_gradients_reach_every_parameter_under_bfloat16() -> None:
    model = fan(num_modules=2, **SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(faces(2, 32))
    assert output.heatmaps is not None
    assert output.heatmaps.dtype == output.landmarks.dtype == torch.float32
    output.heatmaps.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_maps_start_empty_unless_they_start_as_published() -> None:
    image = faces(2, 32)
    empty, published = (fan(output_std=spread, **SMALL)(image).heatmaps.abs().mean() for spread in (0.001, None))
    assert 0 < empty < 0.01
    assert published > 0.1


@pytest.mark.parametrize(
    ("switches", "named"),
    [
        ({"input_size": 100}, ["input_size=100", "multiple of 64", "input_size=128"]),
        ({"input_size": 30}, ["multiple of 64", "input_size=64"]),
        ({"input_size": 64, "norm": "instance"}, ["at least 128", "input_size=128"]),
        ({"input_size": 96, "stem_stride": 1}, ["multiple of 32", "2 * 2^4"]),
        ({"num_modules": 5}, ["num_modules=5", "1 to 4"]),
        ({"num_features": 30}, ["num_features=30", "multiple of 4", "num_features=32"]),
        ({"depth": 0}, ["depth=0", "4"]),
        ({"pool": "mean"}, ["pool='mean'", "max or avg"]),
        ({"norm": "layer"}, ["norm='layer'", "batch or instance"]),
        ({"stem_kernel": 4}, ["stem_kernel=4", "odd"]),
        ({"stem_pool": 0}, ["stem_pool=0", "1 or more"]),
        ({"output_std": 0.0}, ["output_std=0.0", "positive"]),
    ],
)
def test_settings_out_of_range(switches: dict[str, Any], named: list[str]) -> None:
    if "stem_stride" in switches:
        FAN(96, face_statistics(5), HeatmapCodec(Centroid()), num_features=8, stem_stride=1)
        switches = {**switches, "input_size": 90}
    with pytest.raises(ConfigError) as caught:
        fan(**{"input_size": 64, **switches})
    for part in named:
        assert part in str(caught.value)


@pytest.mark.any_processor
def test_every_size_that_is_suggested_fits() -> None:
    for size, norm in itertools.product(range(1, 200, 13), ("batch", "instance")):
        try:
            fan(input_size=size, norm=norm, **SMALL)
        except ConfigError as error:
            fan(input_size=int(str(error).split("Try input_size=")[1].split(",")[0]), norm=norm, **SMALL)
