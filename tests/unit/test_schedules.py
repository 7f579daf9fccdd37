"""Learning rates at the steps that matter."""

from __future__ import annotations

import warnings

import pytest
import torch

from facegraph.schedules import Constant, Cosine, MultiStep, OneCycle, Schedule


def rates(schedule: Schedule, steps_per_epoch: int, epochs: int, lr: float = 0.01) -> list[float]:
    """Rate of each optimiser step, as Lightning steps a schedule with interval 'step'."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = schedule(optimizer, steps_per_epoch, steps_per_epoch * epochs)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(steps_per_epoch * epochs):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return found


def test_constant() -> None:
    assert rates(Constant(), 3, 4) == [0.01] * 12


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_multistep_drops_when_the_epoch_is_over(steps_per_epoch: int) -> None:
    found = rates(MultiStep(milestones=[2, 5], gamma=0.2), steps_per_epoch, 6)
    for epoch, expected in enumerate([0.01, 0.01, 0.002, 0.002, 0.002, 0.0004]):
        own = found[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
        assert own == pytest.approx([expected] * steps_per_epoch)


def test_one_cycle_rises_from_a_twenty_fifth_and_ends_near_zero() -> None:
    found = rates(OneCycle(warmup=0.2), 10, 10)
    assert found[0] == pytest.approx(0.01 / 25)
    assert max(found) == pytest.approx(0.01, rel=1e-3)
    assert found.index(max(found)) == pytest.approx(20, abs=1)
    assert found[-1] < 1e-6
    assert found[:19] == sorted(found[:19])
    assert found[20:] == sorted(found[20:], reverse=True)


@pytest.mark.parametrize("warmup", [0.0, 1.0, 2.5, 100.0])
def test_cosine_warms_up_and_ends_near_zero(warmup: float) -> None:
    found = rates(Cosine(warmup_epochs=warmup), 10, 5)
    assert all(0 <= rate <= 0.01 + 1e-12 for rate in found)
    if warmup == 0:
        assert found[0] == pytest.approx(0.01)
    else:
        assert found[0] < found[1]
    if warmup < 5:
        assert max(found) == pytest.approx(0.01, rel=1e-6)
        assert found[-1] < 1e-4
        peak = found.index(max(found))
        assert peak == round(10 * warmup)


@pytest.mark.parametrize("total", range(1, 12))
def test_one_cycle_works_for_any_number_of_steps(total: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = OneCycle(warmup=0.2)(optimizer, 1, total)
    for _ in range(total - 1):
        optimizer.step()
        schedule.step()
    assert 0 <= optimizer.param_groups[0]["lr"] <= 0.1
