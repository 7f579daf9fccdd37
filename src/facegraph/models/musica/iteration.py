"""One iteration of the cascade: patches and state -> displacements, predicted error, state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facegraph.errors import ConfigError


class Step(NamedTuple):
    """What one iteration says of B faces.

    Attributes:
        displacement: (B, N, 2) float32, px of the iteration's level.
        error: (B,) float32, predicted for the moved landmarks.
        attention: (B, M) float32, mean over a patch's features; None without attention.
        state: (B, hidden).
    """

    displacement: Tensor
    error: Tensor
    attention: Tensor | None
    state: Tensor


class PatchNetwork(nn.Module):
    """What all patches of one iteration go through: conv 3x3, ReLU, pool, conv 3x3, ReLU.

    The features of a patch are the middle of the second convolution's output and the same output max-pooled, so that
    a 14 px patch goes 12 -> 6 -> 4 -> 2 and has 2 * channels * 2 * 2 features, 256 of them. Attention weighs each
    feature by a sigmoid of a linear layer on the features of the same patch.

    Args:
        patch_size: side of a patch in px.
        channels: of both convolutions.
        attention: on or off.

    Raises:
        ConfigError: a patch size that two convolutions and two halvings do not divide evenly.
    """

    def __init__(self, patch_size: int, channels: int, attention: bool) -> None:
        super().__init__()
        if not isinstance(patch_size, int) or patch_size < 10 or patch_size % 4 != 2:
            raise ConfigError(
                f"model.patch_size={patch_size} does not work; after two convolutions and two halvings whole pixels "
                "must be left: 10, 14 (paper), 18, 22, ..."
            )
        self.conv1 = nn.Conv2d(3, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)
        side = (patch_size - 2) // 2 - 2
        self.kept = side // 2
        self.first_kept = (side - self.kept) // 2
        self.num_features = 2 * channels * self.kept**2
        self.attention = nn.Linear(self.num_features, self.num_features) if attention else None

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor | None]:
        """(R, 3, P, P) -> features (R, F) after attention, and attention weights (R, F) in [0, 1] or None."""
        # the largest of four and zero in either order; this one has a quarter of the numbers to go through
        maps = torch.relu(F.max_pool2d(self.conv1(patches), 2))
        maps = torch.relu(self.conv2(maps))
        middle = slice(self.first_kept, self.first_kept + self.kept)
        both = torch.cat([maps[:, :, middle, middle], F.max_pool2d(maps, 2)], dim=1)
        features = both.permute(0, 2, 3, 1).flatten(1)  # channels last: as it lies in memory
        if self.attention is None:
            return features, None
        weights = torch.sigmoid(self.attention(features))
        return weights * features, weights


class Iteration(nn.Module):
    """state = tanh(linear(patch features and state before)); displacements and predicted error = linear(state).

    Args:
        patches: number M.
        landmarks: number N.
        hidden: size of the state.
        dropout: share of the state that is dropped in training, after the tanh and for all that read it: head and next
            iteration. The released code has 0.5 as an option there, off.
        patch_size, channels, attention: see PatchNetwork.
    """

    def __init__(
        self,
        patches: int,
        landmarks: int,
        patch_size: int,
        channels: int,
        hidden: int,
        attention: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch_network = PatchNetwork(patch_size, channels, attention)
        self.dropout = nn.Dropout(dropout)
        self.state = nn.Linear(patches * self.patch_network.num_features + hidden, hidden)
        self.head = nn.Linear(hidden, 2 * landmarks + 1)

    def forward(self, patches: Tensor, state: Tensor) -> Step:
        """patches (B, M, 3, P, P), state (B, hidden) -> Step."""
        faces, count = patches.shape[:2]
        rows = patches.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features, weights = self.patch_network(rows)
        features = features.unflatten(0, (faces, count)).flatten(1)
        state = torch.tanh(self.state(torch.cat([features, state.to(features.dtype)], dim=1)))
        state = self.dropout(state)
        # coordinates need more than the 8 bits of bfloat16
        with torch.autocast(patches.device.type, enabled=False):
            raw = self.head(state.float())
        attention = None
        if weights is not None:
            attention = weights.detach().float().mean(dim=1).unflatten(0, (faces, count))
        return Step(raw[:, :-1].unflatten(1, (-1, 2)), raw[:, -1], attention, state)
