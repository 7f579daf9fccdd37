"""`facegraph bench threads`: what the quick start takes alone, beside busy processes, and twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl

from facegraph.errors import ConfigError, RunError
from facegraph.machine.environment import clean_environment
from facegraph.machine.slots import cores
from facegraph.machine.threads import NUMBERS, WAITING

ALONE, BUSY, TWICE = "alone", "beside busy processes", "two at once"
CHOSEN, OPENMP = "as facegraph chooses", "as OpenMP chooses"
BUSY_LIMIT, TWICE_LIMIT, ALONE_LIMIT = 3.0, 2.5, 1.05
_OWN_SPINS = "300000"
"""Of libgomp where nothing is set; set here, because facegraph leaves alone what is."""
_WARM_UP = "0"
"""Epoch in which loader processes draw their faces."""
_FEWEST = 3
_BUSY_PROGRAM = """import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""
_POLL = 0.1
TRAINING = ("-m", "facegraph.cli.train")
QUICK_START = (
    "trainer=cpu", "trainer.max_epochs=100000", "trainer.check_val_every_n_epoch=100000", "dataset.train_size=320",
    "dataset.test_size=8", "callbacks.last.every_n_epochs=100000",
    "+callbacks.steps._target_=facegraph.bench.threads.StepTimes",
)  # fmt: skip


class StepTimes(pl.Callback):
    """Writes epoch and clock after every step, for the program that started the training, and ends with that."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="ascii")  # noqa: SIM115  # until the training is killed
        self._watching = os.getppid()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._file.write(f"{trainer.current_epoch} {time.monotonic()}\n")
        self._file.flush()
        if os.getppid() != self._watching:
            os.killpg(os.getpgrp(), signal.SIGKILL)


@dataclass(frozen=True)
class Target:
    """A number that facegraph is held to.

    Args:
        met: None where it could not be measured.
    """

    name: str
    wanted: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class ThreadBench:
    """Result of one run.

    Args:
        seconds: (situation, choice) -> mean time of a step in every training that was measured.
    """

    cores: int
    seconds: dict[tuple[str, str], list[float]]

    def typical(self, situation: str, choice: str = CHOSEN) -> float:
        return median(self.seconds[situation, choice])

    def targets(self) -> tuple[Target, ...]:
        alone = self.typical(ALONE)
        rows = (
            (f"{BUSY}, times {ALONE}", BUSY_LIMIT, self.typical(BUSY) / alone),
            (f"{TWICE}, times {ALONE}", TWICE_LIMIT, self.typical(TWICE) / alone),
            (f"{ALONE}, times the same {OPENMP}", ALONE_LIMIT, alone / self.typical(ALONE, OPENMP)),
        )
        return tuple(Target(name, f"at most {limit:g}", f"{found:.2f}", found <= limit) for name, limit, found in rows)

    def to_dict(self) -> dict[str, Any]:
        seconds = [
            {"situation": situation, "choice": choice, "seconds": values}
            for (situation, choice), values in self.seconds.items()
        ]
        return {"cores": self.cores, "seconds": seconds, "targets": [asdict(target) for target in self.targets()]}


def bench_threads(
    rounds: int = 3, seconds: float = 8.0, limit: float = 90.0, say: Callable[[str], None] = lambda text: None
) -> ThreadBench:
    """Train the quick start in processes of their own, in turns as facegraph and as OpenMP chooses threads and waiting.

    Steps are counted from the second epoch on, when no face is drawn any more.

    Args:
        rounds: of the training alone; the other situations are measured once for each choice.
        seconds: to count steps for, and at least three steps.
        limit: seconds after which a training is measured by the steps that it has made.

    Raises:
        ConfigError: numbers out of range.
        RunError: a training ended by itself.
    """
    if rounds < 1 or not 0 < seconds < limit:
        raise ConfigError(f"rounds is {rounds}, seconds {seconds}, limit {limit}; 3, 8 and 90 are usual.")
    found: dict[tuple[str, str], list[float]] = {}
    for situation in (ALONE,) * rounds + (BUSY, TWICE):
        for choice in (OPENMP, CHOSEN):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:  # the folder outlives its processes
                for _ in range(cores() if situation == BUSY else 0):
                    stack.enter_context(_process([sys.executable, "-c", _BUSY_PROGRAM]))
                trainings = [
                    stack.enter_context(_training(Path(folder) / str(number), choice))
                    for number in range(2 if situation == TWICE else 1)
                ]
                times = _watch(trainings, seconds, limit)
            found.setdefault((situation, choice), []).extend(times)
            say(f"{situation}, {choice}: {', '.join(f'{1000 * value:.0f}' for value in times)} ms a step")
    return ThreadBench(cores(), found)


@dataclass(frozen=True)
class _Training:
    process: subprocess.Popen[bytes]
    folder: Path

    def steps(self) -> list[float]:
        """Clock at the end of every step after the first epoch.

        Raises:
            RunError: it has ended.
        """
        if self.process.poll() is not None:
            raise RunError(f"a training ended by itself: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")
        path = self.folder / "steps"
        lines = path.read_text(encoding="ascii").split("\n")[:-1] if path.exists() else []
        return [float(clock) for epoch, clock in map(str.split, lines) if epoch != _WARM_UP]


@contextmanager
def _training(folder: Path, choice: str) -> Iterator[_Training]:
    folder.mkdir()
    environment = {n: v for n, v in clean_environment(os.environ).items() if n not in (*NUMBERS, *WAITING)}
    if choice == OPENMP:
        environment |= {NUMBERS[0]: str(cores()), WAITING[0]: _OWN_SPINS}
    places = (f"+callbacks.steps.path='{folder / 'steps'}'", f"output_dir='{folder / 'run'}'")
    command = [sys.executable, *TRAINING, *QUICK_START, *places]
    with (folder / "log").open("wb") as log, _process(command, environment, log) as process:
        yield _Training(process, folder)


@contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str] | None = None, log: Any = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with all that it starts, until the end of the block."""
    with subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _watch(trainings: Sequence[_Training], seconds: float, limit: float) -> list[float]:
    """Mean time of a step of each training, while all of them are beyond the first epoch."""
    begun = time.monotonic()
    since: float | None = None
    while True:
        time.sleep(_POLL)
        now, steps = time.monotonic(), [training.steps() for training in trainings]
        if since is None and all(steps):
            since = now
        counted = [[clock for clock in clocks if since is not None and clock >= since] for clocks in steps]
        enough = since is not None and now - since >= seconds and min(map(len, counted)) > _FEWEST
        if enough or now - begun >= limit:
            start = begun if since is None else since
            return [_mean(clocks) if len(clocks) > 1 else now - start for clocks in counted]


def _mean(clocks: Sequence[float]) -> float:
    return (clocks[-1] - clocks[0]) / (len(clocks) - 1)
