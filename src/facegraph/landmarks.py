"""Landmark schemes: how many points, which one mirrors which, which pairs measure a face, which lines draw it.

Facts on the three schemes: WFLW (98), iBUG / 300-W (68), COFW (29). Mirror pairs as published with the SCC code;
eye corners and pupils as in the evaluation protocols of each data set.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from facegraph.errors import ConfigError

INTER_OCULAR = "inter_ocular"
INTER_PUPIL = "inter_pupil"
BOX = "box"
MAX_LANDMARKS = 10_000
"""Of a scheme. The densest annotated sets have about a thousand."""
_MOST_NAMED = 10


@dataclass(frozen=True)
class Contour:
    """A polyline through landmarks, for drawing and for part-wise reports."""

    name: str
    indices: tuple[int, ...]
    closed: bool = False


@dataclass(frozen=True)
class LandmarkScheme:
    """A numbering of N landmarks.

    Args:
        flip: length N; landmark i of a face is landmark flip[i] of its mirror image.
        normalisers: name -> (left indices, right indices); the distance is taken between the mean points of the two
            groups.
        contours: lines that draw the face.

    Raises:
        ConfigError: no landmark or more than MAX_LANDMARKS, an index out of range, a flip list that is not an
            involution of 0..N-1, a normaliser between a group and itself or none.
    """

    name: str
    flip: tuple[int, ...]
    normalisers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    contours: tuple[Contour, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.flip)
        if not 1 <= n <= MAX_LANDMARKS:
            raise ConfigError(f"scheme '{self.name}' has {n} landmarks; 1 to {MAX_LANDMARKS} are possible.")
        if sorted(self.flip) != list(range(n)):
            twice = sorted(i for i, count in Counter(self.flip).items() if count > 1)[:_MOST_NAMED]
            missing = sorted(set(range(n)) - set(self.flip))[:_MOST_NAMED]
            raise ConfigError(
                f"scheme '{self.name}': flip is no permutation of 0..{n - 1}: {twice} occur twice, {missing} are "
                "missing. List for each landmark the index of its mirror landmark."
            )
        broken = [i for i, j in enumerate(self.flip) if self.flip[j] != i]
        if broken:
            i = broken[0]
            raise ConfigError(
                f"scheme '{self.name}': flip is no involution: {i} -> {self.flip[i]} -> {self.flip[self.flip[i]]}. "
                f"Mirroring twice must give landmark {i} back; correct the entries {broken[:_MOST_NAMED]}."
            )
        used = [(f"a group of normaliser '{name}'", g) for name, groups in self.normalisers.items() for g in groups]
        used += [(f"contour '{c.name}'", c.indices) for c in self.contours]
        for what, indices in used:
            if not indices or min(indices) < 0 or max(indices) >= n:
                raise ConfigError(
                    f"scheme '{self.name}': {what} is {indices[:_MOST_NAMED]}; each index must lie in 0..{n - 1} and "
                    "at least one is needed."
                )
        for name, (first, second) in self.normalisers.items():
            if sorted(first) == sorted(second):
                raise ConfigError(
                    f"scheme '{self.name}': both groups of normaliser '{name}' are {first[:_MOST_NAMED]}, which lie no "
                    "distance apart. Name two groups of landmarks."
                )

    @property
    def num_landmarks(self) -> int:
        return len(self.flip)

    def distance(self, normaliser: str, landmarks: np.ndarray) -> np.ndarray:
        """Distance (...,) between the two point groups of a normaliser on landmarks (..., N, 2), in their unit.

        Raises:
            ConfigError: the scheme has no such normaliser.
        """
        if normaliser not in self.normalisers:
            raise ConfigError(
                f"normaliser '{normaliser}' is unknown to scheme '{self.name}'; it has {sorted(self.normalisers)}. "
                "Add the pair to the scheme's normalisers."
            )
        left, right = (landmarks[..., list(group), :].mean(axis=-2) for group in self.normalisers[normaliser])
        return np.linalg.norm(left - right, axis=-1)


def _flip_from_pairs(num_landmarks: int, pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    flip = list(range(num_landmarks))
    for i, j in pairs:
        flip[i], flip[j] = j, i
    return tuple(flip)


def _mirror(first: range, second: range) -> list[tuple[int, int]]:
    return list(zip(first, second, strict=True))


_WFLW_PAIRS = [
    *_mirror(range(16), range(32, 16, -1)),  # jaw
    *_mirror(range(33, 38), range(46, 41, -1)),  # upper brow
    *_mirror(range(38, 42), range(50, 46, -1)),  # lower brow
    (55, 59), (56, 58),  # nostrils
    *_mirror(range(60, 65), range(72, 67, -1)),  # upper lid
    *_mirror(range(65, 68), range(75, 72, -1)),  # lower lid
    *_mirror(range(76, 79), range(82, 79, -1)),  # upper lip
    *_mirror(range(83, 85), range(87, 85, -1)),  # lower lip
    (88, 92), (89, 91), (95, 93), (96, 97),
]  # fmt: skip

_IBUG_PAIRS = [
    *_mirror(range(8), range(16, 8, -1)),
    *_mirror(range(17, 22), range(26, 21, -1)),
    (31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
]  # fmt: skip

_COFW_PAIRS = [
    (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23),
]  # fmt: skip

WFLW98 = LandmarkScheme(
    name="wflw98",
    flip=_flip_from_pairs(98, _WFLW_PAIRS),
    normalisers={INTER_OCULAR: ((60,), (72,)), INTER_PUPIL: ((96,), (97,))},
    contours=(
        Contour("jaw", tuple(range(33))),
        Contour("left_brow", tuple(range(33, 42)), closed=True),
        Contour("right_brow", tuple(range(42, 51)), closed=True),
        Contour("nose_bridge", tuple(range(51, 55))),
        Contour("nose_base", tuple(range(55, 60))),
        Contour("left_eye", tuple(range(60, 68)), closed=True),
        Contour("right_eye", tuple(range(68, 76)), closed=True),
        Contour("outer_lips", tuple(range(76, 88)), closed=True),
        Contour("inner_lips", tuple(range(88, 96)), closed=True),
        Contour("left_pupil", (96,)),
        Contour("right_pupil", (97,)),
    ),
)

IBUG68 = LandmarkScheme(
    name="ibug68",
    flip=_flip_from_pairs(68, _IBUG_PAIRS),
    normalisers={
        INTER_OCULAR: ((36,), (45,)),
        INTER_PUPIL: (tuple(range(36, 42)), tuple(range(42, 48))),
    },
    contours=(
        Contour("jaw", tuple(range(17))),
        Contour("left_brow", tuple(range(17, 22))),
        Contour("right_brow", tuple(range(22, 27))),
        Contour("nose_bridge", tuple(range(27, 31))),
        Contour("nose_base", tuple(range(31, 36))),
        Contour("left_eye", tuple(range(36, 42)), closed=True),
        Contour("right_eye", tuple(range(42, 48)), closed=True),
        Contour("outer_lips", tuple(range(48, 60)), closed=True),
        Contour("inner_lips", tuple(range(60, 68)), closed=True),
    ),
)

COFW29 = LandmarkScheme(
    name="cofw29",
    flip=_flip_from_pairs(29, _COFW_PAIRS),
    normalisers={INTER_OCULAR: ((8,), (9,)), INTER_PUPIL: ((16,), (17,))},
    contours=(
        Contour("left_brow", (0, 4, 2, 5), closed=True),
        Contour("right_brow", (1, 6, 3, 7), closed=True),
        Contour("left_eye", (8, 12, 10, 13), closed=True),
        Contour("right_eye", (9, 14, 11, 15), closed=True),
        Contour("left_pupil", (16,)),
        Contour("right_pupil", (17,)),
        Contour("nose", (18, 21, 19, 20), closed=True),
        Contour("outer_lips", (22, 24, 23, 27), closed=True),
        Contour("inner_lips", (22, 25, 23, 26), closed=True),
        Contour("chin", (28,)),
    ),
)

SCHEMES: dict[str, LandmarkScheme] = {s.name: s for s in (WFLW98, IBUG68, COFW29)}
