"""The local launcher with a tiny program in place of train.py; what it keeps of jobs and hands back to Hydra."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from rich.console import Console

from facegraph.errors import ConfigError, RunError
from facegraph.files.locking import held
from facegraph.launch.local import LocalLauncher
from facegraph.runs.compose import project_root
from facegraph.sweeps.failures import INTERRUPTED, KILLED, OTHER
from facegraph.sweeps.status import Failure, read_failure, write_failure
from hydra_plugins.facegraph_sweeper.local import LocalLauncher as Plugin

# does what its row is called
PROGRAM = """
import json, os, pathlib, signal, sys
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
folder, row = pathlib.Path(given["output_dir"]), given["sweep.row"]
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


def overrides(folder: Path, row: str, *more: str) -> list[str]:
    own = [f"output_dir={folder / row}", "sweep.identity=abc", "sweep.table=test", f"sweep.row={row}"]
    return ["trainer=cpu", *own, *more]


def launch(program: Path, jobs: list[list[str]], cpu_jobs: int = 2) -> tuple[list[JobReturn], str, LocalLauncher]:
    out = io.StringIO()
    launcher = LocalLauncher(cpu_jobs=cpu_jobs, entry=program, console=Console(file=out, width=80))
    return launcher.launch(jobs), out.getvalue(), launcher


def test_a_job_of_another_sweep_is_left_alone(tmp_path: Path, program: Path) -> None:
    """Neither its log nor why it failed before is touched, and it is not called failed."""
    taken = tmp_path / "works"
    write_failure(taken, Failure("data", "of an earlier attempt"))
    (taken / "job.log").write_text("what the other one says\n")
    with held(taken / ".lock"):
        returned, output, _ = launch(program, [overrides(tmp_path, row) for row in ("works", "nothing")])
        assert (taken / ".lock").read_text() == str(os.getpid())
    assert (taken / "job.log").read_text() == "what the other one says\n"
    assert read_failure(taken) == Failure("data", "of an earlier attempt")
    assert f"elsewhere works seed 0  process {os.getpid()} works on it" in output
    assert "1 failed, 1 elsewhere" in output
    assert reason(returned[0]) == f"{taken} is not finished. process {os.getpid()} works on it."


def test_a_job_that_another_sweep_began_at_the_same_moment_has_not_failed(tmp_path: Path, program: Path) -> None:
    """The other one takes the lock after the look: the job is refused by itself, with an error."""
    folder = tmp_path / "loses"
    _, output, _ = launch(program, [overrides(tmp_path, "loses")])
    try:
        assert re.search(r"elsewhere loses seed 0  process \d+ works on it", output)
        assert read_failure(folder) is None
    finally:
        os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)


def test_a_job_that_somebody_else_ended_is_interrupted(tmp_path: Path, program: Path) -> None:
    returned, output, _ = launch(program, [overrides(tmp_path, row) for row in ("ended", "gives in")])
    assert [one.status for one in returned] == [JobStatus.FAILED] * 2
    for row in ("ended", "gives in"):
        failure = read_failure(tmp_path / row)
        assert failure is not None
        assert failure.kind == INTERRUPTED
        assert "SIGTERM" in reason(returned[0])
    assert output.count("interrupted: ") == 2


def reason(returned: JobReturn) -> str:
    with pytest.raises(RunError) as error:
        _ = returned.return_value
    return str(error.value)


def test_jobs_are_reported_one_by_one(tmp_path: Path, program: Path) -> None:
    rows = ["works", "says", "complains", "dies", "nothing"]
    write_failure(tmp_path / "dies", Failure("data", "of an earlier attempt"))
    write_failure(tmp_path / "works", Failure("data", "of an earlier attempt"))
    returned, output, _ = launch(program, [overrides(tmp_path, row) for row in rows])
    assert [one.status for one in returned] == [JobStatus.COMPLETED, *[JobStatus.FAILED] * 4]
    kept = {row: read_failure(tmp_path / row) for row in rows}
    assert kept["works"] is None
    assert kept["says"] == Failure("data", "no such image")
    assert kept["complains"] == Failure(OTHER, "wrong setting")
    assert kept["dies"] is not None
    assert kept["dies"].kind == KILLED
    assert kept["nothing"] is not None
    assert "without all its results" in kept["nothing"].message
    assert [reason(one) for one in returned[1:]] == [kept[row].message for row in rows[1:]]  # type: ignore[union-attr]
    assert "2 jobs at once on cpu; 1 thread per process" in output
    log = re.escape(str(tmp_path / "says" / "job.log"))
    assert re.search(rf"failed   says seed 0  after \d:\d\d:\d\d: data: no such image  \[{log}\]", output)
    assert "1 done, 4 failed" in output


