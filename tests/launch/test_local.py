"""The local executor with a tiny program in place of train.py; what it keeps of jobs and tells of them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from facegraph.errors import ConfigError
from facegraph.files.locking import held
from facegraph.launch.live import Stop, Watched
from facegraph.launch.local import LocalExecutor
from facegraph.launch.plan import PlannedJob
from facegraph.launch.sweeper import executor_of
from facegraph.machine.resources import Resources
from facegraph.runs.configuration import project_root
from facegraph.sweeps.failures import INTERRUPTED, KILLED, OTHER
from facegraph.sweeps.manifest import Job
from facegraph.sweeps.status import DONE, ELSEWHERE, FAILED, QUEUED, STOPPED, Failure, read_failure, write_failure

ON_CPU = Resources(on_cpu=True)
# does what its row is called
PROGRAM = """
import json, os, pathlib, signal, sys
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder, row = (pathlib.Path(given[key].strip('"')) for key in ("output_dir", "sweep.row"))
row = str(row)
print(json.dumps([sys.argv[1:], os.environ["CUDA_VISIBLE_DEVICES"]]))
if row == "works":
    (folder / "result.json").write_text("{}")
if row == "says":
    (folder / "failure.json").write_text(json.dumps({"kind": "data", "message": "no such image"}))
    sys.exit("error: no such image")
if row == "complains":
    sys.exit("error: wrong setting")
if row == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
if row == "ended":
    os.kill(os.getpid(), signal.SIGTERM)
if row == "gives in":  # as Lightning does: it says why and ends with 0
    from facegraph.sweeps.failures import failure_of
    from facegraph.sweeps.status import write_failure
    from pytorch_lightning.utilities.exceptions import SIGTERMException
    write_failure(folder, failure_of(SIGTERMException()))
if row == "polite":
    (folder / "failure.json").write_text(json.dumps({"kind": "interrupted", "message": "SIGTERM"}))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
if row == "loses":
    import subprocess
    code = (
        "import fcntl, os, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write(str(os.getpid())); f.flush(); open(sys.argv[1] + '.ready', 'w'); time.sleep(60)"
    )
    subprocess.Popen([sys.executable, "-c", code, str(folder / ".lock")], start_new_session=True)
    while not (folder / ".lock.ready").exists():
        pass
    sys.exit("error: process 1 works on it already")
if row == "interrupts":
    (folder / "failure.json").write_text(json.dumps({"kind": "error", "message": "SIGTERM"}))
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def planned(row: str, *overrides: str, needs: Resources = ON_CPU, conditions: Sequence[str] = ()) -> PlannedJob:
    job = Job(row, 0, row, overrides, tuple(conditions))
    return PlannedJob(job, "test", needs, dict.fromkeys(conditions, ()))


def run(
    program: Path, sweep: Path, jobs: Sequence[PlannedJob], cpu_jobs: int = 2
) -> tuple[dict[str, Watched], str, Stop | None]:
    """Jobs by row, what was printed, and what ended the launch early."""
    out = io.StringIO()
    executor = LocalExecutor(cpu_jobs=cpu_jobs, entry=program, console=Console(file=out, width=80))
    board, stop = executor.run(sweep, jobs)
    return {watched.folder.name: watched for watched in board.jobs}, out.getvalue(), stop


def folder_of(sweep: Path, row: str) -> Path:
    return sweep / "jobs" / row


def test_a_job_of_another_sweep_is_left_alone(tmp_path: Path, program: Path) -> None:
    """Neither its log nor why it failed before is touched, and it is not called failed."""
    taken = folder_of(tmp_path, "works")
    write_failure(taken, Failure("data", "of an earlier attempt"))
    (taken / "job.log").write_text("what the other one says\n")
    with held(taken / ".lock"):
        found, output, _ = run(program, tmp_path, [planned("works"), planned("nothing")])
        assert (taken / ".lock").read_text() == str(os.getpid())
    assert (taken / "job.log").read_text() == "what the other one says\n"
    assert read_failure(taken) == Failure("data", "of an earlier attempt")
    assert f"elsewhere works seed 0  process {os.getpid()} works on it" in output
    assert (found["works"].state, found["nothing"].state) == (ELSEWHERE, FAILED)


def test_a_job_that_another_sweep_began_at_the_same_moment_has_not_failed(tmp_path: Path, program: Path) -> None:
    """The other one takes the lock after the look: the job is refused by itself, with an error."""
    folder = folder_of(tmp_path, "loses")
    _, output, _ = run(program, tmp_path, [planned("loses")])
    try:
        assert re.search(r"elsewhere loses seed 0  process \d+ works on it", output)
        assert read_failure(folder) is None
    finally:
        os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)


@pytest.mark.runs
def test_a_job_that_somebody_else_ended_is_interrupted(tmp_path: Path, program: Path) -> None:
    found, output, _ = run(program, tmp_path, [planned("ended"), planned("gives in")])
    for row in ("ended", "gives in"):
        failure = read_failure(folder_of(tmp_path, row))
        assert found[row].state == FAILED
        assert failure is not None
        assert failure.kind == INTERRUPTED
        assert "SIGTERM" in failure.message
    assert output.count("interrupted: ") == 2


