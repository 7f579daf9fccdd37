"""Learning rates at the steps that matter."""

from __future__ import annotations

import types
import warnings

import pytest
import torch

from facegraph.errors import ConfigError
from facegraph.training.schedules import (
    Constant,
    Cosine,
    EveryEpochs,
    LearningRateRule,
    LinearRate,
    MultiStep,
    OneCycle,
    Schedule,
    SquareRootRate,
    Staircase,
    UnchangedRate,
)
from facegraph.training.task import LandmarkTask


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


@pytest.mark.parametrize("steps_per_epoch", [3, 20])
def test_a_staircase_counts_steps_not_epochs(steps_per_epoch: int) -> None:
    found = rates(Staircase(every_steps=8, gamma=0.1), steps_per_epoch, 60 // steps_per_epoch)
    assert found[:24] == pytest.approx([0.01] * 8 + [0.001] * 8 + [0.0001] * 8)
    with pytest.raises(ConfigError, match=r"every_steps=0 .*1 or more"):
        Staircase(every_steps=0, gamma=0.1)


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


@pytest.mark.parametrize(
    ("rule", "factors"),
    [
        (UnchangedRate(), {16: 1.0, 64: 1.0, 256: 1.0}),
        (LinearRate(64), {16: 0.25, 64: 1.0, 96: 1.5, 256: 4.0}),
        (SquareRootRate(64), {16: 0.5, 64: 1.0, 144: 1.5, 256: 2.0}),
    ],
)
def test_rules(rule: LearningRateRule, factors: dict[int, float]) -> None:
    assert {batch: rule(batch) for batch in factors} == factors


@pytest.mark.parametrize("rule", [LinearRate, SquareRootRate])
def test_a_rule_needs_a_batch_to_compare_with(rule: type) -> None:
    with pytest.raises(ConfigError, match=r"lr_rule.reference=0 is out of range.*for example 64"):
        rule(0)


def configured(rule: LearningRateRule | None, schedule: Schedule) -> list[list[float]]:
    """Rates by step and group in 2 epochs of 10 steps, with batches of 8 on 2 processes, 3 accumulated."""

    def optimizer(parameters: object) -> torch.optim.Optimizer:
        weight, bias = parameters  # type: ignore[misc]
        return torch.optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 0.001}], lr=0.01)

    task = LandmarkTask(torch.nn.Linear(1, 1), torch.nn.Identity(), optimizer, schedule, rule, 1, 1, 0, {})
    task._trainer = types.SimpleNamespace(  # type: ignore[assignment]
        datamodule=types.SimpleNamespace(batch_size=8),
        world_size=2,
        accumulate_grad_batches=3,
        estimated_stepping_batches=20,
        max_epochs=2,
        _results=None,
    )
    made = task.configure_optimizers()
    found = []
    for _ in range(20):
        found.append([group["lr"] for group in made["optimizer"].param_groups])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return found


@pytest.mark.parametrize("schedule", [Constant(), MultiStep([1], 0.2), OneCycle(0.2), Cosine(1.0)])
@pytest.mark.parametrize(
    ("rule", "factor"), [(LinearRate(64), 0.75), (SquareRootRate(12), 2.0), (UnchangedRate(), 1), (None, 1)]
)
def test_a_rule_scales_the_whole_schedule_and_every_group(
    rule: LearningRateRule | None, factor: float, schedule: Schedule
) -> None:
    scaled = configured(rule, schedule)
    for group, lr in enumerate((0.01, 0.001)):
        expected = rates(schedule, 10, 2, lr=lr * factor)
        assert [at_step[group] for at_step in scaled] == pytest.approx(expected)


def test_warm_up_of_a_scaled_rate() -> None:
    """Cosine with one warm-up epoch of ten steps: from a tenth of the way up to the scaled peak after the epoch."""
    found = [at_step[0] for at_step in configured(LinearRate(12), Cosine(1.0))]
    assert found[0] == pytest.approx(0.04 / 11)
    assert found[10] == pytest.approx(0.04)
    assert max(found) == pytest.approx(0.04)


def test_every_so_many_epochs() -> None:
    found = rates(EveryEpochs(2, 0.7), steps_per_epoch=5, epochs=6, lr=1.0)
    assert found == pytest.approx([1.0] * 10 + [0.7] * 10 + [0.49] * 10)
    assert rates(EveryEpochs(0.4, 0.5), steps_per_epoch=5, epochs=1, lr=1.0) == pytest.approx([1, 1, 0.5, 0.5, 0.25])
    with pytest.raises(ConfigError, match=r"scheduler\.epochs=0"):
        EveryEpochs(0, 0.7)
