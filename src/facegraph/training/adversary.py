"""Training on images that were changed a little so that the model errs most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from facegraph.errors import ConfigError
from facegraph.structures import FaceBatch


class ProjectedGradient:
    """A term of the training loss: the criterion on images attacked by projected gradient ascent within a small cube.

    The attack starts at a random point of the cube of half side epsilon around the image and takes `steps` steps of
    size `step` along the sign of the gradient of the criterion, back into the cube after each. While it looks for the
    image, batch norm uses its running statistics and dropout is off, so that the search changes no state of the model;
    the term itself is computed in training mode, like that of the plain images. The criterion is in evaluation mode
    throughout: what it counts, such as the running errors of loss=dpr, it counts of plain images alone.

    Under trainer.precision=16-mixed the gradient that is looked at is not scaled and, where it underflows to 0, a value
    stays at its random start; bf16-mixed does not underflow.

    Source: Madry et al. 2018 (Towards Deep Learning Models Resistant to Adversarial Attacks); numbers and the random
    start from ibug's FAN, experiments 4.2 and 5.1. Differs from theirs: they divide the sum of both losses by 1 +
    weight, and attack the loss of the last stack alone.

    Args:
        epsilon: most change of a value, in units of the images, here [low, high] = [0, 1] (normalise=unit).
        step: change per step.
        steps: how many.
        weight: of the term.
        low, high: range of the images' values.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        epsilon: float = 0.004,
        step: float = 0.002,
        steps: int = 4,
        weight: float = 0.1,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        if not (epsilon > 0 and step > 0 and steps >= 1 and weight > 0 and low < high):
            raise ConfigError(
                f"adversary has epsilon={epsilon}, step={step}, steps={steps}, weight={weight}, low={low}, "
                f"high={high}; epsilon, step and weight must be positive, steps at least 1 and low below high. "
                "adversary=null trains without."
            )
        self.epsilon, self.step, self.steps, self.weight = epsilon, step, steps, weight
        self.low, self.high = low, high

    def loss(self, model: nn.Module, criterion: nn.Module, batch: FaceBatch) -> Tensor:
        """weight * criterion on the attacked images, a scalar; call it in training, next to the plain loss.

        Raises:
            ConfigError: values of the images outside [low, high].
        """
        attacked = batch._replace(image=self.attack(model, criterion, batch))
        with _evaluating(criterion.modules()):
            return self.weight * criterion(model(attacked.image), attacked)["loss"]

    def attack(self, model: nn.Module, criterion: nn.Module, batch: FaceBatch) -> Tensor:
        """(B, 3, S, S) within epsilon of batch.image and within [low, high]; no gradient is left anywhere.

        Raises:
            ConfigError: values of the images outside [low, high].
        """
        image = batch.image.detach()
        self._check_range(image)
        change = torch.empty_like(image).uniform_(-self.epsilon, self.epsilon)
        normalised = (m for m in model.modules() if isinstance(m, _BatchNorm | _DropoutNd))
        with torch.enable_grad(), _evaluating(normalised), _evaluating(criterion.modules()):
            for _ in range(self.steps):
                change.requires_grad_()
                moved = batch._replace(image=(image + change).clamp(self.low, self.high))
                loss = criterion(model(moved.image), moved)["loss"]
                (uphill,) = torch.autograd.grad(loss, change)
                change = (change.detach() + self.step * uphill.sign()).clamp(-self.epsilon, self.epsilon)
        return (image + change).clamp(self.low, self.high)

    def _check_range(self, image: Tensor) -> None:
        lowest, highest = (float(value) for value in image.aminmax())
        if lowest < self.low or highest > self.high:
            raise ConfigError(
                f"adversary changes images with values in [{self.low:g}, {self.high:g}] but those of this batch lie in "
                f"[{lowest:g}, {highest:g}]. Set normalise=unit, or adversary.low, high, epsilon and step in the units "
                "of another normalisation."
            )


@contextmanager
def _evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """These modules as in evaluation, but not those within them; modes are put back."""
    changed = [module for module in modules if module.training]
    for module in changed:
        module.training = False
    try:
        yield
    finally:
        for module in changed:
            module.training = True
