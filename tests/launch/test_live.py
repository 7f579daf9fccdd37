"""What is shown of jobs that run: lines, tables, estimates. Time is made, not waited for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from facegraph.launch import live
from facegraph.launch.live import (
    Board,
    Watched,
    clock,
    job_table,
    print_summary,
    visible,
    watching,
)
from facegraph.launch.pool import Outcome, Task
from facegraph.machine.slots import Slot
from facegraph.sweeps.status import (
    DONE,
    ELSEWHERE,
    FAILED,
    QUEUED,
    RUNNING,
    STOPPED,
    Failure,
    Progress,
    write_failure,
    write_progress,
)

GPU = Slot(0, ("3",), 1)


class Clock:
    """A clock to set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time_is(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live.time, "monotonic", made)
    return made


def watched(folder: Path, count: int) -> list[Watched]:
    names = [f"k{number} seed 0" for number in range(count)]
    return [Watched(name, name, folder / name, folder / name / "job.log") for name in names]


def task(job: Watched) -> Task:
    return Task(job.key, ["true"], job.folder, job.log)


def test_without_a_terminal_a_plain_line_for_each_change(tmp_path: Path, time_is: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, width=40)
    jobs = watched(tmp_path, 3)
    with watching(jobs, 1, console) as board:
        board.started(task(jobs[0]), GPU)
        write_progress(jobs[0].folder, Progress(4, 12, 0.0521))
        for _ in range(50):
            time_is.now += 1
            board.tick()
        board.ended(task(jobs[0]), Outcome(0, 50.0))
        board.started(task(jobs[1]), GPU)
        write_failure(jobs[1].folder, Failure("data", "no [bold]image[/bold] in a.png\nsecond line"))
        board.ended(task(jobs[1]), Outcome(1, 3.0))
        board.started(task(jobs[2]), GPU)
        board.ended(task(jobs[2]), Outcome(-15, 2.0, stopped=True))
    lines = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        "running  k0 seed 0  on gpu 3",
        "done     k0 seed 0  after 0:00:50, val NME 5.21 %",
        "running  k1 seed 0  on gpu 3",
        f"failed   k1 seed 0  after 0:00:03: data: no [bold]image[/bold] in a.png  [{jobs[1].log}]",
        "running  k2 seed 0  on gpu 3",
        "stopped  k2 seed 0  after 0:00:02",
    ]
    assert "\x1b" not in out.getvalue()


