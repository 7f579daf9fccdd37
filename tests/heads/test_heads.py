"""Models as a whole: every head, number of landmarks and switch gives faces, gradients and the same file back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.models.regressor import LandmarkRegressor
from tests.helpers.models import face_statistics, faces, small_model

HEADS = [
    (head, n) for head in ("gcn", "gcn_released", "fc") for n in (29, 68, 98, 17) if (head, n) != ("gcn_released", 17)
]


def check_forward(model: LandmarkRegressor, num_landmarks: int, size: int = 64) -> Tensor:
    landmarks = model(faces(4, size)).landmarks
    assert landmarks.shape == (4, num_landmarks, 2)
    assert landmarks.dtype == torch.float32
    assert torch.isfinite(landmarks).all()
    return landmarks


def check_gradients(model: LandmarkRegressor, landmarks: Tensor) -> None:
    """Every trainable parameter gets a finite gradient that is not zero throughout."""
    target = torch.rand(landmarks.shape, generator=torch.Generator().manual_seed(5)) * 64
    ((landmarks - target) ** 2).mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("head", "num_landmarks"), HEADS)
def test_shape_gradients_and_independence(head: str, num_landmarks: int) -> None:
    model = small_model(num_landmarks, f"head={head}")
    check_gradients(model, check_forward(model, num_landmarks))
    model.eval()
    with torch.no_grad():
        together = model(faces(4)).landmarks
        alone = torch.cat([model(face[None]).landmarks for face in faces(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("head", ["gcn", "gcn_released", "fc"])
def test_a_saved_state_gives_the_same_model(head: str) -> None:
    model = small_model(29, f"head={head}").eval()
    torch.manual_seed(1)
    other = small_model(29, f"head={head}").eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(faces(2)).landmarks, other(faces(2)).landmarks)


def test_the_state_alone_rebuilds_the_graph() -> None:
    state = small_model(29).state_dict()
    statistics = face_statistics(29)
    assert torch.equal(state["mean_shape"], statistics.mean_shape)
    assert torch.equal(state["correlation"], statistics.correlation)
    assert int(state["head.mask"].sum()) == 29 * 4


@pytest.mark.parametrize("head", ["gcn", "gcn_released", "fc"])
def test_bfloat16_trains_and_answers_in_float32(head: str) -> None:
    model = small_model(29, f"head={head}")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        landmarks = check_forward(model, 29)
    check_gradients(model, landmarks)


SWITCHES = [
    *(f"head.levels={levels}" for levels in ("[5]", "[4]", "[2]", "[4,5]", "[2,3,4,5]", "[3,4]", "[3,5]", "[2,5]")),
    *(f"head.attention={kind} head.levels=[2,4,5]" for kind in ("semantic", "self", "none")),
    *(f"head.edge_weights={kind}" for kind in ("dynamic", "static", "binary", "binary_sum")),
    *(f"head.edge_weights={k} head.weights_per_layer=2 head.symmetric=true" for k in ("dynamic", "static", "binary")),
    "head.top_k=1",
    "head.top_k=16",
    "head.expansion=1",
    "head.expansion=7 head.width=32 head.hidden=20",
    "head.blocks=0",
    "head.blocks=1 head.start_at_mean_shape=false",
    "head=fc head.hidden=8 head.start_at_mean_shape=false",
    "input_size=96",
    "input_size=160 head.levels=[2,3,4,5]",
    "input_size=32",
    "input_size=96 head=fc",
    "model.channels_last=false",
]  # fmt: skip


@pytest.mark.parametrize("switches", SWITCHES)
def test_switch(switches: str) -> None:
    given = switches.split()
    size = next((int(s.split("=")[1]) for s in given if s.startswith("input_size")), 64)
    model = small_model(17, *given)
    landmarks = check_forward(model, 17, size)
    check_gradients(model, landmarks)


@pytest.mark.parametrize("head", ["gcn", "gcn_released", "fc"])
def test_training_starts_at_the_mean_shape(head: str) -> None:
    model = small_model(29, f"head={head}", "input_size=128")
    start = face_statistics(29).mean_shape * 128
    with torch.no_grad():
        offsets = model(faces(8, 128)).landmarks - start
    assert offsets.mean(dim=0).norm(dim=-1).mean() < 6
    origin = small_model(29, f"head={head}", "input_size=128", "head.start_at_mean_shape=false")
    with torch.no_grad():
        torch.testing.assert_close(origin(faces(8, 128)).landmarks, offsets, rtol=1e-3, atol=1e-3)


def test_a_size_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input_size=80 is no positive multiple of 32.*try input_size=(64|96)"):
        small_model(17, "input_size=80")


def test_the_released_graph_exists_for_three_schemes_only() -> None:
    with pytest.raises(ConfigError, match=r"for 17 landmarks, only for 29, 68 and 98; set head.neighbours=null"):
        small_model(17, "head=gcn_released")
