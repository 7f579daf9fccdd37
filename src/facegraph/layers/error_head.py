"""What a model expects its own error to be, learned beside the landmarks without touching them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.structures import LandmarkOutput

_LEAST = -80.0
"""Predicted error whose confidence still is a float32."""


class ErrorHead(nn.Module):
    """Global average of features -> linear -> ReLU -> linear -> one number, the expected error of each face.

    The number is a fraction of the first normaliser and not bounded, so it may come out below zero. Source: MuSiCa's
    predicted error, one more output of a linear layer. Deviations, so that a model with this head has the landmarks of
    the model without it: the features are detached, as is the error learned from; and the initial weights are drawn
    beside torch's generator, which goes on as if there were no head. (Clipping the norm of all gradients together,
    trainer.gradient_clip_val, or averaging over them in another way would still join the two.)

    Args:
        channels: C of the features.
        hidden: width between the two linear layers.

    Raises:
        ConfigError: hidden below 1.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"model.error_head.hidden={hidden} is out of range; it must be at least 1, such as 64.")
        with torch.random.fork_rng(devices=[]):
            self.hidden = nn.Linear(channels, hidden)
            self.out = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B,) float32 predicted error."""
        with torch.autocast(features.device.type, enabled=False):
            pooled = features.detach().float().mean(dim=(2, 3))
            return self.out(torch.relu(self.hidden(pooled))).squeeze(1)


def with_predicted_error(output: LandmarkOutput, predicted: Tensor) -> LandmarkOutput:
    """The output with its predicted error (B,), a fraction, and the confidence that follows from it."""
    return replace(output, predicted_error=predicted, confidence=confidence_of(predicted))


def confidence_of(predicted_error: Tensor) -> Tensor:
    """exp(-predicted_error) of (B,), detached; above 1 where that is negative.

    A negative prediction is surer than one of zero: cut off at zero, the surest faces would all be alike.
    """
    return torch.exp(-predicted_error.detach().clamp(min=_LEAST))
