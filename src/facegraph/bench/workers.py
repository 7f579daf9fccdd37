"""What loader processes add: speed by their number, and the memory that each of them takes."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from facegraph.bench.parts import OneSource, training_module
from facegraph.data.faces import select_rows
from facegraph.data.source import FaceSource, FaceTable, LandmarkDataset
from facegraph.landmarks import LandmarkScheme
from facegraph.structures import FaceBatch

MAPPINGS = "/proc/{}/smaps"
FEW, MANY = 2_000, 60_000
"""Faces whose annotations a worker is given; the second is the size of 300W-LP, the largest set there is."""
_SEEN = 2.0
"""Faces a worker loads per crop there is, so that it has seen nine crops in ten."""


class RepeatedFaces:
    """A table of any length over the crops of a source: row i shows face i modulo their number, under its own name."""

    def __init__(self, source: FaceSource, rows: int) -> None:
        self._source = source
        self._crops = len(source.table)
        table = select_rows(source.table, np.arange(rows) % self._crops)
        names = tuple(f"{name} copy {row // self._crops}" for row, name in enumerate(table.ids))
        photos = tuple(f"{name} copy {row // self._crops}" for row, name in enumerate(table.photos))
        self._table = replace(table, ids=names, photos=photos)

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return self._source.image(index % self._crops)

    def image_to_stored(self, index: int) -> np.ndarray:
        return self._source.image_to_stored(index % self._crops)


@dataclass(frozen=True)
class WorkerMemory:
    """Memory of one loader process, bytes.

    faces: that it was given. crops: different pictures among them. pixels: bytes of these pictures. annotations: bytes
    of the arrays and names that describe the faces. own: that no other process and no file has, swapped out or not:
    what it takes beyond what it was started with. files: mapped from files, shared out evenly among the processes that
    do; the operating system takes it back when it needs it. total: all of it, what is shared shared out evenly.
    """

    faces: int
    crops: int
    pixels: int
    annotations: int
    own: int
    files: int
    total: int


def epoch_rates(
    dataset: LandmarkDataset, input_size: int, batch_size: int, counts: Sequence[int], rounds: int = 3
) -> dict[int, float]:
    """Number of loader processes -> faces/s by the clock of the loader alone, median over epochs taken in turns.

    Batches are counted as they are sent to the device, in bytes; nothing normalises them.
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


def worker_memory(
    scheme: LandmarkScheme, source: FaceSource, faces: int, input_size: int, batch_size: int
) -> WorkerMemory | None:
    """Memory of a loader process with so many faces over the crops of a source; None where /proc does not tell."""
    dataset = OneSource("memory", scheme, RepeatedFaces(source, faces))
    before = set(multiprocessing.active_children())
    loader = training_module(dataset, input_size, batch_size, workers=1).train_dataloader()
    crops = len(source.table)
    batches = _endless(loader)
    for _ in islice(batches, int(np.ceil(_SEEN * crops / batch_size))):
        pass
    started = [child.pid for child in multiprocessing.active_children() if child not in before]
    if not started or not Path(MAPPINGS.format(started[0])).is_file():
        return None
    own, files, total = _memory_of(Path(MAPPINGS.format(started[0])).read_text())
    batches.close()
    return WorkerMemory(
        faces=faces,
        crops=min(crops, faces),
        pixels=min(crops, faces) * source.image(0).nbytes,
        annotations=_table_bytes(dataset.train().table),
        own=own,
        files=files,
        total=total,
    )


def _memory_of(mappings: str) -> tuple[int, int, int]:
    """Own, of files and in all, see WorkerMemory, from a process's smaps.

    Own memory is not that of Pss_Anon, a share of which belongs to every process that was forked from the same one: it
    changes with how many of these are still there.
    """
    own = files = total = 0
    of_file = False
    for line in mappings.splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):  # addresses, rights, offset, device, inode and what is mapped
            of_file = len(rest) > 4 and rest[4].startswith("/")
            continue
        size = 1024 * int(rest[0]) if rest[0].isdigit() else 0
        total += size * (name in ("Pss:", "SwapPss:"))
        files += size * (name == "Pss:" and of_file)
        own += size * (name in ("Private_Clean:", "Private_Dirty:", "Swap:") and not of_file)
    return own, files, total


def _endless(loader: DataLoader) -> Generator[FaceBatch, None, None]:
    while True:
        yield from loader


def _table_bytes(table: FaceTable) -> int:
    texts = sum(len(name) + 49 for names in (table.ids, table.photos) for name in names)
    return texts + table.landmarks.nbytes + table.boxes.nbytes + table.attributes.nbytes
