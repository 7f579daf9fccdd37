"""Processes on slots, with tiny programs as jobs."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from facegraph.launch.pool import Outcome, Pool, Task
from facegraph.machine.slots import Slot
from tests.helpers.processes import PATIENCE, alive, wait_for

# prints its GPU; the first two end only when both have begun
TOGETHER = """
import os, pathlib, sys, time
folder = pathlib.Path({folder!r})
(folder / "begun{number}").touch()
while {number} < 2 and not all((folder / f"begun{{i}}").exists() for i in range(2)):
    time.sleep(0.01)
print(os.environ["CUDA_VISIBLE_DEVICES"])
"""
# ends on SIGTERM, or does not; says when it is ready for one
ENDING = "import pathlib, signal, time; pathlib.Path({ready!r}).touch(); time.sleep(300)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ENDING


class Events:
    """An observer that remembers. places: of the tasks that run; most: that ran at once."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.places: dict[str, Slot] = {}
        self.most = 0

    def started(self, task: Task, slot: Slot) -> None:
        assert slot not in self.places.values()
        self.places[task.key] = slot
        self.most = max(self.most, len(self.places))
        self.seen.append(("started", task.key))

    def ended(self, task: Task, outcome: Outcome) -> None:
        self.places.pop(task.key, None)
        self.seen.append(("ended", task.key))

    def stopping(self, signum: int) -> None:
        self.seen.append(("stopping", str(signum)))

    def tick(self) -> None: ...


def python(folder: Path, key: str, code: str, env: Mapping[str, str] | None = None) -> Task:
    return Task(key, [sys.executable, "-c", code], folder / key, folder / key / "job.log", env or {})


def printed(task: Task) -> list[str]:
    """What the last attempt printed."""
    lines = task.log.read_text().splitlines()
    return lines[max(i for i, line in enumerate(lines) if line.startswith("$ ")) + 1 : -1]


def slots(count: int) -> list[Slot]:
    return [Slot(index, (str(index),), 1) for index in range(count)]


