"""facegraph bench threads: what is trained how, and that nothing is left running; no speed is judged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facegraph.bench import threads
from facegraph.bench.threads import ALONE, BUSY, CHOSEN, OPENMP, TWICE, StepTimes, ThreadBench, bench_threads
from facegraph.cli import app
from facegraph.errors import ConfigError, RunError
from facegraph.runs.compose import compose
from tests.helpers.runs import train_tiny

STEPS = """
import os, sys, time
with open({notes!r}, "a") as notes:
    print(os.getpid(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("GOMP_SPINCOUNT"), file=notes)
path = next(a.split("=", 1)[1].strip("'") for a in sys.argv if a.startswith("+callbacks.steps.path="))
epoch = 0
while True:
    with open(path, "a") as steps:
        steps.write(f"{{epoch}} {{time.monotonic()}}\\n")
    epoch += 1
    time.sleep(0.01)
"""


@pytest.fixture
def trained_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a program in the place of train.py; returns the file that it may write to."""
    notes = tmp_path / "notes"
    monkeypatch.setattr(threads, "TRAINING", (str(tmp_path / "train.py"),))
    monkeypatch.setattr(threads, "_POLL", 0.01)

    def put(program: str) -> Path:
        (tmp_path / "train.py").write_text(program.format(notes=str(notes)))
        return notes

    return put


def test_every_situation_is_measured_with_both_choices(
    trained_by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    notes = trained_by(STEPS)
    found = bench_threads(rounds=2, seconds=0.05, limit=200)
    trainings = {key: len(values) for key, values in found.seconds.items()}
    expected = {ALONE: 2, BUSY: 1, TWICE: 2}
    assert trainings == {(s, choice): n for s, n in expected.items() for choice in (OPENMP, CHOSEN)}
    assert all(value > 0 for values in found.seconds.values() for value in values)
    started = [line.split() for line in notes.read_text().splitlines()]
    assert [row[1:] for row in started].count(["None", "None"]) == 5, "what the shell has set is taken away"
    assert [row[1:] for row in started].count(["2", "300000"]) == 5
    for number, *_ in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(number), 0)


def test_a_training_that_ends_is_an_error_with_its_last_words(trained_by: Callable[[str], Path]) -> None:
    trained_by("raise SystemExit('no such data')")
    with pytest.raises(RunError, match="no such data"):
        bench_threads(rounds=1, seconds=0.05, limit=200)


def test_a_training_beyond_the_limit_counts_with_the_steps_it_has(trained_by: Callable[[str], Path]) -> None:
    trained_by("import time\ntime.sleep(600)")
    found = bench_threads(rounds=1, seconds=0.05, limit=0.1)
    assert all(value >= 0.1 for values in found.seconds.values() for value in values)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"seconds": 0.0}, {"limit": 1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="are usual"):
        bench_threads(**wrong)  # type: ignore[arg-type]


def test_targets_are_ratios_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {
        (ALONE, OPENMP): [0.1, 0.1, 9.0], (ALONE, CHOSEN): [0.1, 0.102, 0.103],
        (BUSY, OPENMP): [2.0], (BUSY, CHOSEN): [0.4], (TWICE, OPENMP): [3.0, 3.0], (TWICE, CHOSEN): [0.2, 0.22],
    }  # fmt: skip
    found = ThreadBench(2, seconds)
    assert [(t.found, t.met) for t in found.targets()] == [("3.92", False), ("2.06", True), ("1.02", True)]
    monkeypatch.setattr("facegraph.cli.bench.bench_threads", lambda *args, **kwargs: found)
    shown = CliRunner().invoke(app, ["bench", "threads"], env={"COLUMNS": "150"}).stdout
    for part in ("beside busy processes", "as OpenMP chooses", "400", "at most 2.5", "met", "missed"):
        assert part in shown
    plain = json.loads(CliRunner().invoke(app, ["bench", "threads", "--json"]).stdout)
    assert plain["targets"][1]["found"] == "2.06"


def test_steps_are_written_as_they_end(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    target = f"{StepTimes.__module__}.{StepTimes.__name__}"
    train_tiny(tmp_path / "run", f"+callbacks.steps._target_={target}", f"+callbacks.steps.path={steps}")
    rows = [line.split() for line in steps.read_text().splitlines()]
    assert [epoch for epoch, _ in rows] == ["0", "0", "1", "1"]
    clocks = [float(clock) for _, clock in rows]
    assert clocks == sorted(clocks)


def test_what_is_trained_is_the_quick_start(tmp_path: Path) -> None:
    measured, shipped = compose([*threads.QUICK_START, f"+callbacks.steps.path={tmp_path}"]), compose([])
    for part in ("model", "backbone", "head", "loss", "codec", "input_size", "augment", "normalise"):
        assert measured[part] == shipped[part]
    assert (measured.data.batch_size, measured.data.num_workers) == (shipped.data.batch_size, shipped.data.num_workers)
