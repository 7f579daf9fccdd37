"""Places where jobs run at the same time: one or more GPUs each, or some cores. CUDA is not initialised here."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facegraph.errors import ConfigError
from facegraph.machine.resources import Resources

AUTO = "auto"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ONE_PROCESS = Resources()
# one thread per CPU process, because the number of threads changes the last bits of sums
CPU_THREADS = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True)
class Slot:
    """Where one job at a time runs.

    Args:
        index: its number.
        devices: its GPUs as CUDA_VISIBLE_DEVICES names them; None: CPU only.
        threads: of every process of the job.
    """

    index: int
    devices: tuple[str, ...] | None
    threads: int

    @property
    def label(self) -> str:
        return "cpu" if self.devices is None else f"gpu {','.join(self.devices)}"

    def environment(self) -> dict[str, str]:
        """Variables by which a process sees this slot's devices and threads alone."""
        own = {name: str(self.threads) for name in _THREAD_VARIABLES}
        return {**own, VISIBLE: ",".join(self.devices or ())}


def make_slots(
    needed: Resources = ONE_PROCESS,
    devices: str | int | Sequence[int | str] = AUTO,
    jobs_per_device: int = 1,
    cpu_jobs: str | int = AUTO,
    threads: int | None = None,
) -> list[Slot]:
    """Slots of this machine. The first ones lie on different GPUs.

    Args:
        needed: what each job needs; processes that are not said are one.
        devices: auto for all visible GPUs, or those to use, as CUDA_VISIBLE_DEVICES or nvidia-smi names them.
        jobs_per_device: jobs that share a GPU.
        cpu_jobs: jobs at once without GPUs; auto: as many as cores suffice for, at least one.
        threads: of each process; None: one on the CPU, beside a GPU an equal share of the cores less its loaders.

    Raises:
        ConfigError: unknown devices, more devices per job than there are, numbers that are not whole or below 1.
    """
    check_count("jobs_per_device", jobs_per_device)
    if threads is not None:
        check_count("threads_per_job", threads)
    if cpu_jobs != AUTO:
        check_count("cpu_jobs", cpu_jobs, f", or {AUTO}")
    processes = needed.processes or 1
    found = [] if needed.on_cpu else visible_gpus()
    if not needed.on_cpu and devices != AUTO:
        found = _chosen(devices, found)
    if not found:
        each = threads or CPU_THREADS
        count = max(1, cores() // (each * processes)) if cpu_jobs == AUTO else int(cpu_jobs)
        return [Slot(index, None, each) for index in range(count)]
    groups = [tuple(found[i : i + processes]) for i in range(0, len(found) - processes + 1, processes)]
    if not groups:
        raise ConfigError(
            f"a job wants {processes} GPUs, but there are {len(found)}: {', '.join(found)}. Lower "
            "trainer.devices, or give the launcher more with hydra.launcher.devices."
        )
    each = threads or max(1, cores() // (len(groups) * jobs_per_device * processes) - needed.loaders)
    return [Slot(index, group, each) for index, group in enumerate(groups * jobs_per_device)]


def check_count(name: str, value: object, otherwise: str = "") -> None:
    """Check a launcher's setting.

    Args:
        name: of the setting.
        value: it, of whatever kind.
        otherwise: what else it may be, for the message.

    Raises:
        ConfigError: no whole number, or below 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"hydra.launcher.{name}={value} must be at least 1, a whole number{otherwise}.")


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: numbers, or UUIDs of GPUs and MIG parts."""
    import torch

    allowed = environment.get(VISIBLE)
    if allowed is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    names = [name.strip() for name in allowed.split(",")]
    if names[0].startswith("MIG-"):
        # CUDA counts the first part of a GPU alone, but every process may have a part of its own
        return [name for name in names if name.startswith("MIG-")] if torch.cuda.is_available() else []
    return names[: torch.cuda.device_count()]  # CUDA's list ends at the first entry that does not exist


def cores() -> int:
    """CPU cores that this process may use, by affinity and by the quota of its control group; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota(Path("/sys/fs/cgroup")))))


def _quota(groups: Path) -> float:
    """Cores that this process's control group grants on average; infinite: no limit, or another system."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            allowed, period = " ".join((groups / name).read_text(encoding="ascii") for name in names).split()
            if allowed not in ("max", "-1"):
                return int(allowed) / int(period)
        except (OSError, ValueError):
            continue
    return math.inf


def _chosen(devices: str | int | Sequence[int | str], found: Sequence[str]) -> list[str]:
    if isinstance(devices, str | int):
        raise ConfigError(
            f"hydra.launcher.devices={devices} is neither {AUTO} nor a list of GPUs. Give a list, such as [0,1]."
        )
    chosen: list[str] = []
    for device in devices:
        # a number means one GPU, a UUID may be shortened as CUDA allows
        names = [name for name in found if name == str(device) or (not name.isdigit() and name.startswith(str(device)))]
        if len(names) != 1 or names[0] in chosen:
            raise ConfigError(
                f"hydra.launcher.devices names {device}, which is no GPU here or not one alone; there are: "
                f"{', '.join(found) or 'none'}. Choose among these, each once, or give {AUTO}."
            )
        chosen.append(names[0])
    if not chosen:
        raise ConfigError(f"hydra.launcher.devices is empty; give GPUs, {AUTO}, or trainer=cpu for jobs without.")
    return chosen