def test_overrides_reach_the_job_as_they_are(tmp_path: Path, program: Path) -> None:
    folder = tmp_path / "with space, comma=and 'quote'"
    quoted = str(folder / "works").replace("'", "\\'")
    awkward = ["trainer=cpu", f"output_dir={folder / 'works'}".replace(str(folder / "works"), f"'{quoted}'")]
    job = [*awkward, "sweep.identity=abc", "sweep.row=works", 'sweep.evaluations={half:["a=[1,2]","b=x y"]}']
    launch(program, [job])
    log = next(tmp_path.rglob("job.log")).read_text().splitlines()
    assert json.loads(log[2])[0] == job


def test_a_condition_without_a_result_is_a_failure(tmp_path: Path, program: Path) -> None:
    returned, _, _ = launch(program, [overrides(tmp_path, "works", "sweep.evaluations={half:[]}")])
    assert "without all its results" in reason(returned[0])


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
    rows = ["interrupts", "works"]
    returned, output, launcher = launch(program, [overrides(tmp_path, row) for row in rows], cpu_jobs=1)
    assert launcher.stopped_by == 2
    assert read_failure(tmp_path / "interrupts") is None
    assert [reason(one) for one in returned] == [f"{tmp_path / row} is not finished." for row in rows]
    assert not (tmp_path / "works").exists()
    assert "Stopped by SIGINT; under way: 1, not begun: 1. To go on: python " in output


@pytest.mark.usefixtures("interruptible")
def test_a_job_that_ends_with_0_when_it_is_stopped_is_not_done(tmp_path: Path, program: Path) -> None:
    """Lightning answers SIGTERM so."""
    returned, output, launcher = launch(program, [overrides(tmp_path, "polite")], cpu_jobs=1)
    assert launcher.stopped_by == 2
    assert returned[0].status == JobStatus.FAILED
    assert read_failure(tmp_path / "polite") is None
    assert "1 stopped" in output


def test_jobs_of_one_and_of_two_processes_run_after_each_other(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    jobs = []
    for name, processes in (("a", 1), ("b", 2), ("c", 1)):
        job = overrides(tmp_path / name, "works", f"trainer.devices={processes}")
        jobs.append([o for o in job if o != "trainer=cpu"])
    returned, output, _ = launch(program, jobs)
    assert {one.status for one in returned} == {JobStatus.COMPLETED}
    logs = [(tmp_path / name / "works" / "job.log").read_text().splitlines()[2] for name in "abc"]
    assert [json.loads(log)[1] for log in logs] == ["0", "0,1", "1"]
    assert "3 jobs at once on gpu 0, gpu 1, gpu 2" in output
    assert "1 job at once on gpu 0,1" in output


@pytest.mark.parametrize(
    ("settings", "override", "message"),
    [
        ({"devices_per_job": 2}, "trainer.devices=3", "trainer=ddp trainer.devices=2"),
        ({}, "trainer.devices=[1,2]", r"trainer\.devices=2, and hydra\.launcher\.devices=\[1, 2\]"),
        ({}, "+trainer.num_nodes=2", "hydra/launcher=slurm"),
        ({}, "sweep.identity=null", "hydra/sweeper=table"),
        ({}, "trainer.devices=some", r"trainer\.devices=some cannot be used; it must be a number of devices"),
        ({"devices_per_job": 0}, "seed=1", r"devices_per_job=0 must be at least 1"),
        ({"grace_seconds": -1}, "seed=1", r"grace_seconds=-1 must be a number of seconds"),
        ({"grace_seconds": "long"}, "seed=1", r"grace_seconds=long must be a number of seconds"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    tmp_path: Path, settings: dict[str, int], override: str, message: str
) -> None:
    launcher = LocalLauncher(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        launcher.launch([overrides(tmp_path, "works"), overrides(tmp_path, "other", override)])
    assert not (tmp_path / "works").exists()


def test_the_plugin_takes_every_setting_of_its_file() -> None:
    config = OmegaConf.load(project_root() / "conf/hydra/launcher/local.yaml")
    plugin = Plugins.instance()._instantiate(OmegaConf.merge(config, {"devices": [0, 1]}))  # type: ignore[arg-type]
    # Hydra imports plugins anew, so it is the same class by name only
    settings = plugin._settings  # type: ignore[attr-defined]
    assert type(plugin).__module__ == Plugin.__module__
    launcher = LocalLauncher(**settings)
    assert launcher.devices == [0, 1]
    assert {name for name in config if name != "_target_"} == set(settings)


def test_the_plugin_says_in_a_line_what_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*hydra/launcher=slurm"):
        Plugin().launch([overrides(tmp_path, "works", "+trainer.num_nodes=2")], 0)
    assert not os.listdir(tmp_path)
