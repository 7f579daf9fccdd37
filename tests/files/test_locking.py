"""A lock of one process, and looks at it from others."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from facegraph.files import locking
from facegraph.files.locking import HeldError, held, holder


def test_a_look_makes_nothing_and_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "job" / ".lock"
    assert holder(path) is None
    assert not path.parent.exists()
    with held(path):
        assert holder(path) == str(os.getpid())
        with pytest.raises(HeldError, match=str(os.getpid())), held(path):
            pass
    path.write_text("12345")  # left by a process that was killed
    assert holder(path) is None
    assert path.read_text() == "12345"


def test_a_look_refuses_no_starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    waits: list[float] = []
    with path.open("w") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                looked_at.close()

        monkeypatch.setattr(locking.time, "sleep", wait)
        with held(path, patience=60.0):
            assert len(waits) == 3
            assert holder(path) == str(os.getpid())


def test_looks_do_not_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with path.open("w") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert holder(path) is None
