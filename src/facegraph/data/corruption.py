"""Faces made harder where they are tested: covered, blurred or coarse. Landmarks stay, and training never sees it.

A corruption is a pure function of the crop, its settings and the face's id: neither the order of faces nor the number
of loaders or processes matters, and every model meets the same face behind the same rectangle.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np

from facegraph.errors import ConfigError
from facegraph.structures import REFERENCE_SIZE

NONE = "none"
"""What a protocol card says where nothing is changed."""
_ASPECT = (0.4, 2.5)
_STREAM = 1  # boxes draw from (seed, id) too; a place of the rectangle must not follow from a move of the box


class Corruption(ABC):
    """A change of the crops that a model is tested on."""

    @abstractmethod
    def __call__(self, image: np.ndarray, face: str) -> np.ndarray:
        """The crop (S, S, 3) uint8 RGB of the face of that id, changed; the input itself where nothing changes."""

    @abstractmethod
    def describe(self, side: int) -> str:
        """The change of crops of `side` px in words, as protocol cards print it; NONE where nothing changes."""


@dataclass(frozen=True)
class Occlusion(Corruption):
    """Cover one rectangle of the crop with one colour.

    The rectangle lies within the crop and covers exactly `share` of its area: a pixel on its edge is mixed in
    proportion. Its place and aspect (width over height log-uniform from 0.4 to 2.5, limited where it would not fit)
    and its colour are drawn from (seed, the face's id). They do not depend on the share, and a larger share covers all
    that a smaller one does, so that a curve over the share is not one of luck. Nor do they depend on the crop's size.

    Deviation: SCC's Fig. 1b plots NME against the occluded share and does not say how faces were covered; the training
    occlusion of its code is cut off at the crop's edge, so that it covers less than it says.

    Attributes:
        share: covered area over the crop's area, 0 to 1.

    Raises:
        ConfigError: a share out of range, a seed below 0.
    """

    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"corruption.share is {self.share}; it must be from 0 (nothing) to 1 (all of the crop).")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"corruption.seed is {self.seed}; seeds are whole numbers from 0 on.")

    def rectangle(self, face: str) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in shares of the crop's side."""
        place, _ = self._draw(face)
        low, high = (math.log(aspect) for aspect in _ASPECT)
        aspect = math.exp(low + float(place[2]) * (high - low))
        width = min(1.0, max(math.sqrt(self.share * aspect), self.share))
        height = min(1.0, self.share / width) if width > 0 else 0.0
        x0, y0 = float(place[0]) * (1 - width), float(place[1]) * (1 - height)
        return x0, y0, x0 + width, y0 + height

    def __call__(self, image: np.ndarray, face: str) -> np.ndarray:
        if self.share == 0:
            return image
        _, colour = self._draw(face)
        x0, y0, x1, y1 = self.rectangle(face)
        height, width = image.shape[:2]
        covered = _coverage(y0 * height, y1 * height, height)[:, None] * _coverage(x0 * width, x1 * width, width)
        mixed = image + covered[..., None] * (colour - image.astype(np.float64))
        return np.rint(mixed).astype(np.uint8)

    def describe(self, side: int) -> str:
        return NONE if self.share == 0 else f"a rectangle over {self.share:g} of the crop, seed {self.seed}"

    def _draw(self, face: str) -> tuple[np.ndarray, np.ndarray]:
        """(3,) place along x and y and the aspect, each in [0, 1), and (3,) colour."""
        rng = np.random.default_rng([self.seed, zlib.crc32(face.encode()), _STREAM])
        return rng.random(3), rng.integers(0, 256, size=3)


def _coverage(start: float, end: float, count: int) -> np.ndarray:
    """(count,) shares in [0, 1] of the unit intervals [i, i + 1] that [start, end] covers; their sum is its length."""
    edges = np.arange(count + 1, dtype=np.float64)
    return np.diff(np.clip(edges, start, end))


@dataclass(frozen=True)
class Blur(Corruption):
    """Gaussian blur.

    Attributes:
        sigma: px of a crop of side 256; in a crop of side S it is sigma S / 256, so that the input size does not change
            how much of a face is lost. 0 changes nothing, nor does what is less than a step of grey in a small crop.

    Raises:
        ConfigError: a negative sigma, or one above 256.
    """

    sigma: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= REFERENCE_SIZE:  # beyond its side a crop is one colour, and the filter takes for ever
            raise ConfigError(
                f"corruption.sigma is {self.sigma}; it must be 0 (nothing) to {REFERENCE_SIZE:.0f}, px of a "
                f"{REFERENCE_SIZE:.0f} crop."
            )

    def __call__(self, image: np.ndarray, face: str) -> np.ndarray:
        sigma = self.sigma * image.shape[0] / REFERENCE_SIZE
        if sigma == 0:
            return image
        return cv2.GaussianBlur(image, (0, 0), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE)

    def describe(self, side: int) -> str:
        # what a blur changes most is a single bright pixel
        dot = np.zeros((side, side, 3), np.uint8)
        dot[side // 2, side // 2] = 255
        return (
            NONE
            if (self(dot, "") == dot).all()
            else f"Gaussian blur, sigma {self.sigma:g} px of a {REFERENCE_SIZE:.0f} crop"
        )


@dataclass(frozen=True)
class Resolution(Corruption):
    """A small face: the crop shrunk (mean over areas) and enlarged again (bilinear).

    Pixel centres stay where they are, so landmarks do as well.

    Attributes:
        side: px that are left of the face, whatever the input size, which so does not change how much of a face is
            lost; None changes nothing, nor does a side that the crop does not exceed.

    Raises:
        ConfigError: a side below 1.
    """

    side: int | None = 64

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise ConfigError(f"corruption.side is {self.side}; it must be 1 px or more, or null to change nothing.")

    def __call__(self, image: np.ndarray, face: str) -> np.ndarray:
        height, width = image.shape[:2]
        if self.side is None or self.side >= height:
            return image
        small = cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

    def describe(self, side: int) -> str:
        unchanged = self.side is None or self.side >= side
        return NONE if unchanged else f"crop shrunk to {self.side} px and enlarged again"
