"""Feature pyramids: any timm network, its channels and strides read from timm."""

from __future__ import annotations

import difflib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
import torch
from huggingface_hub import constants as hub
from torch import Tensor, nn

from facegraph.errors import ConfigError

_PATIENCE_SECONDS = 5.0


class TimmBackbone(nn.Module):
    """A timm network that returns its features by level; level l has stride 2^l.

    Args:
        name: a timm model name.
        pretrained: load timm's weights, which downloads them where they have not been; off unless asked for.
        options: further settings of timm's constructor for this network.

    Raises:
        ConfigError: timm does not know the name, the network gives no feature maps, or the weights cannot be had.
    """

    def __init__(self, name: str, pretrained: bool = False, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        name, options = str(name), dict(options or {})  # a name in digits comes as a number
        if not timm.is_model(name):
            similar = difflib.get_close_matches(name, timm.list_models(), n=5)
            raise ConfigError(
                f"timm has no network '{name}'; similar names: {similar or 'none'}. See timm.list_models()."
            )
        try:
            with _quick_refusal(pretrained and "pretrained_cfg_overlay" not in options):
                self.network: Any = timm.create_model(name, pretrained=pretrained, features_only=True, **options)
        except OSError as error:
            raise ConfigError(
                f"backbone.pretrained=true: the weights of '{name}' could not be loaded from {hub.ENDPOINT}: "
                f"{str(error).splitlines()[0]} Set backbone.pretrained=false to train without them, or let the machine "
                "reach that address (HTTPS_PROXY), or set HF_ENDPOINT to a mirror. Without network they are taken from "
                f"{hub.HF_HUB_CACHE}, as a machine with network leaves them there (HF_HOME), or from a file that "
                "+backbone.options.pretrained_cfg_overlay.file=<weights> names."
            ) from error
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ConfigError(f"timm's '{name}' cannot serve as a feature pyramid: {error}. Try resnet34.") from error
        info: Any = self.network.feature_info
        self.slots = {int(stride).bit_length() - 1: i for i, stride in enumerate(info.reduction())}
        self.channels: dict[int, int] = {level: info.channels()[i] for level, i in self.slots.items()}

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """(B, 3, S, S) -> level -> (B, C_l, S / 2^l, S / 2^l)."""
        features = self.network(image)
        return {level: features[i] for level, i in self.slots.items()}

    def freeze_unused(self, levels: Iterable[int]) -> None:
        """Take the parameters that no feature of these levels depends on out of training.

        A head that reads F3..F5 leaves parts of, say, HRNet without a gradient; DDP refuses such parameters.
        """
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            features = self(torch.zeros(1, 3, 64, 64))
            total = sum(features[level].sum() for level in levels)
            parameters = list(self.parameters())
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.train(was_training)


@contextmanager
def _quick_refusal(downloads: bool) -> Iterator[None]:
    """Where the hub does not answer, weights come from its cache or not at all.

    By itself huggingface_hub asks six times for each of two files, with pauses of 24 seconds in all between.
    """
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or (downloads and not _answers(hub.ENDPOINT))
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    """Whether anybody answers there, directly or through the proxies of the environment; the answer may be a no."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's own client may know other certificates
    except OSError:
        return False
