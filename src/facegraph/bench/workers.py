"""What loader processes add: speed by their number, and the memory that each of them takes."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import DataLoader

from facegraph.bench.parts import training_module
from facegraph.data.source import FaceTable, LandmarkDataset

_ROLLUP = "/proc/{}/smaps_rollup"
_FIELDS = ("Pss", "Pss_Anon", "Pss_File")


@dataclass(frozen=True)
class WorkerMemory:
    """Memory of one loader process, bytes; what several processes share is shared out evenly.

    faces: that it loaded from. annotations: bytes of the arrays that describe them. own: written by the process itself
    and not shared with a file. files: mapped from files; the operating system takes it back when it needs it.
    total: all of it.
    """

    faces: int
    annotations: int
    own: int
    files: int
    total: int


def epoch_rates(
    dataset: LandmarkDataset, input_size: int, batch_size: int, counts: Sequence[int], rounds: int = 3
) -> dict[int, float]:
    """Number of loader processes -> faces/s by the clock, median over epochs taken in turns.

    The processes of all counts are started first; an idle one costs nothing. 0 loads in this process.
    """
    loaders = {n: training_module(dataset, input_size, batch_size, n).train_dataloader() for n in counts}
    rates: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(rounds):
        for number, loader in loaders.items():
            rates[number].append(_rate(loader, batch_size, number))
    return {number: statistics.median(found) for number, found in rates.items()}


def _rate(loader: DataLoader, batch_size: int, workers: int) -> float:
    """Faces/s of one epoch, from the batch on at which what the processes fetched ahead is used up."""
    ahead = min(2 * workers + 1, len(loader) // 2)
    start, counted = time.perf_counter(), 0
    for number, _ in enumerate(loader, 1):
        if number == ahead:
            start, counted = time.perf_counter(), 0
        else:
            counted += batch_size
    return counted / (time.perf_counter() - start)


def worker_memory(dataset: LandmarkDataset, input_size: int, batch_size: int) -> WorkerMemory | None:
    """Memory of a loader process after two epochs; None where /proc does not tell."""
    before = set(multiprocessing.active_children())
    loader = training_module(dataset, input_size, batch_size, workers=1).train_dataloader()
    for _ in range(2):
        for _batch in loader:
            pass
    started = [child.pid for child in multiprocessing.active_children() if child not in before]
    if not started or not Path(_ROLLUP.format(started[0])).is_file():
        return None
    found = dict.fromkeys(_FIELDS, 0)
    for line in Path(_ROLLUP.format(started[0])).read_text().splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = 1024 * int(value.split()[0])
    table = dataset.train().table
    return WorkerMemory(
        faces=len(table),
        annotations=_table_bytes(table),
        own=found["Pss_Anon"],
        files=found["Pss_File"],
        total=found["Pss"],
    )


def _table_bytes(table: FaceTable) -> int:
    texts = sum(len(name) + 49 for names in (table.ids, table.photos) for name in names)
    return texts + table.landmarks.nbytes + table.boxes.nbytes + table.attributes.nbytes
