"""What a model costs: parameters, multiply-adds, latency."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facegraph.structures import LandmarkModel


@dataclass(frozen=True)
class ModuleCost:
    """Parameters and multiply-adds of one module with all that it holds."""

    name: str
    params: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """Costs of one face, of a model that may stop early those of all its work.

    Args:
        params: trainable numbers.
        macs: multiply-adds of convolutions, linear layers and matrix products, the graph's included.
        macs_thop: the counting behind the SCC paper's 5.165 G: convolutions and linear layers, plus what the thop tool
            adds for batch norm, pooling and upsampling, without graph products.
        latency_ms: device -> median time of one face in milliseconds.
        modules: by top-level module and its children.
    """

    params: int
    macs: int
    macs_thop: int
    latency_ms: dict[str, float]
    modules: list[ModuleCost]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def count_params(module: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_macs(model: nn.Module, input_size: int) -> tuple[int, dict[str, int]]:
    """Multiply-adds of one face (1, 3, S, S): the total, and by module name ('' is not included).

    Of a model that may stop early this counts what a blank image takes; within `model.complete()` all of the work.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(_face(model, input_size))
    prefix = type(model).__name__ + "."
    by_name = {
        name.removeprefix(prefix): sum(ops.values()) // 2
        for name, ops in counter.get_flop_counts().items()
        if name.startswith(prefix)
    }
    return counter.get_total_flops() // 2, by_name


def count_macs_thop(model: nn.Module, input_size: int) -> int:
    """Multiply-adds as thop 0.1.1 counts them, by its published rules; products of raw tensors are not seen.

    Convolution and linear: one per multiplication. Batch norm with scale and shift: 4 per element. Bilinear
    upsampling is a function here, not a module: 11 per output element. Max pooling, activations: nothing.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += output.numel() * module.in_channels // module.groups * kernel
        elif isinstance(module, nn.Linear) and inputs[0].ndim == 2:  # node features (B, N, D) belong to the graph
            total += output.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            total += 4 * inputs[0].numel()

    handles = [m.register_forward_hook(count) for m in model.modules()]
    upsampled = _UpsampleCounter()
    try:
        with torch.no_grad(), upsampled:
            model.eval()(_face(model, input_size))
    finally:
        for handle in handles:
            handle.remove()
    return total + 11 * upsampled.elements


class _UpsampleCounter(torch.overrides.TorchFunctionMode):
    """Counts output elements of F.interpolate."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is nn.functional.interpolate:
            self.elements += result.numel()
        return result


def latency_ms(model: nn.Module, input_size: int, device: torch.device, runs: int = 20) -> float:
    """Median time of one face in milliseconds after three warm-up runs, float32, as the model is: see `count_macs`."""
    model = model.eval().to(device)
    face = _face(model, input_size).to(device)
    times = []
    with torch.inference_mode():
        for run in range(runs + 3):
            start = time.perf_counter()
            model(face)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run >= 3:
                times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[len(times) // 2]


def measure(model: LandmarkModel, input_size: int) -> Complexity:
    """All costs of a model; latency on the CPU and, where there is one, on the GPU."""
    with model.complete():
        macs, by_name = count_macs(model, input_size)
        macs_thop = count_macs_thop(model, input_size)
        latency = {"cpu": latency_ms(model, input_size, torch.device("cpu"))}
        if torch.cuda.is_available():
            latency[torch.cuda.get_device_name()] = latency_ms(model, input_size, torch.device("cuda"))
            model.cpu()
    modules = dict(model.named_modules())
    costs = [
        ModuleCost(name, count_params(modules[name]), by_name.get(name, 0))
        for name in modules
        if name and name.count(".") <= 1
    ]
    return Complexity(
        params=count_params(model),
        macs=macs,
        macs_thop=macs_thop,
        latency_ms=latency,
        modules=costs,
    )


def _face(model: nn.Module, input_size: int) -> Tensor:
    device = next(model.parameters()).device
    return torch.zeros(1, 3, input_size, input_size, device=device)
