"""The transforms that DPR's reinitialisation learns: upright faces in a frame, parts that fill a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.landmarks import INTER_OCULAR, INTER_PUPIL, LandmarkScheme

FACE_SHARE = 0.88
"""Longer side of the upright face's landmark box over the frame's side. Source: read off the released nets."""
FACE_CENTRE = (0.5, 0.55)
"""Where the centre of that box lies in the frame, in units of its side. Source: as above."""
_TINY = 1e-8


def in_px(matrix: Tensor, side: float) -> Tensor:
    """Matrix (..., 2, 3) in units of a side -> the same transform in px: translations times side."""
    return torch.cat([matrix[..., :2], matrix[..., 2:] * side], dim=-1)


def resize(matrix: Tensor, source_side: float, target_side: float) -> Tensor:
    """Matrix (..., 2, 3) in units of both sides -> px of a source frame to px of a target frame of another side."""
    return torch.cat([matrix[..., :2] * (target_side / source_side), matrix[..., 2:] * target_side], dim=-1)


def in_units(matrix: Tensor, source_side: float, target_side: float) -> Tensor:
    """Matrix (..., 2, 3) between px of two frames -> in units of their sides; the inverse of `resize`."""
    return torch.cat([matrix[..., :2] * source_side, matrix[..., 2:]], dim=-1) / target_side


def eye_groups(scheme: LandmarkScheme) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Landmarks whose mean points are the left and the right eye.

    Raises:
        ConfigError: the scheme has neither normaliser inter_pupil nor inter_ocular.
    """
    for name in (INTER_PUPIL, INTER_OCULAR):
        if name in scheme.normalisers:
            return scheme.normalisers[name]
    raise ConfigError(
        f"model=dpr turns faces upright by the line between their eyes; scheme '{scheme.name}' has the normalisers "
        f"{sorted(scheme.normalisers)} but neither {INTER_PUPIL} nor {INTER_OCULAR}. Add one that names the eyes."
    )


@torch.no_grad()
def upright_box(
    points: Tensor,
    scheme: LandmarkScheme,
    share: float = FACE_SHARE,
    centre: Sequence[float] = FACE_CENTRE,
) -> Tensor:
    """The similarity that turns a face upright and puts it into the unit frame.

    The line between the eyes becomes horizontal (left eye to the left: no reflection), the longer side of the box
    around the turned landmarks becomes `share`, its centre `centre`.

    Args:
        points: (B, N, 2) in any unit; in coarse px / coarse side the result is what the global reinitialisation net is
            trained on.
        scheme: see `eye_groups`.

    Returns:
        (B, 2, 3) float32, points -> unit frame. Not differentiable: a target. Where all points are one, or the eyes
        are, nothing is turned and the scale stays finite.

    Deviation: the exact target of the paper is unknown; this is what the released net's outputs fit best.
    """
    points = points.float()
    left, right = (points[:, list(group)].mean(dim=1) for group in eye_groups(scheme))
    across = right - left
    length = across.norm(dim=-1, keepdim=True)
    upright = torch.tensor([1.0, 0.0], device=points.device).expand_as(across)
    c, s = torch.where(length > _TINY, across / length.clamp_min(_TINY), upright).unbind(dim=-1)
    turn = torch.stack([torch.stack([c, s], dim=-1), torch.stack([-s, c], dim=-1)], dim=-2)
    turned = (turn[:, None] * points[:, :, None, :]).sum(dim=-1)
    low, high = turned.amin(dim=1), turned.amax(dim=1)
    scale = share / (high - low).amax(dim=-1).clamp_min(_TINY)
    shift = torch.tensor(list(centre), device=points.device) - scale[:, None] * (low + high) / 2
    return torch.cat([turn * scale[:, None, None], shift[..., None]], dim=-1)


def fit_similarity(source: Tensor, target: Tensor) -> Tensor:
    """The similarity without reflection that maps source points onto target points with the least squared error.

    Closed form with points as complex numbers: a = sum(conj(z) w) / sum(|z|^2) of centred points. Differentiable.

    Args:
        source: (B, n, 2).
        target: (n, 2) or (B, n, 2), in any unit each; n >= 2.

    Returns:
        (B, 2, 3) float32, source -> target. Where all source points are one, everything maps to the target's centre.
    """
    source, target = source.float(), target.float()
    from_centre, to_centre = source.mean(dim=-2, keepdim=True), target.mean(dim=-2, keepdim=True)
    z, w = source - from_centre, target - to_centre
    size = z.square().sum(dim=(-2, -1)).clamp_min(_TINY)
    real = (z * w).sum(dim=(-2, -1)) / size
    imaginary = (z[..., 0] * w[..., 1] - z[..., 1] * w[..., 0]).sum(dim=-1) / size
    linear = torch.stack([real, -imaginary, imaginary, real], dim=-1).unflatten(-1, (2, 2))
    shift = to_centre.squeeze(-2) - (linear * from_centre).sum(dim=-1)
    return torch.cat([linear, shift[..., None]], dim=-1)
