"""What each rank of two, or one process with the doubled batch, computes: batches, gradients, running statistics."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facegraph.runs.compose import build_data, build_task, compose, training_statistics
from facegraph.structures import FaceBatch
from facegraph.training.batch_norm import SyncBatchNorm, convert_for_cpu
from facegraph.training.task import LandmarkTask

FACES_PER_STEP = 8
SPLIT = 3
"""Rank 0 norms the first three of eight samples, rank 1 the other five."""


class Loss(nn.Module):
    """A batch -> its loss, so that DDP sees the whole of a training step."""

    def __init__(self, task: LandmarkTask) -> None:
        super().__init__()
        assert task.criterion is not None
        self.model, self.criterion = task.model, task.criterion

    def forward(self, batch: FaceBatch) -> Tensor:
        return self.criterion(self.model(batch.image), batch)["loss"]


def work(rank: int | None) -> dict[str, Any]:
    """rank None: one process with the whole batch."""
    torch.manual_seed(0)
    batch_size = FACES_PER_STEP if rank is None else FACES_PER_STEP // 2
    cfg = compose(
        [
            "trainer=cpu", "input_size=64", f"data.batch_size={batch_size}", "data.num_workers=0", "augment=light",
            "dataset.train_size=24", "dataset.test_size=2", "dataset.image_size=64", "data.val_fraction=0.1",
            "+data.balancing={_target_: facegraph.data.balancing.PoseBalancing, bins: 3, max_repeat: 3}",
        ]
    )  # fmt: skip
    data = build_data(cfg)
    data.setup("fit")
    data.setup("test")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    batches = list(loader)
    loss = Loss(build_task(cfg, data, training_statistics(data, cfg.graph.frame)))
    loss.double()
    first = data.on_after_batch_transfer(batches[0], 0)
    first = first._replace(image=first.image.double(), landmarks=first.landmarks.double())
    return {
        "index": torch.stack([batch.index for batch in batches]),
        "images": torch.stack([batch.image for batch in batches[:2]]),
        "numbers": torch.tensor([draw.number for draw in loader.sampler]),  # type: ignore[attr-defined]
        "repeats": torch.from_numpy(data.train_repeats()),
        "synchronised": training_step(loss, first, synchronise=True, ranks=rank is not None),
        "apart": training_step(loss, first, synchronise=False, ranks=rank is not None),
        "layers": {name: layer_step(name, rank) for name in LAYERS},
    }


def training_step(given: nn.Module, batch: FaceBatch, synchronise: bool, ranks: bool) -> dict[str, Any]:
    """Gradients and running statistics after one forward and backward pass, and after a pass in evaluation.

    In double precision throughout: in single precision a ReLU whose input lies within rounding of zero may open on one
    side only, which changes gradients by tenths of a per cent, as another order of the batch's faces does.
    """
    loss = copy.deepcopy(given)
    if synchronise:
        loss = SyncBatchNorm().apply(loss)
    module = DistributedDataParallel(loss) if ranks else loss
    with patch.object(Tensor, "float", Tensor.double):
        value = module(batch)
        value.backward()
    own = {name: buffer.clone() for name, buffer in loss.named_buffers() if "running" in name}
    module.eval()
    with torch.no_grad(), patch.object(Tensor, "float", Tensor.double):
        module(batch)
    return {
        "loss": value.detach(),
        "gradients": {name: parameter.grad for name, parameter in loss.named_parameters()},
        "statistics": own,
        "evaluated": {name: buffer.clone() for name, buffer in loss.named_buffers() if "running" in name},
    }


LAYERS = {
    "1d": (lambda: nn.BatchNorm1d(4), (8, 4)),
    "2d": (lambda: nn.BatchNorm2d(4, momentum=0.3), (8, 4, 3, 5)),
    "cumulative": (lambda: nn.BatchNorm2d(4, momentum=None), (8, 4, 3, 5)),
    "plain": (lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False), (8, 4, 3, 5)),
    "timm": (lambda: BatchNormAct2d(4, act_layer=nn.SiLU), (8, 4, 3, 5)),
}


def layer_step(name: str, rank: int | None) -> dict[str, Tensor]:
    """Output and gradients of a layer on this rank's samples, far from zero mean; the loss is a sum over samples."""
    make, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.1 + 5
    target = torch.randn(shape, generator=generator, dtype=torch.float64)
    part = {None: slice(None), 0: slice(SPLIT), 1: slice(SPLIT, None)}[rank]
    values = whole[part].clone().requires_grad_()
    layer = make().double()
    for value in layer.parameters():
        nn.init.uniform_(value, 0.5, 1.5, generator=generator)
    layer = convert_for_cpu(layer)
    for _ in range(2):
        output = layer(values)
    (output - target[part]).pow(2).sum().backward()
    gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
    if rank is not None:
        for gradient in gradients.values():
            dist.all_reduce(gradient)
    assert values.grad is not None
    result = {"output": output.detach(), "input gradient": values.grad, **gradients}
    return result | {key: buffer.double() for key, buffer in layer.named_buffers()}
