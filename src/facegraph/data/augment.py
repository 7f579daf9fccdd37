"""Random changes of a training face: a matrix for its geometry, then colours and occlusion pixel by pixel."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import albumentations as A
import numpy as np

from facegraph.data.photometric import PixelTransform
from facegraph.errors import ConfigError
from facegraph.geometry.affine import horizontal_flip, rotation, scaling, translation

# albumentations counts CoarseDropout as geometric because it can drop covered landmarks; it moves no pixel
_STATIONARY = (PixelTransform, A.ImageOnlyTransform, A.CoarseDropout)
_TRIAL_SIDE = 64


@dataclass(frozen=True)
class GeometricAugmentation:
    """Mirror, rotate, shear, stretch, scale and shift a square crop, each uniformly at random.

    Attributes:
        rotation_degrees: angle in [-rotation_degrees, rotation_degrees] about the centre of the crop.
        scale_min, scale_max: factor about the centre; 1 keeps the size.
        shift: largest shift along x and along y, as a fraction of the crop's side.
        flip_probability: of a horizontal mirror.
        probability: of everything but the mirror; with 1 - probability the face is at most mirrored.
        width_min, width_max: another factor, on the width alone, as a face turned aside is narrower.
        shear: largest shear along x and, drawn on its own, along y: the number of px a row or column moves per px of
            distance from the centre; below 1, where the two could lay the face flat.

    Raises:
        ConfigError: a number out of range.
    """

    rotation_degrees: float = 0.0
    scale_min: float = 1.0
    scale_max: float = 1.0
    shift: float = 0.0
    flip_probability: float = 0.0
    probability: float = 1.0
    width_min: float = 1.0
    width_max: float = 1.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        allowed = {
            f"rotation_degrees={self.rotation_degrees} (0 to 180)": 0 <= self.rotation_degrees <= 180,
            f"scale_min={self.scale_min}, scale_max={self.scale_max} (0 < scale_min <= scale_max)": 0
            < self.scale_min
            <= self.scale_max,
            f"shift={self.shift} (a fraction of the side, 0 to 1)": 0 <= self.shift <= 1,
            f"flip_probability={self.flip_probability} (0 to 1)": 0 <= self.flip_probability <= 1,
            f"probability={self.probability} (0 to 1)": 0 <= self.probability <= 1,
            f"width_min={self.width_min}, width_max={self.width_max} (0 < width_min <= width_max)": 0
            < self.width_min
            <= self.width_max,
            f"shear={self.shear} (0 to below 1)": 0 <= self.shear < 1,
        }
        wrong = [what for what, fine in allowed.items() if not fine]
        if wrong:
            raise ConfigError(f"geometric augmentation out of range: {'; '.join(wrong)}.")

    def sample(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, bool]:
        """crop_to_augmented (3, 3) for a crop of side size px, and whether it mirrors.

        The crop is mirrored first, then rotated, sheared, stretched, scaled and shifted. A draw takes five numbers from
        rng, then three where there is a stretch or a shear, then one where probability is below 1.
        """
        angle = rng.uniform(-self.rotation_degrees, self.rotation_degrees)
        factor = rng.uniform(self.scale_min, self.scale_max)
        dx, dy = rng.uniform(-self.shift, self.shift, size=2) * size
        flipped = bool(rng.random() < self.flip_probability)
        centre = ((size - 1) / 2, (size - 1) / 2)
        matrix = rotation(angle, centre)
        if self.shear or self.width_min != 1 or self.width_max != 1:
            matrix = self._stretch(rng, centre) @ matrix
        matrix = translation(dx, dy) @ scaling(factor, centre) @ matrix
        if self.probability < 1 and rng.random() >= self.probability:
            matrix = np.eye(3)
        return (matrix @ horizontal_flip(size) if flipped else matrix), flipped

    def _stretch(self, rng: np.random.Generator, centre: tuple[float, float]) -> np.ndarray:
        """(3, 3): a shear about the centre, then the factor on the width."""
        width = rng.uniform(self.width_min, self.width_max)
        along_x, along_y = rng.uniform(-self.shear, self.shear, size=2)
        x, y = centre
        shear = np.array([[1.0, along_x, 0.0], [along_y, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return translation(x, y) @ np.diag([width, 1.0, 1.0]) @ shear @ translation(-x, -y)


class Change(NamedTuple):
    """One draw for one face.

    Attributes:
        crop_to_augmented: (3, 3).
        flipped: whether it mirrors, so that landmarks are renumbered.
        painted: whether the photometric part takes place; see Augmentation.probability.
    """

    crop_to_augmented: np.ndarray
    flipped: bool
    painted: bool


@dataclass(frozen=True)
class Augmentation:
    """All random changes of a training face: geometric, then photometric, then afterwards.

    Attributes:
        photometric: transforms that leave every pixel where it is, applied in order to the uint8 RGB crop: facegraph's
            PixelTransform, albumentations' ImageOnlyTransform and CoarseDropout, and compositions of the last two.
            Others are refused: albumentations moves points half a pixel off its images when it resizes and never
            renumbers mirrored landmarks.
        probability: one coin for geometric and photometric together; a face that loses it gets neither.
        afterwards: transforms like the photometric ones that the coin has no say in.

    Raises:
        ConfigError: a transform that may move pixels or cannot be applied, a probability out of range, or numbers in
            place of geometric.
    """

    geometric: GeometricAugmentation = field(default_factory=GeometricAugmentation)
    photometric: Sequence[PixelTransform | A.BasicTransform | A.BaseCompose] = ()
    probability: float = 1.0
    afterwards: Sequence[PixelTransform | A.BasicTransform | A.BaseCompose] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.geometric, GeometricAugmentation):
            raise ConfigError(
                f"augmentation: geometric is {self.geometric}, numbers without a GeometricAugmentation to hold them. "
                "Choose an option that has one, such as augment=light, or set augment.geometric._target_ too."
            )
        for name in ("photometric", "afterwards"):
            transforms = tuple(getattr(self, name) or ())
            object.__setattr__(self, name, transforms)
            for transform in _leaves(transforms):
                if not isinstance(transform, _STATIONARY):
                    raise ConfigError(
                        f"augmentation: {name} holds {type(transform).__name__}, which may move pixels; only "
                        "facegraph's PixelTransform, albumentations' ImageOnlyTransform and CoarseDropout, and "
                        "compositions of these two are allowed. Use geometric for rotation, scale, shift and flip."
                    )
                _try(name, transform)
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"augmentation: probability={self.probability}; 0 <= probability <= 1 is needed.")

    def sample(self, rng: np.random.Generator, size: int) -> Change:
        """Draw the change of a face whose crop has side size px. With probability 1 no number is drawn for the coin."""
        if self.probability < 1 and rng.random() >= self.probability:
            return Change(np.eye(3), False, False)
        return Change(*self.geometric.sample(rng, size), True)

    def paint(self, crop: np.ndarray, rng: np.random.Generator, painted: bool = True) -> np.ndarray:
        """The photometric part on a crop (S, S, 3) uint8 RGB, left as it is. Same rng state, same result.

        Args:
            painted: of the Change drawn for this face; where it is False only afterwards is applied.
        """
        transforms = (*self.photometric, *self.afterwards) if painted else self.afterwards
        if not transforms:
            return crop
        # Sharing the generators costs two attributes per transform; set_random_seed would build new ones in each.
        coins = random.Random(int(rng.integers(2**63)))
        for transform in transforms:
            if isinstance(transform, PixelTransform):
                if transform.p >= 1 or (transform.p > 0 and coins.random() < transform.p):
                    crop = transform.apply(crop, rng)
            else:
                transform.set_random_state(rng, coins)
                crop = transform(image=crop)["image"]
        return crop


def _try(name: str, transform: Any) -> None:
    """Some numbers that albumentations takes it fails on, in the middle of a training and in another process."""
    if isinstance(transform, PixelTransform):
        return
    try:
        transform(image=np.full((_TRIAL_SIDE, _TRIAL_SIDE, 3), 128, np.uint8), force_apply=True)
    except Exception as error:
        raise ConfigError(f"augmentation: {name} holds {transform}, which cannot be applied: {error}") from error


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        if isinstance(transform, A.BaseCompose):
            yield from _leaves(transform.transforms)
        else:
            yield transform
