"""Whatever ends a launcher ends its jobs and their children: real processes, real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.processes import alive, wait_for

# a job with a child, as with data loaders or distributed training; its program is told apart by {on_term}
JOB = """
import os, pathlib, signal, subprocess, sys, time
{watch}
{on_term}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
path = pathlib.Path(sys.argv[1])
path.with_suffix(".part").write_text(f"{{os.getpid()}} {{child.pid}}")
path.with_suffix(".part").rename(path)
time.sleep(120)
"""
WATCH = "from facegraph.launch.orphan import end_with_parent; end_with_parent()"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
POLITE = "signal.signal(signal.SIGTERM, lambda *_: (print('tidied up', flush=True), sys.exit(0)))"

LAUNCHER = """
import json, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # the tests themselves may run where some are ignored
from pathlib import Path
from facegraph.launch.pool import Pool, Task
from facegraph.launch.slots import Slot

class Quiet:
    def started(self, task, slot): ...
    def ended(self, task, outcome): ...
    def stopping(self, signum): ...
    def tick(self): ...

folder, job, grace = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
tasks = [
    Task(str(i), [sys.executable, "-c", job, str(folder / f"pids{i}")], folder / str(i), folder / str(i) / "job.log")
    for i in range(3)
]
pool = Pool([Slot(0, None, 1), Slot(1, None, 1)], grace=grace)
outcomes = pool.run(tasks, Quiet())
print(json.dumps([pool.stopped_by, {k: [o.exit_code, o.stopped] for k, o in outcomes.items()}]))
"""


class Launched:
    """A launcher in a process of its own with two jobs running and one waiting."""

    def __init__(self, folder: Path, on_term: str, watch: str = "", grace: float = 30.0) -> None:
        self.folder = folder
        job = JOB.format(on_term=on_term, watch=watch)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(folder), job, str(grace)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        files = [folder / "pids0", folder / "pids1"]
        assert wait_for(lambda: all(file.exists() for file in files), 20)
        self.numbers = [int(number) for file in files for number in file.read_text().split()]
        assert all(alive(number) for number in self.numbers)

    def ended(self, seconds: float) -> bool:
        return wait_for(lambda: not any(alive(number) for number in self.numbers), seconds)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_jobs_tidy_up_and_starts_no_more(tmp_path: Path, signum: signal.Signals) -> None:
    launched = Launched(tmp_path, POLITE)
    launched.process.send_signal(signum)
    output = launched.process.communicate(timeout=10)[0]
    # a job that got through in time is not counted as stopped
    assert json.loads(output) == [signum, {"0": [0, False], "1": [0, False]}]
    assert launched.ended(2)
    assert "tidied up" in (tmp_path / "0" / "job.log").read_text()
    assert not (tmp_path / "2").exists()


def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN, grace=0.5)
    launched.process.send_signal(signal.SIGINT)
    output = launched.process.communicate(timeout=10)[0]
    assert json.loads(output) == [signal.SIGINT, {"0": [-9, True], "1": [-9, True]}]
    assert launched.ended(2)


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN, grace=60)
    launched.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert all(alive(number) for number in launched.numbers)
    launched.process.send_signal(signal.SIGINT)
    launched.process.communicate(timeout=5)
    assert launched.ended(2)


def test_jobs_and_their_children_end_with_a_killed_launcher(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN, watch=WATCH)
    launched.process.kill()
    assert launched.ended(3)


def test_a_launcher_killed_before_its_job_watches_is_noticed_all_the_same(tmp_path: Path) -> None:
    late = f"time.sleep(1.5)\n{WATCH}"
    begun = f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()"
    job = JOB.format(on_term=begun, watch="").replace(begun, f"{begun}\n{late}\ntime.sleep(0.5)")
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), job, "30"], stdout=subprocess.DEVNULL, start_new_session=True
    )
    assert wait_for((tmp_path / "begun").exists, 20)
    launcher.kill()
    launcher.wait()
    time.sleep(3)
    assert not (tmp_path / "pids0").exists(), "the job went on without its launcher"


def test_a_process_that_no_launcher_started_watches_nothing() -> None:
    code = "from facegraph.launch.orphan import end_with_parent; end_with_parent(); end_with_parent(); print('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "on\n"
