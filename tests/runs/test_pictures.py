"""A picture that cannot be drawn is a note; the numbers of the run are what counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from facegraph.records import RunResult
from tests.helpers.runs import TinyRun, evaluate_run

PICTURES = ("ced.png", "per_landmark.png", "graph.png", "worst.png", "samples.png")
NOTE = "could not be drawn"


def break_drawing(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(f"facegraph.runs.pictures.{name}", broken)


def test_all_pictures_are_drawn_without_a_note(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_run(tiny_run.folder, f"output_dir={tmp_path}")
    assert NOTE not in capsys.readouterr().out
    assert all((tmp_path / name).is_file() for name in PICTURES)


@pytest.mark.parametrize(("function", "picture"), [("plot_graph", "graph.png"), ("plot_ced", "ced.png")])
def test_a_picture_that_cannot_be_drawn_costs_no_run(
    function: str,
    picture: str,
    tiny_run: TinyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_drawing(monkeypatch, function, RuntimeError("no ink"))
    result = evaluate_run(tiny_run.folder, f"output_dir={tmp_path}")
    assert RunResult.read(tmp_path) == result
    assert f"note: {picture} {NOTE}: RuntimeError: no ink" in capsys.readouterr().out
    drawn = {name for name in PICTURES if (tmp_path / name).exists()}
    assert drawn == {*PICTURES} - {picture}


def test_ctrl_c_while_drawing_ends_the_run(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_drawing(monkeypatch, "plot_ced", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(tiny_run.folder, f"output_dir={tmp_path}")
    assert not (tmp_path / "result.json").exists()
