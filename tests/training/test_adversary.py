"""The attack on known functions, and that looking for it leaves no traces."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.models.dpr.weighting import InverseError
from facegraph.structures import FaceBatch, LandmarkOutput
from facegraph.training.adversary import ProjectedGradient


class Linear(nn.Module):
    """landmarks = weight * image at two places; the loss below rises with the image where the weight is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, -3.0]))

    def forward(self, image: Tensor) -> LandmarkOutput:
        return LandmarkOutput(landmarks=(image[:, 0, 0, :2] * self.weight)[:, None])


class Normed(nn.Module):
    """With batch norm and dropout, whose state and randomness an attack must not touch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 16, 4)
        )

    def forward(self, image: Tensor) -> LandmarkOutput:
        return LandmarkOutput(landmarks=self.layers(image).unflatten(1, (2, 2)))


class Total(nn.Module):
    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        return {"loss": output.landmarks.sum()}


class Distance(nn.Module):
    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        return {"loss": (output.landmarks - batch.landmarks).square().mean()}


def batch_of(image: Tensor, landmarks: int = 2) -> FaceBatch:
    b = len(image)
    return FaceBatch(
        image, torch.zeros(b, landmarks, 2), torch.ones(b, landmarks, dtype=torch.bool),
        torch.eye(2, 3).expand(b, 2, 3), torch.ones(b, 1), torch.zeros(b, 0, dtype=torch.bool), torch.arange(b),
    )  # fmt: skip


def test_a_linear_loss_is_raised_as_far_as_allowed() -> None:
    """Enough steps reach the corner of the cube: +epsilon under positive weights, -epsilon under negative ones."""
    image = torch.full((3, 3, 6, 6), 0.5)
    adversary = ProjectedGradient(epsilon=0.004, step=0.002, steps=4)
    attacked = adversary.attack(Linear(), Total(), batch_of(image))
    change = (attacked - image)[:, 0, 0, :2]
    torch.testing.assert_close(change, torch.tensor([0.004, -0.004]).expand(3, 2), atol=1e-6, rtol=0)
    loss = adversary.loss(Linear(), Total(), batch_of(image))
    expected = 0.1 * 3 * (2 * 0.504 - 3 * 0.496)
    torch.testing.assert_close(loss, torch.tensor(expected), atol=1e-5, rtol=0)


def test_the_attack_stays_in_the_cube_and_in_the_range() -> None:
    torch.manual_seed(0)
    image = torch.rand(4, 3, 6, 6).round(decimals=2)
    image[0], image[1] = 0, 1
    attacked = ProjectedGradient(epsilon=0.01, step=0.02, steps=3).attack(Normed(), Distance(), batch_of(image))
    assert (attacked - image).abs().max() <= 0.01 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not torch.equal(attacked, image)


def test_more_steps_make_it_worse() -> None:
    torch.manual_seed(0)
    model, image = Normed().eval(), torch.rand(8, 3, 6, 6)
    batch, losses = batch_of(image), []
    for steps in (1, 8):
        torch.manual_seed(1)
        attacked = ProjectedGradient(epsilon=0.05, step=0.01, steps=steps).attack(model, Distance(), batch)
        losses.append(float(Distance()(model(attacked), batch)["loss"].detach()))
    clean = float(Distance()(model(image), batch)["loss"].detach())
    assert clean < losses[0] < losses[1]


def test_looking_for_the_attack_leaves_no_traces() -> None:
    torch.manual_seed(0)
    model = Normed()
    model.layers[3].eval()  # a mode of its own comes back too
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    batch = batch_of(torch.rand(4, 3, 6, 6))
    attacked = ProjectedGradient().attack(model, Distance(), batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == modes
    assert batch.image.grad is None
    assert not attacked.requires_grad
    # the term itself is a training pass, one and no more: its gradient reaches the model and batch norm counts it
    ProjectedGradient().loss(model, Distance(), batch).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.layers[1].num_batches_tracked == 1


class Weighted(nn.Module):
    """With a state that follows the errors it is called with in training, as that of loss=dpr."""

    def __init__(self) -> None:
        super().__init__()
        self.weighting = InverseError(num_landmarks=2)

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        return {"loss": self.weighting((output.landmarks - batch.landmarks).norm(dim=-1), batch.labelled)}


def test_the_criterion_counts_plain_images_alone() -> None:
    torch.manual_seed(0)
    model, criterion, batch = Normed(), Weighted(), batch_of(torch.rand(4, 3, 6, 6))
    criterion(model(batch.image), batch)
    before = copy.deepcopy(criterion.state_dict())
    assert (before["weighting.weight_sum"] > 0).all()
    ProjectedGradient().loss(model, criterion, batch).backward()
    assert all(torch.equal(value, before[name]) for name, value in criterion.state_dict().items())
    assert all(module.training for module in criterion.modules())
    assert all(p.grad is not None for p in model.parameters())


def test_modes_come_back_after_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
            raise ConfigError("no")

    model, criterion = Normed(), Broken()
    with pytest.raises(ConfigError, match="no"):
        ProjectedGradient().attack(model, criterion, batch_of(torch.rand(2, 3, 6, 6)))
    assert all(m.training for m in [*model.modules(), criterion])


def test_images_of_another_range_are_refused() -> None:
    image = torch.linspace(-1, 1, 216).reshape(2, 3, 6, 6)
    with pytest.raises(ConfigError, match=r"values in \[0, 1\] but .* \[-1, 1\].*normalise=unit"):
        ProjectedGradient().loss(Normed(), Distance(), batch_of(image))
    # in its own units such an image is attacked all the same
    signed = ProjectedGradient(epsilon=0.008, step=0.004, low=-1)
    assert signed.attack(Normed(), Distance(), batch_of(image)).min() >= -1


@pytest.mark.parametrize("wrong", [{"epsilon": 0}, {"step": -1}, {"steps": 0}, {"weight": 0}, {"low": 1.0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="adversary has"):
        ProjectedGradient(**wrong)  # type: ignore[arg-type]
