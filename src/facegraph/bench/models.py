"""`facegraph bench models`: how many faces per second each system's network does, with what it costs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.metrics.cost import count_macs, count_params
from facegraph.models.musica.settings import ALWAYS
from facegraph.runs.compose import build_model, compose, statistics_for

LEAST_ROUNDS = 3
_TURN = 0.25  # s that one cell may take in a round, at least one call
_SHORT = 0.2  # s; a shorter call is run once uncounted, with the processor's caches filled by another model


@dataclass(frozen=True)
class ModelRow:
    """A network to measure.

    Args:
        name: short, for --only.
        overrides: of train.py.
        note: what the label leaves out.
        quits: measured with what the model leaves out by itself; False: with all of its work, whatever its settings.
    """

    name: str
    label: str
    overrides: tuple[str, ...]
    note: str = ""
    quits: bool = False


ROWS = (
    ModelRow("scc", "SCC, ResNet-34", ("experiment=scc_wflw",), "L-GRN is the same network with another loss"),
    ModelRow("fc", "FC, ResNet-34", ("experiment=fc_wflw",)),
    ModelRow("heatmap", "heatmaps, HRNet-W18", ("experiment=hrnet_heatmap_wflw",)),
    ModelRow("fan2", "FAN, 2 stacks", ("experiment=fan_wflw", "model.num_modules=2")),
    ModelRow("fan4", "FAN, 4 stacks", ("experiment=fan_wflw", "model.num_modules=4")),
    ModelRow("dpr_gsr", "DPR, global stage", ("experiment=dpr_wflw", "model.stages=gsr")),
    ModelRow("dpr_glsr", "DPR, both stages", ("experiment=dpr_wflw", "model.stages=glsr")),
    ModelRow("musica", "MuSiCa, all iterations", ("experiment=musica_wflw",)),
    ModelRow(
        "musica_quit",
        "MuSiCa, quits after one",
        ("experiment=musica_wflw", f"model.quit_threshold={ALWAYS:g}"),  # above whatever the untrained network predicts
        "the parameters of later iterations are loaded and not used",
        quits=True,
    ),
)


@dataclass(frozen=True)
class ModelSpeed:
    """What one network costs.

    Args:
        params: trainable numbers.
        macs: multiply-adds of one face.
        processor, clock: batch size -> seconds of one batch, median over the calls: of this process's processor time
            over all its threads, and by the clock on the wall, which a busy machine makes longer.
        calls: batch size -> how many were timed.
    """

    name: str
    label: str
    note: str
    input_size: int
    landmarks: int
    params: int
    macs: int
    processor: dict[int, float]
    clock: dict[int, float]
    calls: dict[int, int]

    def milliseconds(self, batch: int) -> float:
        """Processor time of one batch."""
        return 1000 * self.processor[batch]

    def per_second(self, batch: int) -> float:
        """Faces per second of processor time: of one core, whatever the number of threads."""
        return batch / self.processor[batch]


@dataclass(frozen=True)
class ModelBench:
    """Result of one run."""

    threads: int
    batches: tuple[int, ...]
    machine: str
    speeds: tuple[ModelSpeed, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_models(
    only: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    threads: int = 1,
    batches: Sequence[int] = (1, 8),
    seconds: float = 5.0,
    rows: Sequence[ModelRow] = ROWS,
    say: Callable[[str], None] = lambda text: None,
) -> ModelBench:
    """Time the networks with random weights on random images, in turns, in float32 and inference mode, on the CPU.

    A network's own warps and its decoding are part of it; loading, cutting out and normalising faces are not. Each has
    the memory layout that it chooses itself.

    Args:
        only: names of the rows to measure; None for all.
        overrides: of train.py, for every row.
        threads: of torch; they are not bound to cores.
        batches: faces per call.
        seconds: to spend on each network and batch size, at least three calls in three rounds.

    Raises:
        ConfigError: an unknown row, numbers out of range, settings that do not compose.
    """
    chosen = _chosen(rows, only)
    if threads < 1 or not batches or min(batches) < 1 or not seconds > 0:
        raise ConfigError(
            f"threads is {threads}, batch {list(batches)}, seconds {seconds}; at least one thread, one batch size from "
            "1 up and some time are needed."
        )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        built = []
        for row in chosen:
            say(f"building {row.label}")
            built.append(_Built(row, overrides))
        cells = [_Cell(net, batch) for net in built for batch in sorted(set(batches))]
        say(f"timing {len(chosen)} networks in turns, about {seconds * len(cells):.0f} s")
        _take_turns(cells, seconds, say)
        speeds = tuple(net.speed([cell for cell in cells if cell.net is net]) for net in built)
    finally:
        torch.set_num_threads(before)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    return ModelBench(threads, tuple(sorted(set(batches))), machine, speeds)


def _chosen(rows: Sequence[ModelRow], only: Sequence[str] | None) -> list[ModelRow]:
    unknown = sorted(set(only or ()) - {row.name for row in rows})
    if unknown:
        raise ConfigError(
            f"there is no network named {', '.join(unknown)}; choose from {', '.join(r.name for r in rows)}."
        )
    return [row for row in rows if not only or row.name in only]


class _Built:
    """A network of a row with its costs."""

    def __init__(self, row: ModelRow, overrides: Sequence[str]) -> None:
        cfg = compose([*row.overrides, *overrides])
        statistics, _ = statistics_for(cfg)
        torch.manual_seed(0)
        self.row, self.input_size = row, int(cfg.input_size)
        self.landmarks = len(statistics.mean_shape)
        self.model = build_model(cfg, statistics).eval()
        self.params = count_params(self.model)
        with self.work():
            self.macs = count_macs(self.model, self.input_size)[0]

    def work(self) -> AbstractContextManager:
        """Within it the network does what its row is to be measured with."""
        return nullcontext() if self.row.quits else self.model.complete()

    def speed(self, cells: Sequence[_Cell]) -> ModelSpeed:
        processor, clock = ({c.batch: c.median(i) for c in cells} for i in (0, 1))
        calls = {cell.batch: len(cell.times) for cell in cells}
        row = self.row
        return ModelSpeed(
            row.name,
            row.label,
            row.note,
            self.input_size,
            self.landmarks,
            self.params,
            self.macs,
            processor,
            clock,
            calls,
        )


class _Cell:
    """A network at one batch size, and the times of its calls as pairs (processor, clock) in seconds."""

    def __init__(self, net: _Built, batch: int) -> None:
        self.net, self.batch = net, batch
        generator = torch.Generator().manual_seed(batch)
        self.images: Tensor = torch.randn(batch, 3, net.input_size, net.input_size, generator=generator)
        self.times: list[tuple[float, float]] = []
        self.spent = 0.0

    def median(self, which: int) -> float:
        return float(np.median([pair[which] for pair in self.times]))

    def call(self) -> tuple[float, float]:
        start, used = time.perf_counter(), time.process_time()
        self.net.model(self.images)
        return time.process_time() - used, time.perf_counter() - start

    def turn(self) -> None:
        """Calls for a quarter of a second."""
        begun = time.perf_counter()
        with self.net.work():
            if not self.times or self.times[-1][1] < _SHORT:
                self.call()
            while True:
                self.times.append(self.call())
                if time.perf_counter() - begun >= _TURN:
                    break
        self.spent += time.perf_counter() - begun


def _take_turns(cells: Sequence[_Cell], seconds: float, say: Callable[[str], None]) -> None:
    """Rounds over all cells whose time is not used up, so that a busy machine slows all of them alike."""
    number = 0
    with torch.inference_mode():
        while open_cells := [cell for cell in cells if number < LEAST_ROUNDS or cell.spent < seconds]:
            number += 1
            for cell in open_cells:
                cell.turn()
            if number in (1, 2, 3) or number % 10 == 0:
                say(f"round {number}: {len(open_cells)} of {len(cells)} still measured")
