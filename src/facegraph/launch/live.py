"""Jobs as they are watched: what state each is in, how long the rest takes, and how that is shown."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from facegraph.launch.plan import PlannedJob
from facegraph.launch.pool import Outcome, Task
from facegraph.machine.slots import Slot
from facegraph.sweeps.failures import OTHER
from facegraph.sweeps.status import (
    DONE,
    ELSEWHERE,
    FAILED,
    LOG_FILE,
    QUEUED,
    RUNNING,
    STOPPED,
    Failure,
    Progress,
    State,
    read_failure,
    read_progress,
)

_COLOURS = {QUEUED: "dim", RUNNING: "cyan", DONE: "green", FAILED: "bold red", STOPPED: "yellow", ELSEWHERE: "yellow"}
# which jobs keep their line when a screen is too low for all
_IMPORTANCE = (FAILED, RUNNING, STOPPED, ELSEWHERE, QUEUED, DONE)
_COUNTED = (DONE, FAILED, STOPPED, ELSEWHERE, RUNNING, QUEUED)
_REFRESH_SECONDS = 1.0
_FRAME_LINES = 10  # of a table besides its jobs: title and what is hidden in two lines each, head, rules, the cursor


@dataclass
class Watched:
    """What is shown of one job.

    Args:
        key: of its task.
        label: its name for the user.
        folder: of the job.
        log: what its process prints.
        state: QUEUED, RUNNING, DONE, FAILED, STOPPED or ELSEWHERE.
        slot: where it runs, in words.
        since: when it was started, by the monotonic clock.
        seconds: how long it ran, once it ended.
        progress: as last read from its folder.
        begun: share of it that was done when it was started.
        failure: why it failed.
        who: what has it, where it is elsewhere.
    """

    key: str
    label: str
    folder: Path
    log: Path
    state: State = QUEUED
    slot: str = ""
    since: float = 0.0
    seconds: float = 0.0
    progress: Progress | None = None
    begun: float = 0.0
    failure: Failure | None = None
    who: str = ""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.since if self.state == RUNNING else self.seconds

    @property
    def nme(self) -> str:
        """Validation NME in per cent."""
        known = self.progress is not None and self.progress.val_nme is not None
        return f"{100 * self.progress.val_nme:.2f}" if known else ""  # type: ignore[union-attr, operator]

    @property
    def epoch(self) -> str:
        return f"{self.progress.epoch}/{self.progress.epochs}" if self.progress else ""

    @property
    def reason(self) -> str:
        """Kind and first line of the message, of a job that failed; who has one that is elsewhere."""
        return f"{self.failure.kind}: {self.failure.headline}" if self.failure else self.who

    def begin(self) -> None:
        """It runs from now on, maybe not for the first time."""
        self.state, self.since, self.progress = RUNNING, time.monotonic(), read_progress(self.folder)
        self.begun = min(_share(self.progress), 0.99)

    def whole_seconds(self) -> float | None:
        """How long the whole job takes, judged by what it did in this run; None: not known yet."""
        done = (1.0 if self.state == DONE else _share(self.progress)) - self.begun
        return self.elapsed / done if done > 0 and self.state in (DONE, RUNNING) else None


@dataclass(frozen=True)
class Stop:
    """What ended a launch before its jobs.

    Args:
        signal: that asked for it.
        message: what became of the jobs, up to the command that goes on with them.
    """

    signal: signal.Signals
    message: str


@dataclass
class Board:
    """What a pool tells, kept per job.

    Args:
        jobs: in the order in which they are shown.
        slots: number of jobs that run at once.
        tell: gets every change of a state.
        refresh: called about every second.
        began: when the launch began, by the monotonic clock.
    """

    jobs: Sequence[Watched]
    slots: int
    tell: Callable[[Watched], None]
    refresh: Callable[[Board], None] = lambda board: None
    began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    def started(self, task: Task, slot: Slot) -> None:
        job = self._job(task)
        job.slot = slot.label
        job.begin()
        self.tell(job)

    def ended(self, task: Task, outcome: Outcome, failure: Failure | None = None) -> None:
        """Note how a job ended.

        Args:
            task: the job's.
            outcome: of its process.
            failure: why it failed, where the job's folder may not say it.
        """
        job = self._job(task)
        job.seconds, job.progress = outcome.seconds, read_progress(job.folder)
        if outcome.elsewhere:
            job.state, job.who = ELSEWHERE, outcome.error
        elif outcome.stopped:
            job.state = STOPPED
        else:
            job.failure = read_failure(job.folder) or failure
            if job.failure is None and outcome.exit_code != 0:
                job.failure = Failure(OTHER, outcome.error or f"exit code {outcome.exit_code}")
            job.state = DONE if job.failure is None else FAILED
        self.tell(job)

    def stopping(self, signum: int) -> None:
        self._shown = 0.0

    def tick(self) -> None:
        if time.monotonic() - self._shown < _REFRESH_SECONDS:
            return
        self._shown = time.monotonic()
        for job in self.jobs:
            if job.state == RUNNING:
                job.progress = read_progress(job.folder) or job.progress
        self.refresh(self)

    def count(self) -> Counter[State]:
        return Counter(job.state for job in self.jobs)

    def seconds_left(self) -> float | None:
        """Until all jobs have ended, if those to come take as long as the others on average; None: not known yet."""
        known = [seconds for job in self.jobs if (seconds := job.whole_seconds()) is not None]
        if not known:
            return None
        mean = sum(known) / len(known)
        running = [self._rest(job, mean) for job in self.jobs if job.state == RUNNING]
        work = sum(running) + mean * self.count()[QUEUED]
        return max([work / max(1, min(self.slots, len(self.jobs))), *running])

    def headline(self) -> str:
        counts = self.count()
        parts = [f"{counts[state]} {state}" for state in _COUNTED if counts[state]]
        left = self.seconds_left() if counts[RUNNING] else None
        estimate = "" if left is None else f", about {clock(left)} left"
        return f"{', '.join(parts)}; {clock(time.monotonic() - self.began)}{estimate}"

    def _job(self, task: Task) -> Watched:
        return next(job for job in self.jobs if job.key == task.key)

    @staticmethod
    def _rest(job: Watched, mean: float) -> float:
        """By its own speed, or by that of the others before it has one."""
        whole = job.whole_seconds()
        return max(0.0, (mean if whole is None else whole) * (1 - job.begun) - job.elapsed)


def watched_jobs(sweep: Path, jobs: Sequence[PlannedJob]) -> list[Watched]:
    """Jobs of a sweep's folder as they are shown; with the table in front where there are several."""
    several = len({job.table for job in jobs}) > 1
    watched = []
    for job in jobs:
        folder = job.job.folder(sweep)
        label = f"{f'{job.table} ' if several else ''}{job.job.row} seed {job.job.seed}"
        watched.append(Watched(str(folder), label, folder, folder / LOG_FILE))
    return watched


