"""How landmarks are weighted: by hand, along a training, and over processes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facegraph.models.dpr.weighting import Equal, HardLandmarks, InverseError, LandmarkWeighting, Uncertainty
from tests.helpers.two_processes import on_two_processes

WEIGHTINGS = (Equal, Uncertainty, InverseError, HardLandmarks)


def of_all(weighting: LandmarkWeighting, errors: Tensor) -> Tensor:
    """The loss where every landmark is labelled."""
    return weighting(errors, torch.ones_like(errors, dtype=torch.bool))


def test_weights_by_hand() -> None:
    errors = torch.tensor([[1.0, 2.0, 6.0], [3.0, 2.0, 2.0]])  # means 2, 2, 4
    assert float(of_all(Equal(3), errors)) == pytest.approx(16 / 6)
    inverse, hard = InverseError(3), HardLandmarks(3)
    # 1/2, 1/2, 1/4 over their mean 5/12: 1.2, 1.2, 0.6
    assert float(of_all(inverse, errors)) == pytest.approx((1.2 * 4 + 1.2 * 4 + 0.6 * 8) / 6)
    # 2, 2, 4 over their mean 8/3: 0.75, 0.75, 1.5
    assert float(of_all(hard, errors)) == pytest.approx((0.75 * 4 + 0.75 * 4 + 1.5 * 8) / 6)
    learned = Uncertainty(3)
    with torch.no_grad():
        learned.log_error.copy_(torch.tensor([0.0, math.log(2), math.log(4)]))
    assert float(of_all(learned, errors)) == pytest.approx((2 + 1 + 1 + math.log(2) + math.log(4)) / 3)


def test_uncertainty_settles_at_the_logarithm_of_the_mean_error() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.tensor([0.3, 1.0, 8.0]) * torch.rand(64, 3, generator=generator) * 2
    learned = Uncertainty(3)
    optimizer = torch.optim.LBFGS(learned.parameters(), line_search_fn="strong_wolfe", max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = of_all(learned, errors)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(learned.log_error.detach(), errors.mean(dim=0).log(), atol=1e-3, rtol=0)
    reference = InverseError(3)
    of_all(reference, errors)
    torch.testing.assert_close(learned.weights, reference.weights, atol=2e-3, rtol=0)


@pytest.mark.parametrize("weighting", [InverseError, HardLandmarks])
def test_weights_follow_a_moving_average(weighting: type[InverseError | HardLandmarks]) -> None:
    batches = torch.rand(5, 8, 4, generator=torch.Generator().manual_seed(1)) + 0.1
    module = weighting(4, decay=0.7)
    for errors in batches:
        errors.requires_grad_(True)
        loss = of_all(module, errors)
        loss.backward()
        # no gradient through the average: each error's is its weight over the number of errors
        assert errors.grad is not None
        torch.testing.assert_close(errors.grad, (module.weights / errors.numel()).expand_as(errors))
    shares = [0.7 ** (4 - i) for i in range(5)]
    mean = sum(s * b.mean(dim=0) for s, b in zip(shares, batches.detach(), strict=True)) / sum(shares)
    expected = 1 / mean if weighting is InverseError else mean
    torch.testing.assert_close(module.weights, expected / expected.mean())
    before = module.state_dict()
    again = weighting(4, decay=0.7)
    again.load_state_dict(before)
    torch.testing.assert_close(again.weights, module.weights, atol=0, rtol=0)
    module.eval()
    kept = module.weights.clone()
    of_all(module, batches[0] * 7)
    assert torch.equal(module.weights, kept)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_landmark_without_error_breaks_nothing(weighting: type[LandmarkWeighting]) -> None:
    module = weighting(3)
    for errors in (torch.zeros(2, 3), torch.tensor([[0.0, 1.0, 2.0]])):
        assert torch.isfinite(of_all(module, errors.requires_grad_(True)))
        if module.weights is not None:
            assert torch.isfinite(module.weights).all()
    assert module.weights is None or float(module.weights.mean()) == pytest.approx(1)


def running_weights(rank: int) -> dict[str, Tensor]:
    """Rank 0 has six of eight faces."""
    errors = torch.rand(8, 5, generator=torch.Generator().manual_seed(3))
    module = InverseError(5)
    loss = of_all(module, errors[:6] if rank == 0 else errors[6:])
    return {"weights": module.weights, "loss": loss}


@pytest.mark.runs
@pytest.mark.any_processor
def test_processes_share_one_average(tmp_path: Path) -> None:
    errors = torch.rand(8, 5, generator=torch.Generator().manual_seed(3))
    alone = InverseError(5)
    whole = of_all(alone, errors)
    first, second = on_two_processes(running_weights, tmp_path)
    torch.testing.assert_close(first["weights"], alone.weights)
    assert torch.equal(first["weights"], second["weights"])
    assert float(0.75 * first["loss"] + 0.25 * second["loss"]) == pytest.approx(float(whole))


@pytest.mark.parametrize("weighting", [InverseError, HardLandmarks])
def test_missing_landmarks_neither_count_nor_move_the_average(weighting: type[InverseError | HardLandmarks]) -> None:
    errors = torch.tensor([[1.0, 99.0, 6.0, 99.0], [3.0, 2.0, 2.0, 99.0]], requires_grad=True)
    labelled = torch.tensor([[True, False, True, False], [True, True, True, False]])
    module = weighting(4, decay=0.5)
    module(errors, labelled).backward()
    assert errors.grad is not None
    assert torch.equal(errors.grad != 0, labelled)
    means = torch.tensor([2.0, 2.0, 4.0, 8 / 3])  # the last one has no history and counts as an average landmark
    expected = 1 / means if weighting is InverseError else means
    torch.testing.assert_close(module.weights, expected / expected.mean())
    of_all(module, torch.full((1, 4), 2.0))
    # half of the old average stays, but for the landmark that begins now
    means = torch.tensor([(2 + 2 * 2.0) / 3, (2 + 2 * 2.0) / 3, (4 + 2 * 2.0) / 3, 2.0])
    expected = 1 / means if weighting is InverseError else means
    torch.testing.assert_close(module.weights, expected / expected.mean())
