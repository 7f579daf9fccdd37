"""Which face is drawn when: a pure function of seed and epoch, shared out over ranks without overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch.distributed as dist
from torch.utils.data import Sampler

from facegraph.errors import ConfigError


class Draw(NamedTuple):
    """One face to load.

    Args:
        index: its row in the source.
        number: unique over the whole training; it seeds augmentation.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a draw
    number: int


def rank_and_world() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) outside distributed training."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class EpochSampler(Sampler[Draw]):
    """Draws of one epoch for this rank.

    The epoch's order is a permutation of all rows with their repeats, from (seed, epoch) alone. Rank r takes places r,
    r + W, ..., so the batches of W ranks together hold the same faces as one batch of W times the size in one
    process. All ranks draw equally often: with drop_last the places that do not divide are left out (they change every
    epoch), otherwise the first places are drawn again.

    Lightning calls set_epoch on the sampler of a loader before each epoch, from the checkpoint after a resume. start is
    the number of draws of this rank to leave out at the head of the epoch; a resume in mid-epoch sets it.

    Args:
        repeats: (M,) how often each row is drawn per epoch, 0 for never.
        seed: of the order.
        shuffle: False draws in the order of the rows.
        drop_last: see above.
        rank, world: of this process; None asks torch.distributed when iteration starts.

    Raises:
        ConfigError: nothing to draw for each rank.
    """

    def __init__(
        self,
        repeats: np.ndarray,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self.rows = np.repeat(np.arange(len(repeats)), repeats)
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0
        self.start = 0
        self._place = None if rank is None or world is None else (rank, world)
        if len(self) == 0:
            raise ConfigError(
                f"{len(self.rows)} training faces cannot be shared out over {self._rank_and_world()[1]} processes. "
                "Use fewer devices or more faces."
            )

    def _rank_and_world(self) -> tuple[int, int]:
        return self._place or rank_and_world()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        world = self._rank_and_world()[1]
        return len(self.rows) // world if self.drop_last else -(-len(self.rows) // world)

    def __iter__(self) -> Iterator[Draw]:
        rank, world = self._rank_and_world()
        total = len(self.rows)
        order = self.rows
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for step in range(self.start, len(self)):
            position = (rank + step * world) % total
            yield Draw(int(order[position]), self.epoch * total + position)


class ShardSampler(Sampler[Draw]):
    """Every row once, in order: rank r takes r, r + W, ...

    All ranks draw equally often, because a rank that ends early would leave the others waiting: up to W - 1 rows are
    drawn twice. Scores must drop duplicates by index.

    Args:
        length: number of rows.
        rank, world: of this process; None asks torch.distributed when iteration starts.
    """

    def __init__(self, length: int, rank: int | None = None, world: int | None = None) -> None:
        self.length = length
        self._place = None if rank is None or world is None else (rank, world)

    def __len__(self) -> int:
        return -(-self.length // (self._place or rank_and_world())[1])

    def __iter__(self) -> Iterator[Draw]:
        rank, world = self._place or rank_and_world()
        for step in range(len(self)):
            yield Draw((rank + step * world) % self.length, 0)
