"""Processes of one run end together: when one dies, the others do within seconds, and what it said is kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facegraph.errors import ConfigError, ProcessError
from facegraph.runs.compose import compose
from facegraph.runs.train import settings_of
from facegraph.sweeps.failures import KILLED, OTHER
from facegraph.sweeps.identity import identity
from facegraph.sweeps.status import read_failure
from facegraph.training import ddp
from facegraph.training.ddp import WatchedDDP, WatchingLauncher
from tests.helpers.processes import PATIENCE, wait_for
from tests.helpers.runs import ROOT, environment, tiny_overrides


class Cluster:
    """As Lightning's, where something else has started the processes."""

    creates_processes_externally = True

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        assert (num_devices, num_nodes) == (2, 1)


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchingLauncher]:
    monkeypatch.setattr(ddp, "_LAST_WORDS", 0.5)
    monkeypatch.setattr(ddp, "_STUCK", 0.2)
    monkeypatch.setattr(ddp, "_POLL", 0.02)
    launcher = WatchingLauncher(Cluster(), num_processes=2, num_nodes=1, timeout_minutes=10)  # type: ignore[arg-type]
    launcher.procs = [subprocess.Popen(["sleep", "600"])]
    yield launcher
    for process in launcher.procs:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


class BoundLater:
    """An event that is set from a number of looks on, after more time than a stuck process gets."""

    FREE = 20

    def __init__(self) -> None:
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > self.FREE


def lose_connection() -> None:
    raise RuntimeError("Connection closed by peer")


def test_a_lost_connection_is_explained_by_the_process_that_died(launcher: WatchingLauncher) -> None:
    end(launcher.procs[0])
    trainer: Any = SimpleNamespace(default_root_dir="outputs/a")
    with pytest.raises(ProcessError, match=r"rank 1 was ended by SIGKILL.*memory.*resume=outputs/a") as caught:
        launcher.launch(lose_connection, trainer=trainer)
    assert "Connection closed" in str(caught.value.__cause__)
    launcher.procs = [subprocess.Popen(["false"])]
    launcher.procs[0].wait()
    with pytest.raises(ProcessError, match=r"rank 1 ended with exit code 1.*what it said is above"):
        launcher.launch(lose_connection)


def test_other_errors_stay_what_they_are(launcher: WatchingLauncher) -> None:
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        launcher.launch(lose_connection)  # nobody died
    end(launcher.procs[0])
    with pytest.raises(ZeroDivisionError):
        launcher.launch(lambda: 1 / 0)
    assert launcher._bound.is_set()
    assert launcher.launch(lambda: 5) == 5
    assert not launcher._bound.is_set()


def test_a_process_that_hangs_leaves_as_the_dead_one_did(
    launcher: WatchingLauncher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    monkeypatch.setattr(ddp, "_leave_after", lambda seconds, code: left.append(code))
    other = subprocess.Popen(["sleep", "600"])
    end(launcher.procs[0])
    bound = BoundLater()
    ddp._leave_with([launcher.procs[0], other], bound, "")  # type: ignore[arg-type]
    assert bound.looks > BoundLater.FREE, "what one process does alone, such as its report, is not cut short"
    assert left == [-9]
    assert other.wait(PATIENCE) == -9
    assert "rank 1 was ended by SIGKILL" in capsys.readouterr().err
    ddp._leave_with([subprocess.Popen(["true"])], bound, "")  # type: ignore[arg-type]
    assert left == [-9]


def test_nothing_is_left_running(launcher: WatchingLauncher) -> None:
    launcher._end_children()
    assert launcher.procs[0].poll() == -9


def test_a_process_leaves_after_the_one_that_started_it(
    launcher: WatchingLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(ddp, "_leave_after", lambda seconds, code: left.append(code))
    with ddp._named_as_parent():
        monkeypatch.setattr(os, "getppid", lambda: os.getpid() + 1)
        ddp._leave_with_parent()
        os.environ[ddp._STARTED_BY] = ""
    assert left == [1]
    assert ddp._STARTED_BY not in os.environ


def test_no_time_to_wait_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"timeout_minutes=0 must be above 0"):
        WatchedDDP(timeout_minutes=0)


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes under /proc")
@pytest.mark.parametrize(
    ("dies", "said", "code", "kept"),
    [
        ("1:fail", "this rank fails on purpose", 1, (OTHER, "RuntimeError: this rank fails on purpose")),
        ("1:kill", "rank 1 was ended by SIGKILL", 1, (KILLED, "rank 1 was ended by SIGKILL")),
        ("0:fail", "this rank fails on purpose", 1, (OTHER, "RuntimeError: this rank fails on purpose")),
        ("0:kill", "dies at", -9, None),
    ],
)
def test_a_run_of_which_one_process_dies(
    dies: str, said: str, code: int, kept: tuple[str, str] | None, tmp_path: Path
) -> None:
    """As a job of a sweep, which keeps why it failed."""
    folder = tmp_path / "run"
    overrides = tiny_overrides(folder, "trainer=ddp", "trainer.accelerator=cpu", "data.batch_size=4")
    overrides.append(f"sweep.identity='{identity(settings_of(compose(overrides)))}'")
    script = ROOT / "tests" / "helpers" / "dying_train.py"
    output = tmp_path / "output"
    with open(output, "w") as file:
        process = subprocess.Popen(
            [sys.executable, str(script), *overrides],
            cwd=tmp_path,
            env=environment() | {"DIES": dies, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=file,
        )
        assert process.wait(240) == code, output.read_text()[-3000:]
    ended = time.monotonic()
    text = output.read_text()
    died = re.search(r"dies at ([\d.]+)", text)
    assert died is not None, text[-3000:]
    assert ended - float(died.group(1)) < PATIENCE, "an exchange would be given up after ten minutes"
    assert said in text
    if kept is None:
        wait_for(lambda: not processes_of(tmp_path))
    else:
        failure = read_failure(folder)
        assert failure is not None
        assert failure.kind == kept[0]
        assert kept[1] in failure.message
    assert processes_of(tmp_path) == []
