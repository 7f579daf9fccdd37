"""A training that is asked to end: its exit code, what it says, a checkpoint that is whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facegraph.training.checkpoint_files import is_damaged
from tests.helpers.runs import ROOT, environment, tiny_overrides


@pytest.mark.runs
@pytest.mark.parametrize(
    "asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda asked: asked.name
)
def test_it_says_how_to_go_on(asked: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    command = [sys.executable, str(ROOT / "train.py"), *tiny_overrides(folder, "trainer.max_epochs=10000")]
    with open(tmp_path / "output", "w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=output, stderr=output)
    try:
        while not (folder / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.01)
        process.send_signal(asked)
        code = process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "output").read_text()
    assert code == 128 + asked, said[-2000:]
    assert f"ended by {asked.name}" in said
    assert f"""python train.py 'resume="{folder}"'""" in said
    assert "Traceback" not in said
    assert not is_damaged(folder / "checkpoints" / "last.ckpt")
