"""Batch norm over the batches of all processes of a run, on GPUs and on CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins import TorchSyncBatchNorm
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from facegraph.errors import ConfigError


class GlobalBatchNorm(_BatchNorm):
    """Batch norm with the mean and variance of all processes' batches, for tensors on the CPU too.

    torch's SyncBatchNorm refuses CPU tensors. Parameters, buffers and their names are those of the layer it replaces,
    which it shares; timm's layers keep their dropout and activation. In evaluation and in a single process it computes
    what the replaced layer would. Processes may hold batches of different sizes: each element counts once. Statistics
    are float32 or better under autocast.

    Each process's mean, variance and count go round in one all-reduce; moments are merged around the common mean
    (Chan et al. 1979), because a difference of sums of squares would lose digits. Gradients pass through it, so that
    averaged over processes they are those of one process with the whole batch.

    Args:
        norm: BatchNorm1d, 2d, 3d or timm's BatchNormAct2d; input (B, C) or (B, C, ...).

    Raises:
        ConfigError: in training, one element per channel in all processes together.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        for name, module in norm.named_children():
            self.add_module(name, module)
        self.train(norm.training)

    def forward(self, features: Tensor) -> Tensor:
        together = self.training and _processes() > 1
        features = self._normalise(features) if together else super().forward(features)
        for module in self.children():
            features = module(features)
        return features

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ConfigError(f"batch norm got a tensor of shape {tuple(input.shape)}; it needs (B, C) or (B, C, ...).")

    def _normalise(self, features: Tensor) -> Tensor:
        self._check_input_dim(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        mean, variance, count = _moments_of_all(values)
        if count <= 1:
            raise ConfigError(
                "batch norm cannot train on one element per channel in all processes; raise data.batch_size."
            )
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shape = (1, -1) + (1,) * (features.dim() - 2)
        normalised = (values - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            normalised = normalised + self.bias.view(shape)
        return normalised.to(features.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class SyncBatchNorm(TorchSyncBatchNorm):
    """The switch `trainer.sync_batchnorm`: layers for all processes, on GPUs those of torch and timm.

    timm's batch norm layers hold their activation; torch's conversion, which Lightning uses, drops it. The layers stay
    converted after training, where they act as plain batch norm; names in a checkpoint do not change.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        if any(isinstance(module, nn.SyncBatchNorm | GlobalBatchNorm) for module in model.modules()):
            return model
        return convert_for_cpu(model) if _on_cpu(model) else convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        return model


def convert_for_cpu(module: nn.Module) -> nn.Module:
    """The module with every batch norm layer replaced by a GlobalBatchNorm, in place except for the outermost."""
    if isinstance(module, _BatchNorm):
        return GlobalBatchNorm(module)
    for name, child in module.named_children():
        module.add_module(name, convert_for_cpu(child))
    return module


def _on_cpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cpu"


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce with a gradient: the loss of every process depends on every process's summand."""

    @staticmethod
    def forward(ctx: Any, summand: Tensor) -> Tensor:
        total = summand.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _moments_of_all(values: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean (C,) and biased variance (C,) over all axes but the second, in all processes; elements per channel."""
    axes = [0, *range(2, values.dim())]
    variance, mean = torch.var_mean(values, axes, correction=0)
    count = values.new_full((1,), values.numel() // values.shape[1])
    own = torch.cat([mean, variance, count])
    # a sum of rows that are zero but for one's own is a gather whose gradient is a plain sum
    rows = [own if rank == dist.get_rank() else torch.zeros_like(own) for rank in range(_processes())]
    gathered = _SumOverProcesses.apply(torch.stack(rows))
    means, variances, counts = gathered.split([len(mean), len(mean), 1], dim=1)
    shares = counts.detach() / counts.detach().sum()
    mean = (shares * means).sum(dim=0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(dim=0)
    return mean, variance, float(counts.detach().sum())
