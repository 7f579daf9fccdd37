"""`facegraph bench data`: faces per second of the input pipeline of a composed training, by loader processes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from facegraph.errors import ConfigError
from facegraph.runs.compose import build_data, compose
from facegraph.structures import FaceBatch

_PARTS = 5
_AHEAD = 4  # batches per process that are not timed: processes start, and fetch two ahead


@dataclass(frozen=True)
class LoaderSpeed:
    """Training batches as they are sent to the device, in faces/s by the clock.

    Args:
        workers: number of loader processes; 0 loads in this one.
        middle: median over parts of the time.
        best: of the parts.
    """

    workers: int
    middle: float
    best: float


@dataclass(frozen=True)
class DataBench:
    """Result of one run.

    Args:
        faces: training faces per epoch.
    """

    dataset: str
    faces: int
    input_size: int
    batch_size: int
    machine: str
    speeds: tuple[LoaderSpeed, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_data(
    overrides: Sequence[str] = (),
    workers: Sequence[int] = (0, 1, 2),
    seconds: float = 5.0,
    say: Callable[[str], None] = lambda text: None,
) -> DataBench:
    """Time the training loader of a configuration, without a network.

    Args:
        overrides: of train.py: data set, augmentation, input size, batch size.
        workers: numbers of loader processes to compare.
        seconds: for each of them, at least a batch in each fifth of it.
        say: called with what is being done.

    Raises:
        ConfigError: numbers out of range, or overrides that fit nothing. DataError: as the data set.
    """
    if not workers or min(workers) < 0 or not seconds > 0:
        raise ConfigError(
            f"workers {list(workers)}, seconds {seconds}: at least one number of processes from 0 up is needed, and a "
            "time above 0."
        )
    threads = (cv2.getNumThreads(), torch.get_num_threads())
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        speeds = []
        for count in workers:
            data = build_data(compose([*overrides, f"data.num_workers={count}"]))
            data.setup("fit")
            say(f"loader processes: {count}")
            speeds.append(_speed(data.train_dataloader(), count, seconds))
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
    return DataBench(
        dataset=data.dataset.name,
        faces=int(data.train_repeats().sum()),
        input_size=data.input_size,
        batch_size=data.batch_size,
        machine=f"{platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__}, torch {torch.__version__}",
        speeds=tuple(speeds),
    )


def _speed(loader: DataLoader, workers: int, seconds: float) -> LoaderSpeed:
    batches = _endless(loader)
    for _ in range(1 + _AHEAD * workers):
        next(batches)
    rates = []
    for _ in range(_PARTS):
        start, faces = time.perf_counter(), 0
        while not faces or time.perf_counter() - start < seconds / _PARTS:
            faces += len(next(batches).index)
        rates.append(faces / (time.perf_counter() - start))
    batches.close()
    return LoaderSpeed(workers, median(rates), max(rates))


def _endless(loader: DataLoader) -> Generator[FaceBatch, None, None]:
    while True:
        yield from loader
