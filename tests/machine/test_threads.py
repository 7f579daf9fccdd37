"""How many threads a run has, how they wait, and what it says of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facegraph.machine.slots import cores
from facegraph.machine.threads import (
    NUMBERS,
    SPIN_COUNT,
    WAITING,
    Moment,
    choose,
    describe,
    limit_waiting,
    processor_seconds,
    settle,
)
from facegraph.runs.folder import InitialWeights
from facegraph.training.task import CHECKPOINT_KEY, THREADS_KEY
from tests.helpers.runs import TinyRun

pytestmark = pytest.mark.runs

FREE = {k: v for k, v in os.environ.items() if k not in (*NUMBERS, *WAITING)}


@pytest.mark.parametrize(
    ("available", "others", "loaders", "processes", "on_cpu", "expected"),
    [
        (2, 0.1, 1, 1, True, 2),  # the quick start: its loader waits for the network
        (2, 1.0, 1, 1, True, 1),  # two trainings that start at the same time
        (2, 1.9, 1, 1, True, 1),
        (1, 0.0, 4, 1, True, 1),
        (16, 3.2, 4, 1, True, 13),
        (16, 0.0, 4, 1, False, 12),  # beside a GPU loader processes have work
        (16, 0.0, 4, 4, False, 1),
        (16, 0.0, 0, 4, True, 4),
        (8, 9.0, 2, 2, False, 1),
    ],
)
def test_threads_are_the_cores_that_are_free(
    available: int, others: float, loaders: int, processes: int, on_cpu: bool, expected: int
) -> None:
    assert choose(available, others, loaders, processes, on_cpu) == expected


def test_others_are_all_but_this_process() -> None:
    before, after = Moment(clock=10.0, all=100.0, own=1.0), Moment(clock=14.0, all=107.0, own=4.0)
    assert before.others_until(after) == pytest.approx(1.0)
    assert before.others_until(before) == 0
    assert before.others_until(Moment(14.0, 100.0, 4.0)) == 0, "where nobody tells what the cores do"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="reads /proc")
def test_work_is_counted_on_own_cores_and_without_niced_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2})
    monkeypatch.setattr(os, "nice", lambda by: 0)
    stat = tmp_path / "stat"
    mine = ("cpu0 100 7 20 999 999 3 2 50 0 0", "cpu2 75 0 0 0 0 0 0")
    stat.write_text("\n".join(("cpu 9 9 9 9 9 9 9 9 0 0", "cpu1 9999 0 0 0 0 0 0", *mine, "intr 1 2 3")))
    assert processor_seconds(stat) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    monkeypatch.setattr(os, "nice", lambda by: 5)
    assert processor_seconds(stat) == pytest.approx(207 / os.sysconf("SC_CLK_TCK"))
    assert processor_seconds(tmp_path / "missing") == 0


def test_waiting_is_limited_unless_the_user_says_how() -> None:
    nothing_said: dict[str, str] = {"OMP_WAIT_POLICY": ""}
    limit_waiting(nothing_said)
    assert int(nothing_said["GOMP_SPINCOUNT"]) > 0
    for name in WAITING:
        said = {name: "1"}
        limit_waiting(said)
        assert said == {name: "1"}


def test_without_an_entry_point_threads_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    assert settle(loaders=0, processes=1, on_cpu=True) is None
    assert torch.get_num_threads() == before


def in_a_process_of_its_own(then: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import sys
from facegraph.machine.threads import before_torch, settle
before_torch()
assert "torch" not in sys.modules
import os, cv2, torch
{then}
"""
    return subprocess.run(
        [sys.executable, "-c", program], env=FREE | environment, capture_output=True, text=True, timeout=240, check=True
    )


def test_a_run_settles_its_threads_for_itself_and_the_processes_it_starts() -> None:
    done = in_a_process_of_its_own(
        "print(settle(0, 1, True)); print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'], cv2.getNumThreads())",
        OMP_DISPLAY_ENV="verbose",
    )
    if "GOMP_" in done.stderr:  # libgomp, which says what it has read
        assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in done.stderr
    line, numbers = done.stdout.splitlines()
    torch_has, *others = numbers.split()
    assert 1 <= int(torch_has) <= cores()
    assert set(others) == {torch_has}
    assert line.startswith(f"{torch_has} thread")
    assert f"on {cores()} core" in line
    assert "OMP_NUM_THREADS" in line


def test_a_continued_run_keeps_its_threads_as_far_as_there_are_cores() -> None:
    done = in_a_process_of_its_own(
        "print(settle(0, 1, True, before=1)); print(settle(0, 1, True, before=99)); print(torch.get_num_threads())"
    )
    kept, fewer, threads = done.stdout.splitlines()
    assert kept.startswith("1 thread on ")
    assert "as before" in kept
    assert int(threads) == cores()
    assert "The run had 99 until now" in fewer


def test_what_the_user_has_set_stays() -> None:
    done = in_a_process_of_its_own(
        "print(settle(0, 1, True, before=2)); print(torch.get_num_threads())",
        OMP_NUM_THREADS="1",
    )
    line, threads = done.stdout.splitlines()
    assert threads == "1"
    assert "as OMP_NUM_THREADS says" in line
    assert "OMP_NUM_THREADS=2 avoids that" in line


def test_one_thread_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert "7 spins" in describe(2)
    assert "spins" not in describe(1)
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert "waiting threads are passive, as OMP_WAIT_POLICY says" in describe(2)


def test_checkpoints_say_how_many_threads_they_were_made_with(tiny_run: TinyRun, tmp_path: Path) -> None:
    assert tiny_run.checkpoint()[CHECKPOINT_KEY][THREADS_KEY] == 1
    assert InitialWeights.read(tiny_run.folder).threads == 1
    checkpoint = tiny_run.checkpoint()
    del checkpoint[CHECKPOINT_KEY][THREADS_KEY]
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint, tmp_path / "checkpoints" / "last.ckpt")
    assert InitialWeights.read(tmp_path).threads is None, "a checkpoint of an earlier version"
