"""Backbones publish what they deliver."""

from __future__ import annotations

import pytest
import torch

from facegraph.backbones import TimmBackbone
from facegraph.compose import compose, make
from facegraph.errors import ConfigError
from tests.helpers.models import faces, small_model
from tests.helpers.runs import ROOT

CONFIGURED = sorted(p.stem for p in (ROOT / "conf" / "backbone").glob("*.yaml"))


@pytest.mark.parametrize("option", CONFIGURED)
def test_published_channels_and_strides_are_those_of_the_features(option: str) -> None:
    backbone = make(compose([f"backbone={option}"]).backbone).eval()
    assert {2, 3, 4, 5} <= set(backbone.channels)
    with torch.no_grad():
        features = backbone(faces(1, 64))
    assert features.keys() == backbone.channels.keys()
    for level, values in features.items():
        assert values.shape == (1, backbone.channels[level], 64 // 2**level, 64 // 2**level), level


def test_an_unknown_network_is_answered_with_similar_names() -> None:
    with pytest.raises(ConfigError, match=r"no network 'resnet19'.*resnet18"):
        TimmBackbone("resnet19")


def test_a_network_without_strides_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot serve as a feature pyramid|level l has stride 2"):
        small_model(17, "backbone.name=mixer_s32_224")


def test_parts_that_no_level_needs_are_not_trained() -> None:
    model = small_model(17, "backbone=hrnet_w18", "head.levels=[3,4,5]")
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("backbone.") for name in frozen)
    model(faces(2)).landmarks.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name


def test_freezing_changes_nothing_else() -> None:
    backbone = TimmBackbone("resnet10t")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.freeze_unused([3])
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert all(p.requires_grad for p in backbone.network.layer2.parameters())
    assert not any(p.requires_grad for p in backbone.network.layer4.parameters())
