"""Of several starts in one folder one trains; the others leave everything as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from facegraph.errors import RunError
from facegraph.files.atomic import beside, write_once
from facegraph.files.locking import HeldError, holder
from facegraph.runs import folder as folders
from facegraph.runs.folder import LOCK_FILE, alone_in, claim
from facegraph.training.task import LandmarkTask
from tests.helpers.runs import environment, resume, train_tiny

pytestmark = pytest.mark.usefixtures("no_pictures")
HOLDS = "import sys; from facegraph.files.locking import held; from pathlib import Path\n"
HOLDS += "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that another process works on, and its number."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDS, str(folder / LOCK_FILE)]
    process = subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield folder, process.pid
    process.kill()
    process.communicate()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(folders, "_LOADERS_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_folder_that_is_trained_in_is_left_alone(other: tuple[Path, int]) -> None:
    folder, number = other
    (folder / "checkpoints").mkdir()
    part = folder / "checkpoints" / ".last.ckpt.1.part"
    part.touch()
    with pytest.raises(RunError, match=rf"process {number} works on {folder} already"):
        train_tiny(folder)
    assert part.exists(), "the other process may be writing it"
    assert not (folder / "config.yaml").exists()
    (folder / "config.yaml").write_text("sweep: {identity: null}\nlogger: {}\nresume: null\noutput_dir: null\n")
    with pytest.raises(RunError, match=rf"process {number} works on {folder} already"):
        resume(folder)


def test_the_lock_is_held_from_the_first_step_to_the_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    for name in ("on_train_start", "on_test_epoch_end"):
        hook = getattr(LandmarkTask, name)

        def look(self: LandmarkTask, hook=hook) -> None:
            seen.append(holder(tmp_path / "run" / LOCK_FILE))
            hook(self)

        monkeypatch.setattr(LandmarkTask, name, look)
    train_tiny(tmp_path / "run", "trainer.max_epochs=1")
    assert seen == [str(os.getpid())] * 3
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_what_a_kill_left_is_removed_by_who_is_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    parts = [beside(tmp_path / "config.yaml"), beside(tmp_path / "checkpoints" / "last.ckpt")]
    kept = [tmp_path / "notes.part", tmp_path / ".hidden"]
    for path in (*parts, *kept):
        path.touch()
    with alone_in(tmp_path):
        assert not any(path.exists() for path in parts)
        assert all(path.exists() for path in kept)


def test_a_lock_of_a_dead_process_s_loaders_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def held(path: Path, patience: float) -> None:
        tries.append(patience)
        raise HeldError(dead if len(tries) == 1 else "unknown")

    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = str(ended.pid)
    monkeypatch.setattr(folders, "held", held)
    with pytest.raises(RunError, match="process unknown works on"), alone_in(tmp_path):
        pass
    assert tries == [folders._PATIENCE_SECONDS, folders._LOADERS_SECONDS]


def test_where_files_cannot_be_locked_a_run_starts_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def held(path: Path, patience: float) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(folders, "held", held)
    with alone_in(tmp_path):
        assert f"warning: {tmp_path} lies where files cannot be locked" in capsys.readouterr().out


@pytest.mark.parametrize("links", [True, False])
def test_of_simultaneous_claims_one_wins(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks do not work, too: all are beyond the check before any of them writes."""

    def no_links(source: Path, target: Path) -> None:
        raise OSError(38, "Function not implemented")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    barrier = threading.Barrier(8)
    monkeypatch.setattr(folders, "check_free", lambda folder: None)
    monkeypatch.setattr(folders, "make_writable", lambda folder: barrier.wait())
    # threads share a process number, which names the files beside
    monkeypatch.setattr("facegraph.files.atomic.beside", lambda path: path.with_name(f".{threading.get_ident()}"))
    won: list[int] = []
    lost: list[str] = []

    def start(seed: int) -> None:
        try:
            claim(tmp_path, OmegaConf.create({"seed": seed}))
            won.append(seed)
        except RunError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=start, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert all(f"{tmp_path} holds a run already" in message for message in lost)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"seed": won[0]}
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_there_is_not_written(tmp_path: Path) -> None:
    write_once(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError):
        write_once(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("setting", ["optimizer.lr=-1", "+optimizer.betas=[0.9,2.0]", "loss=heatmap"])
def test_a_refused_setting_takes_no_folder(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lr|beta|heatmap"):
        train_tiny(tmp_path / "run", setting, "head=fc")
    assert not (tmp_path / "run").exists()
