"""What the processes of one training need of the machines they run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resources:
    """Machines, processes and devices of one training, as its trainer's settings say.

    Args:
        nodes: number of machines.
        processes: processes on each machine, one per device; None: one for every device that they are given.
        on_cpu: whether it wants no GPU.
        loaders: loader processes of each process.
        named: GPUs that the trainer names itself, where these are others than the first ones.
    """

    nodes: int = 1
    processes: int | None = 1
    on_cpu: bool = False
    loaders: int = 0
    named: tuple[int, ...] = ()

    @classmethod
    def of(cls, trainer: Mapping[str, Any], loaders: int = 0) -> Resources:
        """Resources of a trainer.

        Args:
            trainer: its settings as Lightning takes them: `devices` is a number of devices, their list, auto or -1.
            loaders: loader processes of each process.
        """
        devices, named = trainer.get("devices", 1), ()
        if isinstance(devices, Sequence) and not isinstance(devices, str):
            named = () if list(devices) == list(range(len(devices))) else tuple(devices)
            devices = len(devices)
        processes = int(devices) if str(devices).isdigit() else None
        nodes, on_cpu = int(trainer.get("num_nodes", 1)), trainer.get("accelerator") == "cpu"
        return cls(nodes, processes, on_cpu, loaders, named)
