"""Pools whose processes never run the main script, and that say so when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facegraph.data.benchmarks import gathering
from facegraph.data.processes import process_pool
from facegraph.errors import DataError

SCRIPT = """
import os, sys
print("the main script runs", flush=True)
from facegraph.data.processes import process_pool
for _ in range(2):
    with process_pool(3) as pool:
        for _ in range(20):
            pool.submit(os.getpid).result()
        print("processes", len(pool._processes), flush=True)
"""


def test_all_processes_start_at_once_and_without_the_main_script(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["the main script runs", "processes 3", "processes 3"], done.stderr


def test_a_process_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"of 2 processes was killed.*--workers"), process_pool(2) as pool:
        pool.submit(signal.raise_signal, signal.SIGKILL).result()
    monkeypatch.setattr(gathering, "POOL_FROM", 1)
    with pytest.raises(DataError, match="killed from outside"):
        gathering.read_each(os._exit, [1, 1], workers=2)
