"""A process of a run that is stopped, not dead: the others wait only so long, and say for what."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.utils.data import Dataset

from facegraph.data.loader import PatientLoader
from facegraph.errors import ConfigError, ProcessError
from facegraph.sweeps.failures import INTERRUPTED, OUT_OF_MEMORY, failure_of
from facegraph.training import ddp
from facegraph.training.ddp import WatchingLauncher
from tests.helpers.processes import wait_for
from tests.helpers.runs import train_tiny


class Stopping(Dataset[torch.Tensor]):
    """A loader process stops where it is to load an item."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGSTOP)
        return torch.tensor(index)


def test_a_stopped_loader_process_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    before = set(multiprocessing.active_children())
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    loader = PatientLoader(Stopping(), num_workers=2, timeout=0.25)  # type: ignore[arg-type]
    with pytest.raises(ProcessError, match=r"2 loader process.* no batch for 0\.5 s.*data\.loader_timeout_seconds"):
        next(iter(loader))
    for end in at_exit:
        end()
    assert wait_for(lambda: set(multiprocessing.active_children()) <= before)


class Late:
    """An iterator of torch's whose batches come after some waits that were too long."""

    def __init__(self, waits: list[int]) -> None:
        self.waits = waits

    def __next__(self) -> int:
        if not self.waits:
            raise StopIteration
        if self.waits[0] == 0:
            return self.waits.pop(0)
        self.waits[0] -= 1
        raise RuntimeError("DataLoader timed out after 1 seconds")


def test_a_run_that_was_suspended_as_a_whole_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first wait is over before the loader processes could do anything."""
    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", lambda self: Late([1, 0, 1, 1]))
    assert list(PatientLoader(Stopping(), timeout=1)) == [0, 0, 0, 0]  # type: ignore[arg-type]


def test_other_errors_of_loaders_keep_their_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which a full memory is known."""

    class Dying:
        def __next__(self) -> None:
            raise RuntimeError("exited unexpectedly") from RuntimeError("is killed by signal: Killed.")

    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", lambda self: Dying())
    with pytest.raises(RuntimeError, match="exited unexpectedly") as caught:
        next(iter(PatientLoader(Stopping())))  # type: ignore[arg-type]
    assert failure_of(caught.value).kind == OUT_OF_MEMORY


def test_no_patience_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.loader_timeout_seconds=-1.* 0 or more"):
        train_tiny(tmp_path / "run", "data.loader_timeout_seconds=-1")


class Cluster:
    """As Lightning's, where something else has started the processes."""

    creates_processes_externally = True

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


class Trainer:
    default_root_dir = "/a run"


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchingLauncher]:
    monkeypatch.setattr(ddp, "_LAST_WORDS", 0.0)
    handler = signal.getsignal(signal.SIGTERM)
    yield WatchingLauncher(Cluster(), num_processes=2, num_nodes=1, timeout_minutes=7)  # type: ignore[arg-type]
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    "said",
    [
        "[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 10000ms for recv operation",
        "wait timeout after 10000ms, keys: /default_pg/0//cpu//0/rank_1",
    ],
)
def test_a_rank_that_gives_no_sign_is_named_by_the_setting(launcher: WatchingLauncher, said: str) -> None:
    def late() -> None:
        raise RuntimeError(said)

    named = r"""no sign for 7 minutes, trainer\.strategy\.timeout_minutes.*'resume="/a run"'"""
    with pytest.raises(ProcessError, match=named):
        launcher.launch(late, trainer=Trainer())  # type: ignore[arg-type]


def test_a_rank_that_is_asked_to_end_ends_at_once(launcher: WatchingLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once: its group and the first process both ask it."""
    later: list[Callable[[], None]] = []
    left: list[tuple[float, int, str]] = []
    monkeypatch.setattr(ddp, "_in_background", later.append)
    monkeypatch.setattr(ddp, "_leave_after", lambda *how: left.append(how))

    def asked() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: launcher.kill(number))
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SIGTERMException) as caught:
        launcher.launch(asked, trainer=Trainer())  # type: ignore[arg-type]
    os.kill(os.getpid(), signal.SIGTERM)
    assert failure_of(caught.value).kind == INTERRUPTED
    (hangs,) = later
    hangs()
    assert left[0][1] == 128 + signal.SIGTERM
    assert """'resume="/a run"'""" in left[0][2]
