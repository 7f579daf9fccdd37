"""Backbones publish what they deliver."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants as hub

from facegraph.backbones import TimmBackbone
from facegraph.errors import ConfigError
from facegraph.runs.compose import compose, make
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


def test_weights_that_cannot_be_had_are_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without network: the address that stands for the hub is one that nobody answers at."""
    tried: list[str] = []

    def unreachable(request: urllib.request.Request, timeout: float) -> None:
        tried.append(request.full_url)
        raise urllib.error.URLError(OSError("nobody there"))

    monkeypatch.setattr("facegraph.backbones.urllib.request.urlopen", unreachable)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to try again"))
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        TimmBackbone("test_resnet", pretrained=True)
    for part in ("backbone.pretrained=false", "test_resnet", hub.ENDPOINT, "HTTPS_PROXY", str(tmp_path), "file="):
        assert part in str(caught.value)
    assert tried == [hub.ENDPOINT]
    assert not hub.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it answers, and whether or not its certificate is one that this check knows."""
    answers: list[Exception] = [
        urllib.error.HTTPError("https://hub", 403, "no", Message(), None),
        urllib.error.URLError(ssl.SSLCertVerificationError("unknown")),
    ]
    offline: list[bool] = []

    def answer(request: urllib.request.Request, timeout: float) -> None:
        raise answers.pop()

    def network(*args: object, **kwargs: object) -> None:
        offline.append(hub.HF_HUB_OFFLINE)
        raise FileNotFoundError("not asked")

    monkeypatch.setattr("facegraph.backbones.urllib.request.urlopen", answer)
    monkeypatch.setattr("facegraph.backbones.timm.create_model", network)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    while answers:
        with pytest.raises(ConfigError, match="not asked"):
            TimmBackbone("test_resnet", pretrained=True)
    assert offline == [False, False]


def test_weights_come_from_a_file_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("facegraph.backbones.urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("asked"))
    given = timm.create_model("test_resnet")
    torch.save(given.state_dict(), tmp_path / "weights.pth")
    overlay = f"+backbone.options.pretrained_cfg_overlay.file={tmp_path}/weights.pth"
    backbone = make(compose(["backbone.pretrained=true", overlay]).backbone)
    expected = given.state_dict()
    loaded = {name: value for name, value in backbone.network.state_dict().items() if name in expected}
    assert loaded
    assert all(torch.equal(value, expected[name]) for name, value in loaded.items())
