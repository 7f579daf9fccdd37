"""Pose-balanced draws of an epoch shared out over ranks, from its start and from where a resume continues."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegraph.data.balancing import PoseBalancing
from facegraph.data.sampler import Draw, EpochSampler


def balanced(faces: int, seed: int) -> np.ndarray:
    """Repeats of faces of which few look far to the side."""
    generator = np.random.default_rng(seed)
    front = generator.normal(size=(10, 2))
    turned = np.abs(generator.normal(size=(faces, 1, 1))) ** 2
    shapes = front + turned * generator.normal(size=(1, 10, 2)) + 0.01 * generator.normal(size=(faces, 10, 2))
    return PoseBalancing(bins=5, max_repeat=6).repeats(shapes)


def draws(repeats: np.ndarray, epoch: int, start: int = 0, rank: int = 0, world: int = 1, **last: bool) -> list[Draw]:
    sampler = EpochSampler(repeats, seed=7, rank=rank, world=world, **last)
    sampler.set_epoch(epoch)
    sampler.start = start
    return list(sampler)


def test_rare_poses_are_repeated() -> None:
    assert balanced(40, 0).max() > 2


@pytest.mark.parametrize("drop_last", [True, False])
@given(
    faces=st.integers(8, 40),
    seed=st.integers(0, 20),
    world=st.integers(2, 4),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_ranks_together_draw_what_one_process_draws(
    drop_last: bool, faces: int, seed: int, world: int, epoch: int, data: st.DataObject
) -> None:
    repeats = balanced(faces, seed)
    total = int(repeats.sum())
    one = draws(repeats, epoch)
    start = data.draw(st.integers(0, total // world - 1), label="draws of each rank before the resume")
    ranks = [draws(repeats, epoch, start, rank, world, drop_last=drop_last) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    together = [draw for rank in ranks for draw in rank]
    # draws and not faces: a balanced face comes several times per epoch, each time with another number
    assert set(together) <= set(one)
    if drop_last:
        kept = total // world * world
        assert len(together) == len(set(together))
        assert sorted(together, key=lambda d: d.number) == one[start * world : kept]
    else:
        # up to world - 1 of the epoch's first draws come again, to make the ranks equally long
        assert set(one[start * world :]) <= set(together)
        assert len(together) - len(one[start * world :]) < world
