"""Random changes of a training face: a matrix for its geometry, albumentations for its colours and occlusion."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import albumentations as A
import numpy as np

from facegraph.errors import ConfigError
from facegraph.geometry.affine import horizontal_flip, rotation, scaling, translation


@dataclass(frozen=True)
class GeometricAugmentation:
    """Mirror, rotate, scale and shift a square crop, each uniformly at random.

    rotation_degrees: angle in [-rotation_degrees, rotation_degrees] about the centre of the crop.
    scale_min, scale_max: factor about the centre; 1 keeps the size.
    shift: largest shift along x and along y, as a fraction of the crop's side.
    flip_probability: of a horizontal mirror.

    Raises:
        ConfigError: a number out of range.
    """

    rotation_degrees: float = 0.0
    scale_min: float = 1.0
    scale_max: float = 1.0
    shift: float = 0.0
    flip_probability: float = 0.0

    def __post_init__(self) -> None:
        allowed = {
            f"rotation_degrees={self.rotation_degrees} (0 to 180)": 0 <= self.rotation_degrees <= 180,
            f"scale_min={self.scale_min}, scale_max={self.scale_max} (0 < scale_min <= scale_max)": 0
            < self.scale_min
            <= self.scale_max,
            f"shift={self.shift} (a fraction of the side, 0 to 1)": 0 <= self.shift <= 1,
            f"flip_probability={self.flip_probability} (0 to 1)": 0 <= self.flip_probability <= 1,
        }
        wrong = [what for what, fine in allowed.items() if not fine]
        if wrong:
            raise ConfigError(f"geometric augmentation out of range: {'; '.join(wrong)}.")

    def sample(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, bool]:
        """crop_to_augmented (3, 3) for a crop of side size px, and whether it mirrors.

        The crop is mirrored first, then rotated, scaled and shifted. Every draw takes five numbers from rng.
        """
        angle = rng.uniform(-self.rotation_degrees, self.rotation_degrees)
        factor = rng.uniform(self.scale_min, self.scale_max)
        dx, dy = rng.uniform(-self.shift, self.shift, size=2) * size
        flipped = bool(rng.random() < self.flip_probability)
        centre = ((size - 1) / 2, (size - 1) / 2)
        matrix = translation(dx, dy) @ scaling(factor, centre) @ rotation(angle, centre)
        return (matrix @ horizontal_flip(size) if flipped else matrix), flipped


@dataclass(frozen=True)
class Augmentation:
    """All random changes of a training face, in the order geometry, then photometric.

    photometric: albumentations transforms that leave every pixel where it is, applied in order to the uint8 RGB crop.
    Transforms that move pixels are refused: albumentations moves points half a pixel off its images when it resizes
    and never renumbers mirrored landmarks.

    Raises:
        ConfigError: a photometric transform that moves pixels.
    """

    geometric: GeometricAugmentation = field(default_factory=GeometricAugmentation)
    photometric: Sequence[A.ImageOnlyTransform | A.BaseCompose] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "photometric", tuple(self.photometric or ()))
        for transform in _leaves(self.photometric):
            if not isinstance(transform, A.ImageOnlyTransform):
                raise ConfigError(
                    f"augmentation: photometric holds {type(transform).__name__}, which may move pixels; only "
                    "albumentations' ImageOnlyTransform and compositions of them are allowed. Use geometric for "
                    "rotation, scale, shift and flip, and RectangleOcclusion for occlusion."
                )

    def paint(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The photometric part on a crop (S, S, 3) uint8 RGB; the same rng state gives the same crop."""
        if not self.photometric:
            return crop
        # Sharing the generators costs two attributes per transform; set_random_seed would build new ones in each.
        python_rng = random.Random(int(rng.integers(2**63)))
        for transform in self.photometric:
            transform.set_random_state(rng, python_rng)
            crop = transform(image=crop)["image"]
        return crop


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        if isinstance(transform, A.BaseCompose):
            yield from _leaves(transform.transforms)
        else:
            yield transform
