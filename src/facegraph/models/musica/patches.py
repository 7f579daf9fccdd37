"""Small squares of pixels around landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facegraph.errors import ConfigError


def cut_patches(image: Tensor, centres: Tensor, side: int) -> Tensor:
    """The squares around points, pixel for pixel.

    The square of side P around c begins at the whole pixel nearest to c - (P - 1) / 2, so that its middle lies within
    half a pixel of c. Pixels beyond the image are zero. Nothing flows back to the centres.
    Source: the patch operator of the released code. Deviation: it begins at trunc(c - P / 2), which for P = 14 puts the
    middle one px up and left of c on average.

    Args:
        image: (B, 3, H, W).
        centres: (B, M, 2) px of this image; a point that is not finite counts as far outside.

    Returns:
        (B, M, 3, P, P), of the image's type.
    """
    height, width = image.shape[-2:]
    with torch.no_grad():
        first = torch.floor(torch.nan_to_num(centres.float(), nan=-1e6) - (side - 1) / 2 + 0.5)
        steps = torch.arange(side, device=image.device)
        # a square far away is one just outside: whole numbers of any size would overflow the index
        columns = first[..., 0].clamp(-side, width).long()[..., None] + steps
        rows = first[..., 1].clamp(-side, height).long()[..., None] + steps
        inside = _within(rows, height)[..., :, None] & _within(columns, width)[..., None, :]
        index = rows.clamp(0, height - 1)[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]
    pixels = image.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, image.shape[1], -1))
    pixels = pixels * inside.flatten(1)[:, None]
    return pixels.unflatten(2, (centres.shape[1], side, side)).transpose(1, 2)


def choose_patches(num_landmarks: int, stride: int, listed: Sequence[int] | None) -> list[int]:
    """Indices of the M landmarks that get a patch: those listed, else every stride-th from 0 on.

    Raises:
        ConfigError: an index that the scheme does not have or that is named twice, none at all, a stride below 1.
    """
    if listed is None:
        if not isinstance(stride, int) or not 1 <= stride <= num_landmarks:
            raise ConfigError(
                f"model.patch_stride={stride} is out of range; it must be a whole number of 1..{num_landmarks}: 1 puts "
                "a patch around every landmark, 2 around every second one."
            )
        return list(range(0, num_landmarks, stride))
    chosen = list(listed)
    known = all(isinstance(i, int) and 0 <= i < num_landmarks for i in chosen)
    if not chosen or not known or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"model.patch_landmarks={chosen} cannot be used; name different landmarks of 0..{num_landmarks - 1}, at "
            "least one, or null and a model.patch_stride."
        )
    return chosen


def _within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)
