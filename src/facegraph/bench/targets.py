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
FEWEST_BATCHES = 10
"""Per part and per epoch; the median of fewer is noise."""
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
    speeds: Mapping[str, Speed], rates: Mapping[int, float], memory: Sequence[WorkerMemory], batches: int
) -> tuple[Target, ...]:
    """All targets, with what was found.

    speeds: by part. rates: by number of loader processes. memory: of a worker with few faces, with many. batches: that
    the faces fill; with fewer than FEWEST_BATCHES no speed is judged.
    """
    training = speeds.get(TRAINING) or speeds[TRAINING_JPEG]
    photographs = speeds.get(PHOTOGRAPHS)
    found = (
        ("from the store, faces/s of one core", FACES_PER_SECOND, training.per_core),
        ("share of the bare warp", SHARE_OF_FLOOR, _ratio(training, speeds.get(FLOOR))),
        ("times the original photographs", TIMES_PHOTOGRAPHS, _ratio(training, photographs)),
        ("2 workers over 1", SECOND_WORKER, rates[2] / rates[1] if {1, 2} <= set(rates) else None),
    )
    return (*(_at_least(name, wanted, value, batches) for name, wanted, value in found), _growth(memory))


def _ratio(part: Speed, other: Speed | None) -> float | None:
    return None if other is None else part.per_core / other.per_core


def _at_least(name: str, wanted: float, found: float | None, batches: int) -> Target:
    if found is None:
        return Target(name, f"at least {wanted:g}", "not measured", None)
    if batches < FEWEST_BATCHES:
        few = f"not measured: {batches} batches, {FEWEST_BATCHES} are needed"
        return Target(name, f"at least {wanted:g}", few, None)
    return Target(name, f"at least {wanted:g}", f"{found:.0f}" if found >= 100 else f"{found:.2f}", found >= wanted)


def _growth(memory: Sequence[WorkerMemory]) -> Target:
    """More faces may cost a worker their annotations. Judged only where its own copy of the crops would be seen."""
    name, wanted = "own memory of a worker with more faces", "grows by the annotations at most"
    if len(memory) < 2:
        return Target(name, wanted, "not measured", None)
    few, many = memory
    grown, annotations, pixels = (getattr(many, n) - getattr(few, n) for n in ("own", "annotations", "pixels"))
    allowed = annotations + _MEMORY_SLACK
    if pixels < 2 * allowed:
        return Target(name, wanted, "not measured: too few crops for a copy of them to be seen", None)
    found = ", ".join(
        f"{what}{size / 2**20:+.0f} MiB"
        for what, size in (("", grown), ("annotations ", annotations), ("crops ", pixels))
    )
    return Target(name, f"{wanted} (+ {_MEMORY_SLACK >> 20} MiB)", found, grown <= allowed)
