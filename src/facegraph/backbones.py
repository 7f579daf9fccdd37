"""Feature pyramids: any timm network, its channels and strides read from timm."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError


class TimmBackbone(nn.Module):
    """A timm network that returns its features by level; level l has stride 2^l.

    Args:
        name: a timm model name. pretrained: load timm's weights, which downloads them; off unless asked for.
        options: further settings of timm's constructor for this network.

    Raises:
        ConfigError: timm does not know the name, or the network gives no feature maps.
    """

    def __init__(self, name: str, pretrained: bool = False, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            similar = difflib.get_close_matches(name, timm.list_models(), n=5)
            raise ConfigError(
                f"timm has no network '{name}'; similar names: {similar or 'none'}. See timm.list_models()."
            )
        try:
            self.network: Any = timm.create_model(name, pretrained=pretrained, features_only=True, **(options or {}))
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
