"""What a training prints of itself where its output is no terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facegraph.training.progress import Bar, EpochLines, progress_display
from tests.helpers.runs import train_tiny


def test_a_line_per_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_pictures: None) -> None:
    train_tiny(tmp_path / "run")
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
    assert re.fullmatch(
        r"epoch 1 of 2: loss [\d.]+, validation NME [\d.]+ %, \d+ faces/s, \d+:\d\d:\d\d left", lines[0]
    )
    assert re.fullmatch(r"epoch 2 of 2: loss [\d.]+, validation NME [\d.]+ %, \d+ faces/s", lines[1])
    assert len(lines) == 2
    assert "\r" not in printed.split("epoch 2")[0]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert isinstance(progress_display(), Bar)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert isinstance(progress_display(), EpochLines)
