"""A Slurm of one node on this machine, started for the tests that need one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
UNAVAILABLE = 3


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Environment in which sbatch and squeue talk to a Slurm of one node with four (pretended) cores."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed: pip install -e '.[slurm]'")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([HERE / "start_slurm.sh", folder], capture_output=True, text=True, check=False)
    if started.returncode == UNAVAILABLE:
        pytest.skip(started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "FACEGRAPH_", "PYTEST_"))}
    yield {
        **kept,
        "SLURM_CONF": started.stdout.strip().splitlines()[-1],
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
    }
    subprocess.run([HERE / "stop_slurm.sh", folder], capture_output=True, check=False)