def test_as_many_jobs_at_once_as_slots_each_with_its_own_gpu(tmp_path: Path) -> None:
    tasks = [python(tmp_path, f"job{i}", TOGETHER.format(folder=str(tmp_path), number=i)) for i in range(5)]
    events = Events()
    outcomes = Pool(slots(2)).run(tasks, events)
    assert {key: outcome.exit_code for key, outcome in outcomes.items()} == {task.key: 0 for task in tasks}
    assert [printed(task)[-1] for task in tasks[:2]] == ["0", "1"]
    assert {printed(task)[-1] for task in tasks[2:]} <= {"0", "1"}
    assert events.most == 2
    assert [key for event, key in events.seen if event == "started"] == [task.key for task in tasks]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """The tests themselves may run where Ctrl-C is ignored, and the pool leaves that as it is."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.mark.usefixtures("interruptible")
def test_a_slot_that_becomes_free_while_stopping_starts_nothing(tmp_path: Path) -> None:
    """One job ends at once when asked, the other only when it is killed, several looks of the pool later."""
    ready = [tmp_path / "ready0", tmp_path / "ready1"]
    codes = [ENDING.format(ready=str(ready[0])), STUBBORN.format(ready=str(ready[1])), "print('on')"]
    tasks = [python(tmp_path, f"job{i}", code) for i, code in enumerate(codes)]

    class Impatient(Events):
        looks = 0

        def tick(self) -> None:
            first_ended = ("ended", "job0") in self.seen
            self.looks += first_ended
            asked = ("stopping", str(int(signal.SIGINT))) in self.seen
            if (not asked and all(path.exists() for path in ready)) or self.looks == 3:
                signal.raise_signal(signal.SIGINT)

    events = Impatient()
    pool = Pool(slots(2), grace=600.0)
    outcomes = pool.run(tasks, events)
    assert pool.stopped_by == signal.SIGINT
    assert {key: (outcome.exit_code, outcome.stopped) for key, outcome in outcomes.items()} == {
        "job0": (-signal.SIGTERM, True),
        "job1": (-signal.SIGKILL, True),
    }
    assert ("started", "job2") not in events.seen
    assert not tasks[2].folder.exists()


@pytest.mark.usefixtures("interruptible")
def test_a_signal_just_before_a_start_or_after_the_last_end_counts(tmp_path: Path) -> None:
    def asked(task: Task) -> None:
        signal.raise_signal(signal.SIGINT)

    task, events = python(tmp_path, "job", "print('on')"), Events()
    pool = Pool(slots(1), elsewhere=asked)
    assert pool.run([task], events) == {}
    assert pool.stopped_by == signal.SIGINT
    assert not task.folder.exists()

    class Late(Events):
        def ended(self, task: Task, outcome: Outcome) -> None:
            signal.raise_signal(signal.SIGINT)

    pool = Pool(slots(1))
    assert pool.run([task], Late())["job"].exit_code == 0
    assert pool.stopped_by == signal.SIGINT, "its caller may have more to run"
    assert pool.run([task], Events())["job"].exit_code == 0
    assert pool.stopped_by is None


def test_a_failing_job_stops_no_other(tmp_path: Path) -> None:
    tasks = [
        python(tmp_path, "fails", "raise SystemExit(3)"),
        Task("absent", [str(tmp_path / "no program")], tmp_path / "absent", tmp_path / "absent/job.log"),
        python(tmp_path, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        python(tmp_path, "works", "print('fine')"),
    ]
    outcomes = Pool(slots(1)).run(tasks, Events())
    assert [outcomes[task.key].exit_code for task in tasks] == [3, None, -9, 0]
    assert "no program" in outcomes["absent"].error
    assert printed(tasks[3]) == ["fine"]
    assert not any(outcome.stopped for outcome in outcomes.values())


def test_every_attempt_is_added_to_the_log_with_a_header(tmp_path: Path) -> None:
    task = python(tmp_path, "job", "import sys; sys.stdout.write('half a line'); sys.stderr.write(' and more')")
    for _ in range(2):
        Pool(slots(1)).run([task], Events())
    text = task.log.read_text()
    headers = [line for line in text.splitlines() if line.startswith("===== attempt ")]
    assert [header.split(",")[0] for header in headers] == ["===== attempt 1", "===== attempt 2"]
    assert all("gpu 0" in header for header in headers)
    assert text.count("half a line and more") == 2
    assert text.count(f"$ {sys.executable} -c ") == 2
    assert text.count("exit code 0 after") == 2


def test_a_job_is_a_program_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS",
        "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "FACEGRAPH_OUTPUT_DIR", "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
    }  # fmt: skip
    for name in foreign:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("KEPT", "yes")
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read(), os.getpgrp() == os.getpid()]))"
    task = python(tmp_path, "job", code, env={"ADDED": "too"})
    Pool([Slot(0, None, 3)]).run([task], Events())
    environment, stdin, leads_its_group = json.loads(printed(task)[0])
    assert not foreign & set(environment)
    assert environment["KEPT"] == "yes"
    assert environment["ADDED"] == "too"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == "3"
    assert stdin == ""
    assert leads_its_group


def test_processes_that_a_job_leaves_behind_end_with_it(tmp_path: Path) -> None:
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(child.pid)
raise SystemExit(1)
"""
    task = python(tmp_path, "job", code)
    Pool(slots(1)).run([task], Events())
    lines = task.log.read_text().splitlines()
    child = int(next(line for line in lines if line.isdigit()))
    assert wait_for(lambda: not alive(child), PATIENCE / 2), "it lives for twice as long"


def test_an_error_of_the_observer_leaves_no_job_behind(tmp_path: Path) -> None:
    task = python(tmp_path, "job", "import os, time; print(os.getpid()); time.sleep(60)")

    class Broken(Events):
        def tick(self) -> None:
            if len(task.log.read_text().splitlines()) > 2:
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Pool(slots(1)).run([task], Broken())
    assert not alive(int(printed(task)[0]))
