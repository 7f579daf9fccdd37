"""Order of draws: complete, without overlap between ranks, and a function of seed and epoch alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegraph.data.sampler import Draw, EpochSampler, ShardSampler
from facegraph.data.splits import split_by_photo
from facegraph.errors import ConfigError

REPEATS = st.lists(st.integers(0, 4), min_size=4, max_size=40).filter(lambda r: sum(r) >= 4)


def draws(repeats, epoch: int = 0, **settings) -> list[Draw]:
    sampler = EpochSampler(np.array(repeats), seed=3, **settings)
    sampler.set_epoch(epoch)
    assert len(list(sampler)) == len(sampler)
    return list(sampler)


@given(repeats=REPEATS, epoch=st.integers(0, 5))
def test_one_rank_draws_every_row_as_often_as_asked(repeats: list[int], epoch: int) -> None:
    epoch_draws = draws(repeats, epoch)
    assert Counter(d.index for d in epoch_draws) == Counter(dict(enumerate(repeats))) + Counter()
    assert [d.number for d in epoch_draws] == list(range(epoch * sum(repeats), (epoch + 1) * sum(repeats)))


@given(repeats=REPEATS, world=st.integers(2, 4), epoch=st.integers(0, 3))
def test_ranks_share_an_epoch_without_overlap(repeats: list[int], world: int, epoch: int) -> None:
    ranks = [draws(repeats, epoch, rank=r, world=world) for r in range(world)]
    assert len({len(r) for r in ranks}) == 1
    together = [d for rank in ranks for d in rank]
    assert len(set(together)) == len(together) == sum(repeats) // world * world
    assert set(together) <= set(draws(repeats, epoch))


@given(repeats=REPEATS, world=st.integers(2, 4))
def test_without_drop_last_nothing_is_left_out(repeats: list[int], world: int) -> None:
    ranks = [draws(repeats, rank=r, world=world, drop_last=False) for r in range(world)]
    assert len({len(r) for r in ranks}) == 1
    assert {d for rank in ranks for d in rank} == set(draws(repeats))


def test_batches_of_two_ranks_are_the_batch_of_one() -> None:
    repeats = np.arange(10) % 3 + 1
    one = draws(repeats, epoch=2)[:8]
    two = [draws(repeats, epoch=2, rank=r, world=2)[:4] for r in range(2)]
    assert set(one) == {*two[0], *two[1]}


def test_a_fresh_sampler_repeats_epoch_three() -> None:
    repeats = np.array([1, 2, 3, 1, 5])
    running = EpochSampler(repeats, seed=3)
    orders = []
    for epoch in range(5):
        running.set_epoch(epoch)
        orders.append(list(running))
    assert draws(repeats, epoch=3) == orders[3]
    assert [d.index for d in orders[3]] != [d.index for d in orders[2]]
    assert len({d.number for order in orders for d in order}) == 60
    running.set_epoch(3)
    running.start = 7
    assert list(running) == orders[3][7:]


def test_seed_and_shuffle_matter() -> None:
    repeats = np.ones(50, dtype=int)
    assert list(EpochSampler(repeats, seed=1)) != list(EpochSampler(repeats, seed=2))
    assert [d.index for d in EpochSampler(repeats, seed=1, shuffle=False)] == list(range(50))


def test_more_ranks_than_faces_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 training faces cannot be shared out over 4 processes"):
        EpochSampler(np.ones(3, dtype=int), seed=0, rank=0, world=4)


@given(length=st.integers(1, 30), world=st.integers(1, 5))
def test_shards_cover_all_rows_with_equal_counts(length: int, world: int) -> None:
    shards = [list(ShardSampler(length, rank=r, world=world)) for r in range(world)]
    assert len({len(s) for s in shards}) == 1
    seen = Counter(d.index for shard in shards for d in shard)
    assert set(seen) == set(range(length))
    assert seen.total() - length < max(world, 2)


@given(
    photos=st.lists(st.sampled_from("abcdefghijkl"), min_size=4, max_size=80).filter(lambda p: len(set(p)) > 3),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 100),
)
def test_photographs_stay_whole(photos: list[str], fraction: float, seed: int) -> None:
    train, val = split_by_photo(photos, fraction, seed)
    assert sorted([*train, *val]) == list(range(len(photos)))
    assert not {photos[i] for i in train} & {photos[i] for i in val}
    assert len(train) > 0
    assert len(val) > 0
    # no cut of the shuffled photographs is further off than half the largest one, or one photograph on either side
    largest = max(Counter(photos).values())
    assert abs(len(val) - fraction * len(photos)) <= largest


def test_the_cut_does_not_depend_on_the_order_of_rows() -> None:
    photos = [f"p{i // 3}" for i in range(60)]
    _, val = split_by_photo(photos, 0.2, seed=4)
    back = photos[::-1]
    _, again = split_by_photo(back, 0.2, seed=4)
    assert {photos[i] for i in val} == {back[i] for i in again}
    assert len(val) == 12
    assert {photos[i] for i in split_by_photo(photos, 0.2, seed=5)[1]} != {photos[i] for i in val}


def test_split_settings() -> None:
    train, val = split_by_photo(["a", "a"], 0.0, seed=0)
    assert (len(train), len(val)) == (2, 0)
    with pytest.raises(ConfigError, match="shows 1 photograph"):
        split_by_photo(["a", "a"], 0.5, seed=0)
    for fraction in (-0.1, 1.0, 20):
        with pytest.raises(ConfigError, match=r"val_fraction is .*\[0, 1\)"):
            split_by_photo(["a", "b"], fraction, seed=0)
