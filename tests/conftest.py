"""One thread, no network, no display, the same random numbers for each test; a tiny run that many tests look at."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hypothesis import settings

from tests.helpers.runs import TinyRun, train_tiny
from tests.helpers.stores import TREES, prepared

# by this `make test-machines` gives the numeric tests two threads
torch.set_num_threads(int(os.environ.get("FACEGRAPH_TEST_THREADS", "1")))

# a shell starts what it runs in the background deaf to Ctrl-C, and what tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("quick", max_examples=200)
settings.register_profile("thorough", max_examples=2000)  # make test-slow
settings.load_profile("quick")

HERE = Path(__file__).parent
CLUSTER = HERE / "launch"
NO_SLURM_HERE = 3  # exit code of start_slurm.sh
NUMERIC = frozenset(
    ["bench", "codecs", "curation", "data", "geometry", "graph", "heads", "losses", "metrics", "models", "training"]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what computes with tensors, in any folder of NUMERIC and however new, as numeric."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        module = getattr(item, "module", None)
        long = item.get_closest_marker("any_processor") or "tiny_run" in getattr(item, "fixturenames", ())
        if folder in NUMERIC and hasattr(module, "torch") and not long:
            item.add_marker("numeric")


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Nothing of a test hangs on another: what it draws without a generator of its own, the run that Hydra knows of."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    yield
    groups = ConfigStore.instance().repo
    for group in ("dataset", "box"):
        for name in [name for name in groups.get(group, {}) if name.startswith("of_the_run")]:
            del groups[group][name]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A finished training of two epochs; tests must not change its folder, except for folders of their own in it."""
    return train_tiny(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a prepared store of a few drawn faces for each benchmark; put it into $FACEGRAPH_DATA."""
    folder = tmp_path_factory.mktemp("stores")
    for name in TREES:
        prepared(folder, name)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test write numbers only; drawing takes longer than training does here."""
    for name in ("plot_ced", "plot_per_landmark", "plot_graph", "plot_retention"):
        monkeypatch.setattr(f"facegraph.runs.pictures.{name}", lambda *args, **kwargs: None)
    for name in ("worst_faces", "contact_sheet"):
        monkeypatch.setattr(f"facegraph.viz.faces.{name}", lambda *args, **kwargs: None, raising=False)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Environment in which sbatch and squeue talk to a Slurm of one node with four (pretended) cores."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed: pip install -e '.[slurm]'")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([CLUSTER / "start_slurm.sh", folder], capture_output=True, text=True, check=False)
    if started.returncode == NO_SLURM_HERE:
        pytest.skip(started.stderr.strip().splitlines()[-1])
    assert started.returncode == 0, started.stderr
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "FACEGRAPH_", "PYTEST_"))}
    yield {
        **kept,
        "SLURM_CONF": started.stdout.strip().splitlines()[-1],
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
    }
    subprocess.run([CLUSTER / "stop_slurm.sh", folder], capture_output=True, check=False)
