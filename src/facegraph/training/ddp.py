"""Several processes of one run on one machine that start together and end together.

Lightning's own launcher ends the first process by SIGKILL, without a word, when another one died, and leaves the others
running when the first one dies.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins import ClusterEnvironment
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import SIGTERMException

from facegraph.errors import ConfigError, ProcessError
from facegraph.records.overrides import for_shell
from facegraph.sweeps.failures import signal_of_exit

_POLL = 0.2
_LAST_WORDS = 3.0
"""Seconds for a process to end by itself once its run is over."""
_STUCK = 15.0
"""Seconds after which a process that waits for a dead one (in NCCL it would for minutes) is ended."""
_STARTED_BY = "FACEGRAPH_STARTED_BY"
# how gloo, NCCL and the store at the start call an exchange that took too long
_TIMED_OUT = ("timed out", "wait timeout")


class WatchedDDP(DDPStrategy):
    """Lightning's DDP, of which no process outlives another by more than some seconds.

    A process that ends with an error prints it; the first process then raises ProcessError with its rank and exit code,
    or ends with the same exit code where it hangs. Nothing is left running when the first process ends, however. On
    machines where something else starts the processes (Slurm, torchrun), that must end them; there timeout_minutes is
    the limit for a process that waits for a dead one.

    Args:
        timeout_minutes: longest wait of one process for the others, at the start and at each exchange.
        find_unused_parameters: for a model of which parts get no gradient.

    Raises:
        ConfigError: timeout_minutes not above 0.
    """

    def __init__(self, timeout_minutes: float = 10.0, find_unused_parameters: bool = False) -> None:
        if not timeout_minutes > 0:
            raise ConfigError(f"trainer.strategy.timeout_minutes={timeout_minutes} must be above 0; 10 is usual.")
        self.timeout_minutes = timeout_minutes
        super().__init__(timeout=timedelta(minutes=timeout_minutes), find_unused_parameters=find_unused_parameters)

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = WatchingLauncher(
            self.cluster_environment, self.num_processes, self.num_nodes, self.timeout_minutes
        )


class WatchingLauncher(_SubprocessScriptLauncher):
    """Starts one process per further device with this process's command, and sees to it that all end together."""

    def __init__(
        self, cluster_environment: ClusterEnvironment, num_processes: int, num_nodes: int, timeout_minutes: float
    ) -> None:
        super().__init__(cluster_environment, num_processes, num_nodes)
        self._timeout_minutes = timeout_minutes
        self._again = ""  # what goes on with the run
        self._watched = False
        self._bound = threading.Event()  # while this process depends on the others; after an error as well

    def launch(self, function: Callable, *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if trainer is not None:
            self._again = f" Continue from the last checkpoint with {for_shell('resume', trainer.default_root_dir)}."
        if not self.cluster_environment.creates_processes_externally:
            with _named_as_parent():
                self._call_children_scripts()
            atexit.register(self._end_children)
            _in_background(lambda: _leave_with(self.procs, self._bound, self._again))
        elif not self._watched and _STARTED_BY in os.environ:
            _in_background(_leave_with_parent)
        self._watched = True
        _set_num_threads_if_needed(num_processes=self.num_processes)
        self._bound.set()
        try:
            result = function(*args, **kwargs)
        except RuntimeError as error:
            # a peer that is gone shows as some RuntimeError of the exchange; one that is still going shows by then
            dead = _first_failure(self.procs, patience=_LAST_WORDS)
            if dead is not None:
                raise _process_error(*dead, self._again) from error
            if any(words in str(error).lower() for words in _TIMED_OUT):
                raise ProcessError(
                    f"another process of the run gave no sign for {self._timeout_minutes:g} minutes, "
                    "trainer.strategy.timeout_minutes: it is stopped (state T in top), or far slower than this one."
                    f"{self._again}"
                ) from error
            raise
        self._bound.clear()
        return result

    def kill(self, signum: int) -> None:
        """Pass a signal on, and end at once by one that ends the run.

        Lightning would end after the step, and until then exchange word of the signal with processes that are in the
        middle of other exchanges, where all wait for ever. Nothing is lost: the last checkpoint is on the disk.

        Raises:
            SIGTERMException: the signal is SIGTERM, whose handler calls this.
        """
        super().kill(signum)
        if signum == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked twice, by its group and by the first process
            _in_background(lambda: _leave_after(_STUCK, 128 + signum, f"ended by SIGTERM.{self._again}"))
            raise SIGTERMException

    def _end_children(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS
        while time.monotonic() < deadline and any(process.poll() is None for process in self.procs):
            time.sleep(_POLL / 4)
        for process in self.procs:
            if process.poll() is None:
                process.kill()
                process.wait()


def _in_background(task: Callable[[], None]) -> None:
    threading.Thread(target=task, daemon=True, name="facegraph-processes").start()


@contextmanager
def _named_as_parent() -> Iterator[None]:
    """Tell the processes started here whose they are, and nobody that they start."""
    os.environ[_STARTED_BY] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[_STARTED_BY]


def _first_failure(processes: Sequence[subprocess.Popen], patience: float = 0.0) -> tuple[int, int, int] | None:
    """Rank, process id and exit code of a process that ended with an error; waits up to `patience` seconds for one."""
    deadline = time.monotonic() + patience
    while processes:
        for rank, process in enumerate(processes, start=1):
            if process.poll():
                return rank, process.pid, process.returncode
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL / 4)
    return None


def _process_error(rank: int, pid: int, code: int, again: str) -> ProcessError:
    if code < 0:
        return ProcessError(
            f"process {pid} of rank {rank} was ended by {signal_of_exit(code, ', so the whole run ends')}{again}"
        )
    return ProcessError(
        f"process {pid} of rank {rank} ended with exit code {code}, so the whole run ends; what it said is above."
        f"{again}"
    )


def _leave_with(processes: Sequence[subprocess.Popen], bound: threading.Event, again: str) -> None:
    """End this process if one of those it started failed and it does not end by itself, as in a stuck exchange.

    bound: set while this process exchanges tensors with the others; only then can a dead one make it hang. again: how
    to go on, for the message.
    """
    while any(process.poll() is None for process in processes) and _first_failure(processes) is None:
        time.sleep(_POLL)
    dead = _first_failure(processes)
    if dead is None:
        return
    free = time.monotonic()
    while time.monotonic() - free < _STUCK:
        time.sleep(_POLL)
        if not bound.is_set():
            free = time.monotonic()
    print(f"error: {_process_error(*dead, again)}", file=sys.stderr, flush=True)
    for process in processes:
        if process.poll() is None:
            process.kill()
    _leave_after(0.0, dead[2])


def _leave_with_parent() -> None:
    """End this process some seconds after the one that started it, which may have had no time to do so."""
    parent = os.environ.pop(_STARTED_BY)
    while str(os.getppid()) == parent:
        time.sleep(_POLL)
    _leave_after(_LAST_WORDS, 1)


def _leave_after(seconds: float, code: int, words: str = "") -> None:
    """Leave without Python's farewell, which would wait for the other processes; a negative code is a signal's."""
    time.sleep(seconds)
    if words:
        print(words, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # who reads them may be gone
            stream.flush()
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)