def test_a_job_without_a_message_fails_by_its_exit_code(tmp_path: Path) -> None:
    jobs = watched(tmp_path, 2)
    board = Board(jobs, 1, lambda job: None)
    board.started(task(jobs[0]), GPU)
    board.ended(task(jobs[0]), Outcome(7, 1.0))
    board.ended(task(jobs[1]), Outcome(None, 0.0, error="cannot start it: disk full"))
    assert [job.state for job in jobs] == [FAILED, FAILED]
    assert [job.reason for job in jobs] == ["error: exit code 7", "error: cannot start it: disk full"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_job_that_another_program_has_is_no_failure(tmp_path: Path, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal)
    jobs = watched(tmp_path, 2)
    with watching(jobs, 1, console) as board:
        board.ended(task(jobs[0]), Outcome(None, 0.0, error="process 7 works on it", elsewhere=True))
    print_summary(console, board)
    assert (jobs[0].state, jobs[0].failure) == (ELSEWHERE, None)
    assert board.count() == {ELSEWHERE: 1, QUEUED: 1}
    assert "process 7 works on it" in out.getvalue()
    assert "1 elsewhere, 1 queued" in out.getvalue()
    assert "failed" not in out.getvalue()


def test_estimate_of_the_time_left(tmp_path: Path, time_is: Clock) -> None:
    jobs = watched(tmp_path, 4)
    board = Board(jobs, 2, lambda job: None)
    assert board.seconds_left() is None
    for job in jobs[:2]:
        board.started(task(job), GPU)
    time_is.now += 100
    board.ended(task(jobs[0]), Outcome(0, 100.0))
    # the second has its half behind it and 100 s to go; two more of 150 s on average: 400 s on two slots
    write_progress(jobs[1].folder, Progress(5, 10, None))
    board.tick()
    assert board.seconds_left() == pytest.approx(200)
    board.started(task(jobs[2]), GPU)
    board.ended(task(jobs[2]), Outcome(0, 150.0))
    board.started(task(jobs[3]), GPU)
    board.ended(task(jobs[3]), Outcome(0, 150.0))
    assert board.seconds_left() == pytest.approx(100), "never less than the slowest job needs"


def test_a_resumed_job_is_judged_by_what_it_does_now(tmp_path: Path, time_is: Clock) -> None:
    jobs = watched(tmp_path, 1)
    board = Board(jobs, 1, lambda job: None)
    write_progress(jobs[0].folder, Progress(8, 10, None))
    board.started(task(jobs[0]), GPU)
    time_is.now += 30
    write_progress(jobs[0].folder, Progress(9, 10, None))
    board.tick()
    assert board.seconds_left() == pytest.approx(30)


@given(
    states=st.lists(st.sampled_from([QUEUED, RUNNING, DONE, FAILED, STOPPED, ELSEWHERE]), min_size=1, max_size=120),
    height=st.integers(5, 60),
)
def test_the_table_is_never_higher_than_the_screen(states: list[str], height: int) -> None:
    jobs = watched(Path("none"), len(states))
    for job, state in zip(jobs, states, strict=True):
        job.state = state
        job.failure = Failure("error", "a reason " * 40) if state == FAILED else None
    out = io.StringIO()
    console = Console(file=out, width=70, height=height, force_terminal=True)
    console.print(job_table(Board(jobs, 2, lambda job: None), height))
    assert len(out.getvalue().splitlines()) < max(height, live._FRAME_LINES + 1)


def test_a_long_message_leaves_room_for_the_jobs() -> None:
    jobs = watched(Path("none"), 2)
    jobs[0].state, jobs[0].failure = FAILED, Failure("out of memory", "a reason " * 40)
    jobs[1].state, jobs[1].slot, jobs[1].progress = RUNNING, "gpu 2,3", Progress(5, 12, 0.0612)
    out = io.StringIO()
    Console(file=out, width=80).print(job_table(Board(jobs, 2, lambda job: None), 24))
    for text in ("k0 seed 0", "failed: out of memory", "k1 seed 0", "running", "5/12", "6.12", "gpu 2,3"):
        assert text in out.getvalue()


def test_done_jobs_are_the_first_to_be_hidden() -> None:
    jobs = watched(Path("none"), 6)
    for job, state in zip(jobs, [DONE, DONE, FAILED, RUNNING, QUEUED, QUEUED], strict=True):
        job.state = state
    jobs[0].since, jobs[1].since = 10.0, 5.0
    shown, hidden = visible(jobs, 4)
    assert [job.state for job in shown] == [FAILED, RUNNING, QUEUED, QUEUED]
    assert hidden == {DONE: 2}
    shown, hidden = visible(jobs, 5)
    assert shown[0] is jobs[0], "the one that ended last stays longest"
    assert visible(jobs, 6)[1] == {}


def test_on_a_terminal_a_table_follows_the_jobs(tmp_path: Path, time_is: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=20)
    jobs = watched(tmp_path, 2)
    with watching(jobs, 1, console) as board:
        board.started(task(jobs[0]), GPU)
        write_progress(jobs[0].folder, Progress(4, 12, 0.0521))
        board.tick()
        drawn = out.getvalue()
        assert "4/12" in drawn
        assert "5.21" in drawn
        assert "gpu 3" in drawn
        board.ended(task(jobs[0]), Outcome(0, 61.0))
        write_failure(jobs[1].folder, Failure("out of memory", "too much"))
        board.ended(task(jobs[1]), Outcome(1, 1.0))
    print_summary(console, board)
    summary = out.getvalue()[len(drawn) :]
    assert "out of memory: too much" in summary
    assert "0:01:01" in summary


def test_clock() -> None:
    assert [clock(s) for s in (0.4, 59.6, 3600, 360000)] == ["0:00:00", "0:01:00", "1:00:00", "100:00:00"]
