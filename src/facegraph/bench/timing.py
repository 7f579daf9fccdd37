"""Times of several ways to do the same, taken in turns so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Part(Protocol):
    """One way to bring batches of faces from the disk to the network, or a piece of it.

    name: as the table prints it. batch_size: faces per step.
    """

    name: str
    batch_size: int

    def step(self, number: int) -> None:
        """Do one batch; number counts up from 0 and goes round when the faces are used up."""
        ...


@dataclass(frozen=True)
class Speed:
    """Faces per second of one part.

    per_core: of processor time of this process, median over the batches. best: the same, of the fastest tenth of the
    batches, which a busy machine disturbs least. clock: by the clock on the wall, median.
    """

    name: str
    per_core: float
    best: float
    clock: float


def take_turns(parts: Sequence[Part], rounds: int) -> dict[str, Speed]:
    """Name -> speed.

    Every part does two batches per round. The first is not counted: it finds the processor's caches filled by the part
    before, which a training does not.
    """
    clock = np.zeros((rounds, len(parts)))
    processor = np.zeros_like(clock)
    for number in range(rounds):
        for column, part in enumerate(parts):
            part.step(2 * number)
            start, used = time.perf_counter(), time.process_time()
            part.step(2 * number + 1)
            processor[number, column] = (time.process_time() - used) / part.batch_size
            clock[number, column] = (time.perf_counter() - start) / part.batch_size
    middle, seen = 1 / np.median(processor, axis=0), 1 / np.median(clock, axis=0)
    best = 1 / np.quantile(processor, 0.1, axis=0)
    return {
        part.name: Speed(part.name, float(middle[i]), float(best[i]), float(seen[i])) for i, part in enumerate(parts)
    }
