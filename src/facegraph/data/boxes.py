"""Which box a face is cut out around: one object for training, evaluation, prediction and export.

Convention: boxes are (x0, y0, x1, y1) in px of the photograph; their edges are positions like landmarks, so the tight
box of landmarks runs through the outermost ones.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box, square_crop

LONGER, MEAN, EACH = "longer", "mean", "each"
_SIDES = {LONGER: "", MEAN: ", side from the mean of width and height", EACH: ", which stretches it"}
_WIDEST = 100.0  # the face is a hundredth of the crop's side
OFFICIAL, LANDMARKS = "official", "landmarks"


@dataclass(frozen=True)
class BoxPolicy(ABC):
    """The box of a face and the square around it.

    Args:
        margin: side of the square over the side of the box.
        side: which one that is, "longer" (of width and height), "mean" (of the two, as FAN cuts), or "each": width and
            height by themselves, which stretches the box to a square, as DPR does.

    Raises:
        ConfigError: a number out of range, or another side.
    """

    margin: float = 1.25
    side: str = LONGER

    def __post_init__(self) -> None:
        if not 0 < self.margin <= _WIDEST:
            raise ConfigError(
                f"box.margin is {self.margin}; it must be positive and at most {_WIDEST:g}. 1 cuts tight around "
                "the box."
            )
        if self.side not in (LONGER, MEAN, EACH):
            raise ConfigError(f"box.side is '{self.side}'; {LONGER}, {MEAN} or {EACH} (of width and height) are known.")

    @abstractmethod
    def boxes(self, landmarks: np.ndarray, official: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        """(M, 4) boxes of M faces, before any jitter.

        Args:
            landmarks: (M, N, 2).
            official: (M, 4), the publisher's or a detector's; NaN where there is none.
            ids: M names for messages.

        Raises:
            DataError: a face without the box that the policy needs.
        """

    @property
    @abstractmethod
    def description(self) -> str:
        """The box in words, as protocol cards print it."""

    @property
    def crop_description(self) -> str:
        """The square in words, without its margin."""
        return f"square around the {self.description}{_SIDES[self.side]}"

    def jittered(self, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The box (4,) of one draw in training; by default as it is."""
        return box

    def scored(self, boxes: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        """The boxes (M, 4) that validation and test use; by default as they are.

        Args:
            ids: M names.
        """
        return boxes

    def square(self, box: np.ndarray, size: int) -> np.ndarray:
        """image_to_crop (3, 3) of a box (4,): px of the photograph -> px of the crop of side size."""
        around = _equal_sides(box) if self.side == MEAN else box
        return square_crop(around, self.margin, size, stretch=self.side == EACH)


@dataclass(frozen=True)
class LandmarkBox(BoxPolicy):
    """The tight box around the true landmarks. Easier than any detector's box; most papers use it."""

    def boxes(self, landmarks: np.ndarray, official: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        return landmark_box(landmarks)

    @property
    def description(self) -> str:
        return "tight landmark box"


@dataclass(frozen=True)
class OfficialBox(BoxPolicy):
    """The box that comes with the annotations: the publisher's, or columns of your own csv.

    Args:
        fallback: take the tight landmark box for faces without one; otherwise they are an error.
    """

    fallback: bool = False

    def boxes(self, landmarks: np.ndarray, official: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        without = ~np.isfinite(official).all(axis=-1)
        if without.any() and not self.fallback:
            first = ids[int(np.flatnonzero(without)[0])]
            raise DataError(
                f"box=official, but {int(without.sum())} of {len(ids)} faces have no box of their own, first '{first}'."
                " Use box=landmarks, or box.fallback=true to take the landmark box for these."
            )
        return np.where(without[:, None], landmark_box(landmarks), official)

    @property
    def description(self) -> str:
        return "official box, tight landmark box where there is none" if self.fallback else "official box"


@dataclass(frozen=True)
class DetectorJitteredBox(OfficialBox):
    """A box moved and stretched at random, as a face detector's would be; a new draw each time a face is trained on.

    Where scored, each face has one fixed draw of (seed, its id), so that a score is repeatable.

    Args:
        around: the box that is moved: "official", and where there is none the tight landmark box (fallback=false
            refuses that), or "landmarks", always the tight landmark box.
        shift: largest movement along x and y, as a share of the box's width and height.
        width, height: range of the factor on the width and on the height.
        probability: of moving a box at all.
        seed: of the fixed draws.
        scored_too: False leaves the boxes of validation and test as they are.

    Raises:
        ConfigError: a number out of range, or another name of a box.
    """

    fallback: bool = True
    shift: float = 0.1
    width: tuple[float, float] = (0.9, 1.1)
    height: tuple[float, float] = (0.9, 1.1)
    probability: float = 1.0
    seed: int = 0
    around: str = OFFICIAL
    scored_too: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "height"):
            low, high = (float(v) for v in getattr(self, name))
            if not 0 < low <= high:
                raise ConfigError(f"box.{name} is [{low}, {high}]; a range of factors 0 < low <= high is needed.")
            object.__setattr__(self, name, (low, high))
        if not (0 <= self.shift < 1 and 0 <= self.probability <= 1):
            raise ConfigError(
                f"box.shift is {self.shift} and box.probability {self.probability}; 0 <= shift < 1 (a share of the "
                "box's sides) and 0 <= probability <= 1 are needed."
            )
        if self.seed < 0:
            raise ConfigError(f"box.seed is {self.seed}; seeds are whole numbers from 0 on.")
        if self.around not in (OFFICIAL, LANDMARKS):
            raise ConfigError(f"box.around is '{self.around}'; {OFFICIAL} or {LANDMARKS} (the box to move) are known.")

    def boxes(self, landmarks: np.ndarray, official: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        return landmark_box(landmarks) if self.around == LANDMARKS else super().boxes(landmarks, official, ids)

    def jittered(self, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        moved, dx, dy, fx, fy = rng.random(5)
        if moved >= self.probability:
            return box
        size = box[2:] - box[:2]
        centre = (box[:2] + box[2:]) / 2 + self.shift * (2 * np.array([dx, dy]) - 1) * size
        low, high = np.transpose([self.width, self.height])
        half = size * (low + np.array([fx, fy]) * (high - low)) / 2
        return np.concatenate([centre - half, centre + half])

    def scored(self, boxes: np.ndarray, ids: tuple[str, ...]) -> np.ndarray:
        if not self.scored_too:
            return boxes
        draws = (np.random.default_rng([self.seed, zlib.crc32(name.encode())]) for name in ids)
        return np.stack([self.jittered(box, rng) for box, rng in zip(boxes, draws, strict=True)])

    @property
    def description(self) -> str:
        box = "tight landmark box" if self.around == LANDMARKS else super().description
        return (
            f"{box}, {'' if self.scored_too else 'in training only '}moved by up to {self.shift:g} of its sides, "
            f"width x {self.width[0]:g} to {self.width[1]:g}, height x {self.height[0]:g} to {self.height[1]:g}, "
            f"probability {self.probability:g}"
        )


def _equal_sides(box: np.ndarray) -> np.ndarray:
    centre = (box[:2] + box[2:]) / 2
    half = np.mean(box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])