@contextmanager
def watching(jobs: Sequence[Watched], slots: int, console: Console) -> Iterator[Board]:
    """A board of jobs: on a terminal a table that follows them, elsewhere a plain line for each change of a state."""
    if not console.is_terminal:
        yield Board(jobs, slots, lambda job: print_line(console, job))
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def refresh(board: Board) -> None:
            live.update(job_table(board, console.height), refresh=True)

        yield Board(jobs, slots, lambda job: None, refresh)


def print_line(console: Console, job: Watched) -> None:
    """State of a job as one line of plain text."""
    parts = {
        RUNNING: f"on {job.slot}" + (f", from epoch {job.epoch} on" if job.begun else ""),
        DONE: f"after {clock(job.seconds)}" + (f", val NME {job.nme} %" if job.nme else ""),
        STOPPED: f"after {clock(job.seconds)}" + (f", epoch {job.epoch}" if job.epoch else ""),
        FAILED: f"after {clock(job.seconds)}: {job.reason}  [{job.log}]",
        ELSEWHERE: job.reason,
    }
    text = f"{datetime.now():%H:%M:%S}  {job.state:<8} {job.label}  {parts.get(job.state, '')}"
    console.print(text.rstrip(), markup=False, highlight=False, soft_wrap=True)


def job_table(board: Board, height: int) -> Table:
    """Table of the jobs that fit on a screen of `height` lines; the others are counted."""
    shown, hidden = visible(board.jobs, max(1, height - _FRAME_LINES))
    caption = "not shown: " + ", ".join(f"{n} {state}" for state, n in hidden.items()) if hidden else None
    table = Table(title=board.headline(), caption=caption, title_justify="left", caption_justify="left")
    for name in ("job", "state", "epoch", "val NME %", "on", "time"):
        right = name in ("epoch", "val NME %", "time")
        table.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for job in shown:
        time_text = clock(job.elapsed) if job.state not in (QUEUED, ELSEWHERE) else ""
        # the message would leave no room for the rest; the summary has it
        state = Text(f"{job.state}: {job.failure.kind}" if job.failure else job.state, _COLOURS[job.state])
        table.add_row(Text(job.label), state, job.epoch, job.nme, job.slot, time_text)
    return table


def visible(jobs: Sequence[Watched], limit: int) -> tuple[list[Watched], Counter[State]]:
    """The jobs to show, in their order, and how many of each state are left out. Done ones go first, oldest first."""
    order = sorted(range(len(jobs)), key=lambda i: (_IMPORTANCE.index(jobs[i].state), _newest(jobs[i]), i))
    kept = set(order[:limit])
    return [jobs[i] for i in sorted(kept)], Counter(jobs[i].state for i in order[limit:])


def print_summary(console: Console, board: Board) -> None:
    """All jobs at the end of a launch; those that failed with the reason and the path of their log."""
    if console.is_terminal:
        table = Table(title=board.headline(), title_justify="left")
        for name in ("job", "state", "time", "val NME %"):
            table.add_column(name, justify="right" if name in ("time", "val NME %") else "left")
        table.add_column("why", overflow="fold")
        for job in board.jobs:
            why = Text(f"{job.reason}\n{job.log}" if job.failure else job.reason)
            time_text = clock(job.seconds) if job.state not in (QUEUED, ELSEWHERE) else ""
            table.add_row(Text(job.label), Text(job.state, _COLOURS[job.state]), time_text, job.nme, why)
        console.print(table)
        return
    console.print(board.headline(), markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725.4)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _newest(job: Watched) -> float:
    return -(job.since + job.seconds) if job.state == DONE else 0.0


def _share(progress: Progress | None) -> float:
    return 0.0 if progress is None else progress.share
