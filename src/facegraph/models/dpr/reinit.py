"""Where to cut next: the global net that sees the coarse crop, and two ways to frame the parts from landmarks.

Source: the released code and weights; names of the state dict as in the released files.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.models.dpr.mobilenet import initialise
from facegraph.models.dpr.parts import Part
from facegraph.models.dpr.transforms import fit_similarity, in_px, in_units

# kernel, width of the output, stride, whether a pooling follows
_LAYERS = ((5, 8, 2, True), (3, 16, 1, False), (3, 16, 1, True), (3, 32, 1, False), (3, 32, 1, True), (3, 64, 1, False))


class GlobalReinit(nn.Module):
    """(B, 3, C, C) coarse crop -> (B, 2, 3): coarse frame -> normalised frame in units of the side.

    Convolutions without padding or batch norm; pooling before PReLU, one slope per layer.

    Args:
        size: side C of the coarse crop in px (released: 128).
        start: (2, 3) that the untrained net gives for every face, up to the noise of its last layer; None leaves the
            released start, a matrix of zeros.

    Raises:
        ConfigError: size is too small for the poolings.
    """

    def __init__(self, size: int, start: Tensor | None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in, side = 3, size
        for kernel, width, stride, pooled in _LAYERS:
            layers += [nn.Conv2d(width_in, width, kernel, stride), *([nn.MaxPool2d(2)] if pooled else []), nn.PReLU()]
            side = ((side - kernel) // stride + 1) // (2 if pooled else 1)
            width_in = width
        if side < 1:
            raise ConfigError(
                f"model.coarse_size={size} is too small: three poolings leave nothing of it. 99 is the least, 128 the "
                "released side."
            )
        self.localization = nn.Sequential(*layers)
        self.fc_loc = nn.Sequential(nn.Linear(width_in * side**2, 32), nn.PReLU(), nn.Linear(32, 6))
        initialise(self)
        if start is not None:
            _start_at(self.fc_loc, start)

    def forward(self, coarse: Tensor) -> Tensor:
        return _matrices(self.fc_loc, self.localization(coarse).flatten(1))


class LocalReinitNetwork(nn.Module):
    """Frames of the parts from all global landmarks: one small net per part.

    The nets read the residuals from the mean face in units of half the frame's side, what the global net regresses.
    Deviation: the released nets read px of the frame, as `PixelLocalReinitNetwork` does. The two can express the same
    functions, but from px the nets miss the frames two to four times as far, and training gets lost at a high rate.

    Args:
        parts: P of them.
        face: (N, 2) mean face in units of the global frame.
        means: P tensors (n_p, 2) in units of a part's frame.
        global_size, part_size: sides of the frames in px.
        start_at_mean: untrained nets give the frames of the mean face; otherwise zeros, as released.
    """

    face: Tensor

    def __init__(
        self,
        parts: Sequence[Part],
        face: Tensor,
        means: Sequence[Tensor],
        global_size: int,
        part_size: int,
        start_at_mean: bool,
    ) -> None:
        super().__init__()
        self.names = tuple(f"{part.name}_net" for part in parts)
        self.global_size, self.part_size = global_size, part_size
        self.register_buffer("face", face.clone())
        for name in self.names:
            widths = nn.Linear(face.numel(), 128), nn.PReLU(), nn.Linear(128, 64), nn.PReLU(), nn.Linear(64, 6)
            self.add_module(name, nn.Sequential(*widths))
        initialise(self)
        if start_at_mean:
            shape = face[None] * global_size
            for name, part, mean in zip(self.names, parts, means, strict=True):
                frame = fit_similarity(shape[:, list(part.indices)], mean * part_size)
                _start_at(self._net(name), in_units(frame, part_size, part_size)[0], self.numbers(shape))

    def _net(self, name: str) -> nn.Sequential:
        net = self.get_submodule(name)
        assert isinstance(net, nn.Sequential)
        return net

    def numbers(self, points: Tensor) -> Tensor:
        """(B, 2 N) input of the nets, of global points (B, N, 2) in px."""
        return (2 * (points / self.global_size - self.face)).flatten(1)

    def forward(self, points: Tensor, means: Sequence[Tensor]) -> Tensor:
        """(B, P, 2, 3) float32, global px -> part px, of global points (B, N, 2) in px of the global frame.

        In float32 also under autocast: px of a frame need more than the 8 bits of bfloat16, and the nets are small.
        """
        with torch.autocast(points.device.type, enabled=False):
            numbers = self.numbers(points.float())
            matrices = [_matrices(self._net(name), numbers) for name in self.names]
            return in_px(torch.stack(matrices, dim=1), self.part_size)


class PixelLocalReinitNetwork(LocalReinitNetwork):
    """As released: the nets read px of the global frame as they are."""

    def numbers(self, points: Tensor) -> Tensor:
        return points.flatten(1)


class SimilarityFit(nn.Module):
    """Frames of the parts without a net: the similarity that fits a part's global points to its mean points best.

    What the released nets approximate to a few per cent. Arguments and call as of `LocalReinitNetwork`.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        face: Tensor,
        means: Sequence[Tensor],
        global_size: int,
        part_size: int,
        start_at_mean: bool,
    ) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.part_size = part_size

    def forward(self, points: Tensor, means: Sequence[Tensor]) -> Tensor:
        """(B, P, 2, 3), global px -> part px, of global points (B, N, 2) in px of the global frame."""
        pairs = zip(self.parts, means, strict=True)
        fits = [fit_similarity(points[:, list(part.indices)], mean * self.part_size) for part, mean in pairs]
        return torch.stack(fits, dim=1)


def _matrices(head: nn.Sequential, numbers: Tensor) -> Tensor:
    """(B, 2, 3) float32 that a head makes of numbers (B, n); the last layer in float32."""
    hidden = head[:-1](numbers)
    with torch.autocast(hidden.device.type, enabled=False):
        return head[-1](hidden.float()).unflatten(1, (2, 3))


@torch.no_grad()
def _start_at(head: nn.Sequential, matrix: Tensor, numbers: Tensor | None = None) -> None:
    """Set the last bias so that the head gives a matrix (2, 3); exactly so for an input (1, n) where one is given."""
    last = head[-1]
    assert isinstance(last, nn.Linear)
    shift = matrix.flatten() if numbers is None else matrix.flatten() - _matrices(head, numbers).flatten()
    last.bias.add_(shift)