def test_jobs_are_reported_one_by_one(tmp_path: Path, program: Path) -> None:
    rows = ["works", "says", "complains", "dies", "nothing"]
    write_failure(folder_of(tmp_path, "dies"), Failure("data", "of an earlier attempt"))
    write_failure(folder_of(tmp_path, "works"), Failure("data", "of an earlier attempt"))
    found, output, stop = run(program, tmp_path, [planned(row) for row in rows])
    assert stop is None
    assert [found[row].state for row in rows] == [DONE, *[FAILED] * 4]
    kept = {row: read_failure(folder_of(tmp_path, row)) for row in rows}
    assert kept == {row: watched.failure for row, watched in found.items()}
    assert kept["works"] is None
    assert kept["says"] == Failure("data", "no such image")
    assert kept["complains"] == Failure(OTHER, "wrong setting")
    assert kept["dies"] is not None
    assert kept["dies"].kind == KILLED
    assert kept["nothing"] is not None
    assert "without all its results" in kept["nothing"].message
    assert "2 jobs at once on cpu; 1 thread per process" in output
    log = re.escape(str(folder_of(tmp_path, "says") / "job.log"))
    assert re.search(rf"failed   says seed 0  after \d:\d\d:\d\d: data: no such image  \[{log}\]", output)


def test_overrides_reach_the_job_as_they_are(tmp_path: Path, program: Path) -> None:
    job = planned("works", "a=[1,2]", "b='x, y'", conditions=["half"])
    sweep = tmp_path / "with space, comma=and 'quote'"
    run(program, sweep, [job])
    log = next(tmp_path.rglob("job.log")).read_text().splitlines()
    assert json.loads(log[2])[0] == job.overrides(sweep)


def test_a_condition_without_a_result_is_a_failure(tmp_path: Path, program: Path) -> None:
    found, _, _ = run(program, tmp_path, [planned("works", conditions=["half"])])
    assert "without all its results" in found["works"].reason


@pytest.fixture
def interruptible() -> Iterator[None]:
    """The tests themselves may run where Ctrl-C is ignored, and the pool leaves that as it is."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_jobs_unfinished_not_failed(tmp_path: Path, program: Path) -> None:
    found, _, stop = run(program, tmp_path, [planned("interrupts"), planned("works")], cpu_jobs=1)
    assert stop == Stop(signal.SIGINT, "Stopped by SIGINT; under way: 1, not begun: 1. To go on: ")
    assert [found[row].state for row in ("interrupts", "works")] == [STOPPED, QUEUED]
    assert read_failure(folder_of(tmp_path, "interrupts")) is None
    assert not folder_of(tmp_path, "works").exists()


@pytest.mark.usefixtures("interruptible")
def test_a_job_that_ends_with_0_when_it_is_stopped_is_not_done(tmp_path: Path, program: Path) -> None:
    """Lightning answers SIGTERM so."""
    found, _, stop = run(program, tmp_path, [planned("polite")], cpu_jobs=1)
    assert stop is not None
    assert stop.signal == signal.SIGINT
    assert found["polite"].state == STOPPED
    assert read_failure(folder_of(tmp_path, "polite")) is None


def test_jobs_of_one_and_of_two_processes_run_after_each_other(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    jobs = []
    for name, processes in (("a", 1), ("b", 2), ("c", 1)):
        jobs.append(PlannedJob(Job("works", 0, name, ()), "test", Resources(processes=processes), {}))
    found, output, _ = run(program, tmp_path, jobs)
    assert {watched.state for watched in found.values()} == {DONE}
    logs = [(folder_of(tmp_path, name) / "job.log").read_text().splitlines()[2] for name in "abc"]
    assert [json.loads(log)[1] for log in logs] == ["0", "0,1", "1"]
    assert "3 jobs at once on gpu 0, gpu 1, gpu 2" in output
    assert "1 job at once on gpu 0,1" in output


@pytest.mark.parametrize(
    ("settings", "trainer", "message"),
    [
        ({"devices_per_job": 2}, {"devices": 3}, "trainer=ddp trainer.devices=2"),
        ({}, {"devices": [1, 2]}, r"trainer\.devices=2, and hydra\.launcher\.devices=\[1, 2\]"),
        ({}, {"num_nodes": 2}, "hydra/launcher=slurm"),
        ({"jobs_per_device": 0}, {}, r"jobs_per_device=0 must be at least 1"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    tmp_path: Path, settings: dict[str, int], trainer: dict[str, object], message: str
) -> None:
    jobs = [planned("works"), planned("other", needs=Resources.of(trainer))]
    with pytest.raises(ConfigError, match=message):
        LocalExecutor(**settings).run(tmp_path, jobs)  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)


LOCAL = OmegaConf.load(project_root() / "conf/hydra/launcher/local.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"devices_per_job": 0}, r"hydra\.launcher\.devices_per_job=0 must be at least 1"),
        ({"grace_seconds": -1}, r"hydra\.launcher\.grace_seconds=-1 must be a number of seconds"),
        ({"grace_seconds": "long"}, r"hydra\.launcher\.grace_seconds=long cannot be used"),
        ({"jobs": 2}, r"no setting 'hydra\.launcher\.jobs'"),
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, "hydra/launcher=local"),
    ],
)
def test_a_launcher_that_cannot_be_used_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        executor_of(OmegaConf.merge(LOCAL, given))  # type: ignore[arg-type]


def test_the_executor_takes_every_setting_of_its_file() -> None:
    executor = executor_of(OmegaConf.merge(LOCAL, {"devices": [0, 1], "cpu_jobs": 3}))  # type: ignore[arg-type]
    assert isinstance(executor, LocalExecutor)
    assert executor.devices == [0, 1]
    assert executor.cpu_jobs == 3
    assert all(hasattr(executor, str(name)) for name in LOCAL if name != "_target_")
