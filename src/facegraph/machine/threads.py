"""Threads of a training's process: how many, and how they wait for one another.

At the end of every operation OpenMP's threads wait for the last one by spinning, for milliseconds: the fastest way
while every thread has a core. Beside other programs a thread that spins holds the core that the awaited one needs, and
a step takes ten times as long. So waiting threads sleep sooner, and a run has no more threads than there are cores that
other programs leave free while it starts. It keeps that number, also where it is resumed: another one changes the last
bits of sums. What the user has set in the environment is never changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from facegraph.machine.slots import cores

_NUMBER = "OMP_NUM_THREADS"
NUMBERS = (_NUMBER, "MKL_NUM_THREADS")  # torch takes the first one that is set
_SPINS = "GOMP_SPINCOUNT"
SPIN_COUNT = 100_000
"""Of libgomp, which torch's wheels for Linux bring: a few milliseconds. Its own choice is 300,000."""
_BLOCK_TIME = "KMP_BLOCKTIME"
_BLOCK_MILLISECONDS = 1
"""Of LLVM's and Intel's OpenMP, which torch has from conda and on macOS; their own choice is 200."""
WAITING = (_SPINS, "OMP_WAIT_POLICY", _BLOCK_TIME, "KMP_LIBRARY")


@dataclass(frozen=True)
class Moment:
    """Seconds until now: by the clock, of all programs on the cores that this process may use, and of itself."""

    clock: float
    all: float
    own: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic(), processor_seconds(Path("/proc/stat")), sum(os.times()[:4]))

    def others_until(self, later: Moment) -> float:
        """Cores that other programs used on average from this moment to a later one."""
        passed = later.clock - self.clock
        others = (later.all - self.all) - (later.own - self.own)
        return max(0.0, others / passed) if passed > 0 else 0.0


@dataclass(frozen=True)
class _Entry:
    """An entry point of this process. given: the environment says how many threads there are."""

    started: Moment
    given: bool


_entry: _Entry | None = None


def before_torch() -> None:
    """To be called by a program that trains or scores, before it imports torch; without it `settle` does nothing."""
    global _entry
    limit_waiting(os.environ)
    _entry = _Entry(Moment.now(), any(os.environ.get(name) for name in NUMBERS))


def limit_waiting(environment: MutableMapping[str, str]) -> None:
    """Let waiting threads sleep soon, unless it is said how they wait. OpenMP reads it when torch is imported."""
    if not any(environment.get(name) for name in WAITING):
        environment.update({_SPINS: str(SPIN_COUNT), _BLOCK_TIME: str(_BLOCK_MILLISECONDS)})


def settle(loaders: int, processes: int, on_cpu: bool, before: int | None = None) -> str | None:
    """Set the threads of this process, and of those that it starts, for all of a run.

    Args:
        loaders: loader processes of each process.
        processes: of the run on this machine.
        on_cpu: the network is computed on the CPU.
        before: threads of the interrupted run that this one goes on with; None for a new run.

    Returns:
        Number and waiting in a line for the user; None where no entry point has called `before_torch`.
    """
    if _entry is None:
        return None
    import cv2
    import torch

    if _entry.given:
        return describe(torch.get_num_threads(), f", as {_NUMBER} says" if os.environ.get(_NUMBER) else "", before)
    others = _entry.started.others_until(Moment.now())
    if before is None:
        count = choose(cores(), others, loaders, processes, on_cpu)
        why = f", {others:.1f} of them used by other programs" if others >= 0.1 else ""
    else:
        count, why = max(1, min(before, cores() // processes)), ", as before"
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    os.environ[_NUMBER] = str(count)  # for the further processes of the run
    return describe(count, why, before)


def choose(available: int, others: float, loaders: int, processes: int, on_cpu: bool) -> int:
    """Threads of each process of a run: its share of the cores that other programs leave free, at least 1.

    Beside a GPU loader processes take cores of their own. On a CPU they wait for the network nearly all of the time:
    leaving cores to them makes the quick start a third slower on two cores.

    Args:
        available: cores of this machine that the run may use.
        others: cores that other programs use.
        loaders: loader processes of each process.
        processes: of the run on this machine.
        on_cpu: whether the network is computed on the CPU.
    """
    share = int(available - others + 0.5) // processes
    return max(1, share if on_cpu else share - loaders)


def describe(count: int, why: str = "", before: int | None = None) -> str:
    """What is settled, and how to change it.

    Args:
        count: threads of this process.
        why: follows the number of cores.
        before: as `settle`.
    """
    line = f"{_counted(count, 'thread')} on {_counted(cores(), 'core')}{why}"
    if count > 1:
        line += f"; waiting threads {_waiting()}. {_NUMBER} and {_SPINS} change it."
    else:
        line += f". {_NUMBER} changes it."
    if before is not None and before != count:
        line += (
            f" The run had {before} until now: the last bits of its numbers will differ from those of a run that was "
            f"not interrupted; {_NUMBER}={before} avoids that."
        )
    return line


def _waiting() -> str:
    spins, policy = os.environ.get(_SPINS), os.environ.get("OMP_WAIT_POLICY")
    if spins:
        return f"sleep after {spins} spins"
    return f"are {policy.lower()}, as OMP_WAIT_POLICY says" if policy else "wait as OpenMP has it"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count > 1 else ''}"


def processor_seconds(stat: Path) -> float:
    """Seconds that this process's cores have worked since the machine started; 0 where no such file tells.

    Without niced programs, which give way. What other virtual machines take of the cores is not seen.
    """
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    niced_itself = os.nice(0) > 0
    ticks = 0
    for line in lines:
        name, *values = line.split()
        if name in mine:
            user, niced, system, _, _, interrupts, soft_interrupts = (int(value) for value in values[:7])
            ticks += user + system + interrupts + soft_interrupts + (niced if niced_itself else 0)
    return ticks / os.sysconf("SC_CLK_TCK")
