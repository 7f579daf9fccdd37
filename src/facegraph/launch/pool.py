"""Commands as processes, one per slot at a time, that all end when the pool does. Knows nothing of configurations."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from facegraph.machine import orphan
from facegraph.machine.environment import clean_environment
from facegraph.machine.slots import Slot

GRACE_SECONDS = 15.0
_POLL_SECONDS = 0.1
ATTEMPT = "===== attempt "
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Task:
    """A command to run.

    Args:
        key: unique name.
        command: program and arguments.
        folder: made before it starts.
        log: gets what it prints, after what is there.
        env: variables besides those of the pool.
    """

    key: str
    command: Sequence[str]
    folder: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Args:
        exit_code: negative: the signal that ended it; None: it could not be started.
        seconds: how long it ran.
        stopped: the pool was asked to end it.
        error: why it could not be started.
        elsewhere: another program has the task, and `error` says which.
        process: the number that it had.
    """

    exit_code: int | None
    seconds: float
    stopped: bool = False
    error: str = ""
    elsewhere: bool = False
    process: int | None = None


class Observer(Protocol):
    """What a pool tells while it runs; tick comes about ten times a second. A task elsewhere ends without a start."""

    def started(self, task: Task, slot: Slot) -> None: ...

    def ended(self, task: Task, outcome: Outcome) -> None: ...

    def stopping(self, signum: int) -> None: ...

    def tick(self) -> None: ...


@dataclass
class _Running:
    task: Task
    slot: Slot
    process: subprocess.Popen[bytes]
    since: float


class Pool:
    """Runs tasks on slots; a slot has one at a time, and a task that fails stops no other.

    On SIGINT (Ctrl-C), SIGTERM or SIGHUP nothing more is started, whatever slots become free, and every task gets a
    SIGTERM; what has not ended after the grace, or when a second signal comes, is killed. A task's further processes
    (of data loaders, of distributed training) are in its process group and are killed when it has ended: a signal to
    them first would look like a failure to it.

    Args:
        slots: where tasks run.
        grace: seconds from SIGTERM to SIGKILL.
        elsewhere: asked just before a task would start, which other program has it. Where one has, the task is not
            started and its log stays as it is.

    Attributes:
        stopped_by: the signal that asked the last run to stop, even where all tasks had ended by then; else None.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        grace: float = GRACE_SECONDS,
        elsewhere: Callable[[Task], str | None] = lambda task: None,
    ) -> None:
        self.slots = tuple(slots)
        self.grace = grace
        self._elsewhere = elsewhere
        self.stopped_by: int | None = None
        self._signals: list[int] = []
        self._deadline = 0.0

    def run(self, tasks: Sequence[Task], observer: Observer) -> dict[str, Outcome]:
        """Run all; returns when every process that was started has ended. Tasks that were not started are left out."""
        waiting, outcomes = deque(tasks), dict[str, Outcome]()
        running: dict[int, _Running] = {}
        self._signals.clear()
        self.stopped_by = None
        with _caught(self._signals), _pipe() as reading:
            try:
                while running or (waiting and self.stopped_by is None):
                    self._fill_slots(waiting, reading, running, outcomes, observer)
                    time.sleep(_POLL_SECONDS)
                    self._stop_if_asked(running, observer)
                    for index, ended in [(i, r) for i, r in running.items() if _has_ended(r.process)]:
                        del running[index]
                        outcomes[ended.task.key] = self._finish(ended)
                        observer.ended(ended.task, outcomes[ended.task.key])
                    observer.tick()
            finally:
                for left in running.values():  # an error of the pool or its observer
                    self._finish(left)
        if self.stopped_by is None and self._signals:  # since the last look: whoever called is to stop all the same
            self.stopped_by = self._signals[0]
        return outcomes

    @property
    def _asked_to_stop(self) -> bool:
        return self.stopped_by is not None or bool(self._signals)

    def _fill_slots(
        self,
        waiting: deque[Task],
        reading: int,
        running: dict[int, _Running],
        outcomes: dict[str, Outcome],
        observer: Observer,
    ) -> None:
        for slot in self.slots:
            if slot.index in running or not waiting or self._asked_to_stop:
                continue
            who = self._elsewhere(waiting[0])
            if self._asked_to_stop:  # while it looked
                return
            task = waiting.popleft()
            if who is None:
                outcome = self._start(task, slot, reading, running)
                observer.started(task, slot)
            else:
                outcome = Outcome(None, 0.0, error=who, elsewhere=True)
            if outcome is not None:
                outcomes[task.key] = outcome
                observer.ended(task, outcome)

    def _start(self, task: Task, slot: Slot, reading: int, running: dict[int, _Running]) -> Outcome | None:
        environment = {
            **clean_environment(os.environ),
            "PYTHONUNBUFFERED": "1",  # what a process printed is in the log even when it is killed
            **slot.environment(),
            **task.env,
            orphan.VARIABLE: str(reading),
        }
        try:
            task.folder.mkdir(parents=True, exist_ok=True)
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with task.log.open("ab") as log:
                log.write(_header(task, slot).encode())
                log.flush()
                process = subprocess.Popen(
                    list(task.command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    pass_fds=(reading,),
                )
        except OSError as error:
            return Outcome(None, 0.0, error=f"cannot start it: {error}")
        running[slot.index] = _Running(task, slot, process, time.monotonic())
        return None

    def _stop_if_asked(self, running: Mapping[int, _Running], observer: Observer) -> None:
        if self.stopped_by is None and self._signals:
            self.stopped_by = self._signals[0]
            self._signals.clear()  # a terminal and a program above may both pass on one Ctrl-C
            self._deadline = time.monotonic() + self.grace
            observer.stopping(self.stopped_by)
            for job in running.values():
                # not terminate(), which takes the exit code of one that has ended and so gives its number away
                os.kill(job.process.pid, signal.SIGTERM)
        elif self.stopped_by is not None and (self._signals or time.monotonic() > self._deadline):
            for job in running.values():
                _kill_group(job.process)

    def _finish(self, job: _Running) -> Outcome:
        """Kill what is left of a task's group, take its exit code and close its log."""
        _kill_group(job.process)  # before wait: until then nobody else can get the number of the group
        code = job.process.wait()
        stopped = self.stopped_by is not None and code != 0
        outcome = Outcome(code, time.monotonic() - job.since, stopped, process=job.process.pid)
        with suppress(OSError), job.task.log.open("ab") as log:
            log.write(f"===== exit code {code} after {outcome.seconds:.0f} s =====\n".encode())
        return outcome


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        # the process stays as it is (WNOWAIT), so that its number is not given away yet
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers so for a group of ended processes
        os.killpg(process.pid, signal.SIGKILL)


def _header(task: Task, slot: Slot) -> str:
    with suppress(OSError), task.log.open("rb") as log:
        earlier = sum(line.startswith(ATTEMPT.encode()) for line in log)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        line = "\n" if earlier else ""  # a process that was killed may have left half a line
        return f"{line}{ATTEMPT}{earlier + 1}, {now}, {slot.label} =====\n$ {shlex.join(task.command)}\n"
    return ""


@contextmanager
def _pipe() -> Iterator[int]:
    """The reading end of a pipe whose writing end is open while this process lives; see facegraph.machine.orphan."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def _caught(signals: list[int]) -> Iterator[None]:
    """Note signals that ask to stop, instead of what they do otherwise. What nohup ignores stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: dict[int, Any] = {}
    for signum in _STOPPING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            kept[signum] = signal.signal(signum, lambda number, frame: signals.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
