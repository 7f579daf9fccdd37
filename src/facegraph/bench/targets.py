"""What the input pipeline is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facegraph.bench.timing import Speed
from facegraph.bench.workers import WorkerMemory

TRAINING, TRAINING_JPEG = "training, store of raw crops", "training, store of JPEG crops"
PHOTOGRAPHS = "training, original photographs"
ALBUMENTATIONS = "albumentations pipeline, store"
FLOOR, FLOOR_CACHED = "bare warpAffine, stored crops", "bare warpAffine, one crop in the cache"

FACES_PER_SECOND = 1000
SHARE_OF_FLOOR = 0.45
TIMES_PHOTOGRAPHS = 5
SECOND_WORKER = 1.8
_MEMORY_SLACK = 16 * 2**20
"""Own memory of two fresh processes differs by this much without any reason in the data."""


@dataclass(frozen=True)
class Target:
    """A number that the input pipeline is held to. met: None where it could not be measured."""

    name: str
    wanted: str
    found: str
    met: bool | None


def judge(
    speeds: Mapping[str, Speed], rates: Mapping[int, float], memory: Sequence[WorkerMemory]
) -> tuple[Target, ...]:
    """All targets, with what was found. speeds: by part. rates: by number of loader processes. memory: few, all."""
    training = speeds.get(TRAINING) or speeds[TRAINING_JPEG]
    found = [
        Target(
            "from the store, one core",
            f"at least {FACES_PER_SECOND} faces/s",
            f"{training.per_core:.0f} (best tenth {training.best:.0f})",
            training.per_core >= FACES_PER_SECOND,
        ),
        _ratio("share of the bare warp", SHARE_OF_FLOOR, training, speeds.get(FLOOR)),
        _ratio("times the original photographs", TIMES_PHOTOGRAPHS, training, speeds.get(PHOTOGRAPHS)),
    ]
    two = rates[2] / rates[1] if {1, 2} <= set(rates) else None
    found.append(
        Target(
            "2 workers over 1",
            f"at least {SECOND_WORKER:g}",
            "not measured" if two is None else f"{two:.2f}",
            None if two is None else two >= SECOND_WORKER,
        )
    )
    return (*found, _growth(memory))


def _ratio(name: str, wanted: float, part: Speed, other: Speed | None) -> Target:
    ratio = None if other is None else part.per_core / other.per_core
    return Target(
        name,
        f"at least {wanted:g}",
        "not measured" if ratio is None else f"{ratio:.2f}",
        None if ratio is None else ratio >= wanted,
    )


def _growth(memory: Sequence[WorkerMemory]) -> Target:
    name, wanted = "own memory of a worker, 4 times the faces", "grows by the annotations"
    if len(memory) < 2:
        return Target(name, wanted, "not measured", None)
    few, many = memory
    grown, annotations = many.own - few.own, many.annotations - few.annotations
    found = f"{grown / 2**20:+.1f} MiB, annotations {annotations / 2**20:+.1f} MiB"
    return Target(name, f"{wanted} (+- {_MEMORY_SLACK >> 20} MiB)", found, grown <= annotations + _MEMORY_SLACK)
