"""The moving average of the weights, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facegraph.training.callbacks import WeightAverage


class Counted(nn.Module):
    """One weight and one whole-number buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("count", torch.tensor([round(value)]))


def averaged(callback: WeightAverage, values: list[float]) -> tuple[float, int]:
    """Average and buffer after steps that put the weight to each of the values in turn."""
    model = Counted(values[0])
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True, **callback._kwargs)
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
            model.count.fill_(round(value))  # type: ignore[operator]
        average.update_parameters(model)
    return float(average.module.weight), int(average.module.count)  # type: ignore[arg-type]


def by_hand(values: list[float], decay: float, warmup: bool) -> float:
    average = values[0]
    for step, value in enumerate(values[1:], 1):
        share = min(decay, (1 + step) / (10 + step)) if warmup else decay
        average = share * average + (1 - share) * value
    return average


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_average_by_hand(warmup: bool, decay: float) -> None:
    values = [1.0, 5.0, -3.0, 2.0, 8.0, 13.0]
    found, count = averaged(WeightAverage(decay=decay, warmup=warmup), values)
    assert found == pytest.approx(by_hand(values, decay, warmup), rel=1e-5)
    assert count == 13, "whole numbers are taken over, not averaged"


@pytest.mark.parametrize("warmup", [False, True])
def test_what_does_not_change_stays_to_the_last_digit(warmup: bool) -> None:
    callback, model = WeightAverage(decay=0.998, warmup=warmup), Counted(0.0)
    kept = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    model.register_buffer("kept", kept.clone())
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True, **callback._kwargs)
    for _ in range(300):
        average.update_parameters(model)
    assert torch.equal(average.module.kept, kept)  # type: ignore[arg-type]


def test_with_warmup_the_first_weights_are_soon_forgotten() -> None:
    values = [100.0] + [0.0] * 200
    assert averaged(WeightAverage(decay=0.9999), values)[0] > 95
    assert averaged(WeightAverage(decay=0.9999, warmup=True), values)[0] < 1e-6
