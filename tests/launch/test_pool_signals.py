"""Whatever ends a launcher ends its jobs and their children: real processes, real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import PATIENCE, alive, wait_for

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
WATCH = "from facegraph.machine.orphan import end_with_parent; end_with_parent()"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
POLITE = "signal.signal(signal.SIGTERM, lambda *_: (print('tidied up', flush=True), sys.exit(0)))"

LAUNCHER = """
import json, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # the tests themselves may run where some are ignored
from pathlib import Path
from facegraph.launch.pool import Pool, Task
from facegraph.machine.slots import Slot

class Quiet:
    def started(self, task, slot): ...
    def ended(self, task, outcome): ...
    def stopping(self, signum): (folder / "stopping").touch()
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

    def __init__(self, folder: Path, on_term: str, watch: str = "", grace: float = 600.0) -> None:
        self.folder = folder
        job = JOB.format(on_term=on_term, watch=watch)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(folder), job, str(grace)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        files = [folder / "pids0", folder / "pids1"]
        assert wait_for(lambda: all(file.exists() for file in files))
        self.numbers = [int(number) for file in files for number in file.read_text().split()]
        assert all(alive(number) for number in self.numbers)

    def printed(self) -> list[Any]:
        """The signal that stopped it, and exit code and whether it was stopped of each job."""
        return list(json.loads(self.process.communicate(timeout=PATIENCE)[0]))

    def stop(self, signum: signal.Signals) -> None:
        """Send a signal, and return when the launcher has heard of it."""
        self.process.send_signal(signum)
        assert wait_for((self.folder / "stopping").exists)

    def jobs_end(self) -> bool:
        return wait_for(lambda: not any(alive(number) for number in self.numbers))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_jobs_tidy_up_and_starts_no_more(tmp_path: Path, signum: signal.Signals) -> None:
    launched = Launched(tmp_path, POLITE)
    launched.stop(signum)
    # a job that got through in time is not counted as stopped
    assert launched.printed() == [signum, {"0": [0, False], "1": [0, False]}]
    assert launched.jobs_end()
    assert "tidied up" in (tmp_path / "0" / "job.log").read_text()
    assert not (tmp_path / "2").exists()


def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN, grace=0.5)
    launched.stop(signal.SIGINT)
    assert launched.printed() == [signal.SIGINT, {"0": [-9, True], "1": [-9, True]}]
    assert launched.jobs_end()


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN)
    launched.stop(signal.SIGINT)
    assert all(alive(number) for number in launched.numbers)
    launched.stop(signal.SIGINT)
    assert launched.printed() == [signal.SIGINT, {"0": [-9, True], "1": [-9, True]}]
    assert launched.jobs_end()


def test_jobs_and_their_children_end_with_a_killed_launcher(tmp_path: Path) -> None:
    launched = Launched(tmp_path, STUBBORN, watch=WATCH)
    launched.process.kill()
    assert launched.jobs_end()


def test_a_launcher_killed_before_its_job_watches_is_noticed_all_the_same(tmp_path: Path) -> None:
    """The job begins to watch when its launcher is gone, and says so in a file where it could go on."""
    gone, begun = tmp_path / "gone", tmp_path / "begun"
    late = f"""
begun = pathlib.Path({str(begun)!r})
begun.with_suffix(".part").write_text(str(os.getpid()))
begun.with_suffix(".part").rename(begun)
while not pathlib.Path({str(gone)!r}).exists():
    time.sleep(0.01)
{WATCH}
time.sleep({PATIENCE})  # it is killed by a thread of its own
"""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), JOB.format(on_term=late, watch=""), "30"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait_for(begun.exists)
    launcher.kill()
    launcher.wait()
    number = int(begun.read_text())
    assert alive(number)
    gone.touch()
    assert wait_for(lambda: not alive(number), PATIENCE / 2)
    assert not (tmp_path / "pids0").exists(), "the job went on without its launcher"


def test_a_process_that_no_launcher_started_watches_nothing() -> None:
    code = "from facegraph.machine.orphan import end_with_parent; end_with_parent(); end_with_parent(); print('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout == "on\n"
