"""How much of a crop lies where there is no picture: beyond a photograph's border, or beyond what a store has kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from facegraph.data.boxes import BoxPolicy
from facegraph.errors import ConfigError

MOST_PADDING = 0.02
"""Of the crop of a set's middle face, with its box as annotated. Faces at a border have more, a whole set has none."""
_SLACK = 0.1  # of a hundredth, so that a rounded 1.9999 is 2


def padding_shares(policy: BoxPolicy, boxes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(M,) share of the square that a policy cuts around each box (M, 4) that lies outside of seen (M, 4), image px."""
    centre, half = _squares(policy, boxes)
    low, high = np.maximum(centre - half, seen[:, :2]), np.minimum(centre + half, seen[:, 2:])
    return 1 - (np.maximum(high - low, 0) / (2 * half)).prod(axis=1)


def check_room(
    policy: BoxPolicy, boxes: np.ndarray, seen: np.ndarray, name: str, advice: Callable[[float], str]
) -> None:
    """Raises ConfigError if the squares around most boxes leave what there is to see; arguments as padding_shares.

    name: of the data set. advice: what else helps where a picture has to show so many times as much.
    """
    share = float(np.median(padding_shares(policy, boxes, seen)))
    if share <= MOST_PADDING:
        return
    centre, half = _squares(policy, boxes)
    reach = np.minimum(centre - seen[:, :2], seen[:, 2:] - centre) / half
    room = float(np.median(reach.min(axis=1)))
    largest = math.floor(100 * policy.margin * room + _SLACK) / 100
    raise ConfigError(
        f"box.margin={policy.margin:g} cuts more than the pictures of '{name}' show: of the middle face's crop "
        f"{share:.0%} would be grey padding. Set box.margin={largest:g} or less{advice(1 / room)}."
    )


def _squares(policy: BoxPolicy, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half sides (M, 2) of the squares around boxes (M, 4), image px."""
    matrices = np.stack([policy.square(box, 1) for box in boxes])  # a crop of one px: [-0.5, 0.5] each way
    scale = matrices[:, [0, 1], [0, 1]]
    return -matrices[:, :2, 2] / scale, 0.5 / scale
