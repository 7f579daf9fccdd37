"""`facegraph bench data`: how fast faces come from the disk to the network, part by part, and what bounds it."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from facegraph.bench.faces import BenchFaces, Say, draw_faces, open_faces
from facegraph.bench.parts import Albumentations, BareWarp, OneSource, Training
from facegraph.bench.targets import (
    ALBUMENTATIONS,
    FLOOR,
    FLOOR_CACHED,
    PHOTOGRAPHS,
    TRAINING,
    TRAINING_JPEG,
    Target,
    judge,
)
from facegraph.bench.timing import Part, Speed, take_turns
from facegraph.bench.workers import FEW, MANY, WorkerMemory, epoch_rates, worker_memory
from facegraph.data.faces import FaceSubset
from facegraph.errors import ConfigError

_BATCH = 64
_ROUNDS = 20


@dataclass(frozen=True)
class DataBench:
    """Result of one run.

    faces: that were measured on. speeds: by part. workers: number of loader processes -> faces/s by the clock.
    memory: of a loader process with few annotated faces over a quarter of the crops, and with many over all of them.
    """

    faces: int
    input_size: int
    landmarks: int
    machine: str
    speeds: dict[str, Speed]
    workers: dict[int, float]
    memory: tuple[WorkerMemory, ...]
    targets: tuple[Target, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_data(
    store: Path | None = None,
    source: Path | None = None,
    faces: int = 2000,
    input_size: int = 256,
    workers: Sequence[int] = (0, 1, 2),
    jpeg: bool = False,
    say: Say = lambda text: None,
) -> DataBench:
    """Measure the input pipeline with the paper's augmentation on one thread.

    Args:
        store: prepared store; None draws photographs and makes one in the temporary folder, removed at the end.
        source: folder of the photographs the store was made from; None takes the one the store names, if it is there.
        faces: the first so many of the store's largest split.
        input_size: side of the crop, px.
        workers: numbers of loader processes to compare.
        jpeg: also from a store of JPEG crops (only without store).
        say: called with what is being done.

    Raises:
        ConfigError: faces, input_size or workers out of range, or settings that contradict each other.
        DataError: a store that is not whole, photographs that are not there, no room for the temporary ones.
    """
    _check(store, source, faces, input_size, workers, jpeg)
    threads = (cv2.getNumThreads(), torch.get_num_threads())
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        if store is not None:
            return _measure(open_faces(store, source, faces), input_size, workers, say)
        with tempfile.TemporaryDirectory(prefix="facegraph-bench-") as folder:
            return _measure(draw_faces(Path(folder), faces, jpeg, say), input_size, workers, say)
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def _check(
    store: Path | None, source: Path | None, faces: int, input_size: int, workers: Sequence[int], jpeg: bool
) -> None:
    if faces < 4 or input_size < 32 or not workers or min(workers) < 0:
        raise ConfigError(
            f"faces is {faces}, input size {input_size}, workers {list(workers)}; at least 4 faces, 32 px and one "
            "number of workers from 0 up are needed."
        )
    if store is None and source is not None:
        raise ConfigError(f"--source {source} without --store: name the store that was prepared from it.")
    if store is not None and jpeg:
        raise ConfigError(f"--jpeg makes a store of its own; leave it out, or leave --store {store} out.")


def _measure(faces: BenchFaces, input_size: int, workers: Sequence[int], say: Say) -> DataBench:
    count = len(faces.store.table)
    batch_size = min(_BATCH, count // 2)
    dataset = OneSource("store", faces.scheme, faces.store)
    say("timing parts on one core, in turns")
    speeds = take_turns(_parts(faces, dataset, input_size, batch_size), rounds=min(_ROUNDS, count // batch_size))
    say(f"timing loaders with {', '.join(map(str, workers))} processes")
    rates = epoch_rates(dataset, input_size, batch_size, workers)
    say("measuring the memory of a loader process")
    measured = [
        worker_memory(faces.scheme, FaceSubset(faces.store, np.arange(crops)), rows, input_size, batch_size)
        for rows, crops in ((FEW, count // 4), (MANY, count))
    ]
    memory = tuple(m for m in measured if m is not None)
    return DataBench(
        faces=count,
        input_size=input_size,
        landmarks=faces.scheme.num_landmarks,
        machine=f"{platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__}, torch {torch.__version__}",
        speeds=speeds,
        workers=rates,
        memory=memory,
        targets=judge(speeds, rates, memory, count // batch_size),
    )


def _parts(faces: BenchFaces, dataset: OneSource, input_size: int, batch_size: int) -> list[Part]:
    training = Training(TRAINING if faces.raw else TRAINING_JPEG, dataset, input_size, batch_size)
    batches = training.batches()
    parts: list[Part] = [training]
    others = ((TRAINING_JPEG, faces.jpeg), (PHOTOGRAPHS, faces.photographs))
    for name, source in others:
        if source is not None:
            parts.append(Training(name, OneSource(name, faces.scheme, source), input_size, batch_size))
    parts.append(Albumentations(ALBUMENTATIONS, faces.store, batches, input_size))
    if faces.raw:  # a decoder before it would not make it a floor
        parts.append(BareWarp(FLOOR, faces.store, batches, input_size))
    parts.append(BareWarp(FLOOR_CACHED, faces.store, batches, input_size, cached=True))
    return parts
