"""Two processes with half the batch each compute what one computes with the whole: draws, gradients, statistics."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.half_batches import LAYERS, SPLIT, work
from tests.helpers.two_processes import on_two_processes

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return work(None)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_two_processes(work, tmp_path_factory.mktemp("two"))


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Of all entries, relative to the largest entry of theirs."""
    assert ours.keys() == theirs.keys()
    largest = max(float(value.abs().max()) for value in theirs.values())
    return max(float((ours[name] - value).abs().max()) for name, value in theirs.items()) / largest


def test_balanced_faces_are_shared_out_without_overlap(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    assert one["repeats"].max() > 1
    numbers = [rank["numbers"].tolist() for rank in two]
    assert len(numbers[0]) == len(numbers[1])
    assert not set(numbers[0]) & set(numbers[1])
    assert set(numbers[0]) | set(numbers[1]) <= set(one["numbers"].tolist())
    assert len(one["index"]) == len(two[0]["index"]) == len(two[1]["index"]) > 2
    for whole, half, other in zip(one["index"], two[0]["index"], two[1]["index"], strict=True):
        assert Counter(whole.tolist()) == Counter([*half.tolist(), *other.tolist()])
    # each draw brings its own augmentation along, whichever rank makes it: places of one batch alternate
    for step in range(2):
        halves = torch.stack([two[0]["images"][step], two[1]["images"][step]], dim=1).flatten(0, 1)
        torch.testing.assert_close(halves, one["images"][step], rtol=0, atol=0)


def test_gradients_are_those_of_the_doubled_batch(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    expected = one["synchronised"]
    assert any(gradient.abs().max() > 1e-3 for gradient in expected["gradients"].values())
    for rank in two:
        ours = rank["synchronised"]
        assert largest_difference(ours["gradients"], expected["gradients"]) < 1e-9
        assert largest_difference(ours["statistics"], expected["statistics"]) < 1e-9
    losses = [rank["synchronised"]["loss"] for rank in two]
    assert float(sum(losses) / 2) == pytest.approx(float(expected["loss"]), rel=1e-9)


def test_one_process_is_not_changed_by_the_switch(one: dict[str, Any]) -> None:
    for part in ("gradients", "statistics", "evaluated"):
        assert largest_difference(one["synchronised"][part], one["apart"][part]) == 0


def test_batch_norm_apart_has_statistics_per_rank(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    first, second = (rank["apart"] for rank in two)
    assert largest_difference(first["gradients"], second["gradients"]) == 0  # averaged
    assert largest_difference(first["gradients"], one["apart"]["gradients"]) > 1e-3
    assert largest_difference(first["statistics"], second["statistics"]) > 1e-3
    # rank 0, which saves checkpoints, keeps its own; the other takes them over before its next forward pass
    assert largest_difference(first["evaluated"], first["statistics"]) == 0
    assert largest_difference(second["evaluated"], first["statistics"]) == 0


@pytest.mark.parametrize("name", LAYERS)
def test_ranks_of_unequal_size_count_by_their_samples(
    name: str, two: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    whole, parts = one["layers"][name], [rank["layers"][name] for rank in two]
    assert len(parts[0]["output"]) == SPLIT
    for key in ("output", "input gradient"):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), whole[key], rtol=1e-9, atol=1e-9)
    for part in parts:
        assert part.keys() == whole.keys()
        for key in whole.keys() - {"output", "input gradient"}:
            torch.testing.assert_close(part[key], whole[key], rtol=1e-9, atol=1e-9)
