"""What hydra/launcher=slurm makes of jobs and settings; needs no Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from facegraph.errors import ConfigError, RunError
from facegraph.launch import slurm, slurm_job, slurm_queue
from facegraph.launch.slurm import SlurmExecutor
from facegraph.launch.slurm_job import SlurmJob
from facegraph.launch.slurm_queue import Note, Queue
from facegraph.launch.sweeper import executor_of
from facegraph.machine.resources import Resources
from facegraph.runs.compose import compose
from facegraph.sweeps.failures import KILLED, SETTINGS
from facegraph.sweeps.status import Failure, read_failure, write_failure

ROOT = Path(__file__).resolve().parents[2]
LISTING = """12_0|RUNNING|node7|None|{folder}/slurm/.submission_file_ab.sh
12_1|PENDING||Resources|{folder}/slurm/.submission_file_ab.sh
15|PENDING||BeginTime|/elsewhere/slurm/x|y.sh
"""


class Squeue:
    """Stands for subprocess.run: what squeue answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.text, self.code = "", 0
        monkeypatch.setattr(slurm_queue.subprocess, "run", self)

    def __call__(self, command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, self.code, self.text, "")


def shape_of(*overrides: str) -> Resources:
    trainer: Any = OmegaConf.to_container(compose(overrides).trainer)
    return SlurmExecutor()._shape(Resources.of(trainer))


def test_nodes_and_tasks_follow_the_trainer() -> None:
    assert shape_of("trainer=cpu") == Resources(1, 1, on_cpu=True)
    assert shape_of("trainer=gpu", "trainer.devices=[0,1]") == Resources(1, 2)
    assert shape_of("trainer=ddp", "trainer.devices=4", "+trainer.num_nodes=2") == Resources(2, 4)


@pytest.mark.parametrize(
    ("settings", "on_cpu", "expected"),
    [({}, False, 2), ({}, True, None), ({"gres": "gpu:a100:2"}, False, None), ({"gpus_per_node": 1}, False, 1)],
)
def test_gpus_follow_the_devices_unless_told(settings: dict[str, Any], on_cpu: bool, expected: int | None) -> None:
    found = SlurmExecutor(partition="p", **settings)._parameters(Resources(1, 2, on_cpu))
    assert found.get("slurm_gpus_per_node") == expected
    assert (found["slurm_tasks_per_node"], found["slurm_nodes"], found["slurm_partition"]) == (2, 1, "p")
    assert found["slurm_setup"] == ["export SLURM_KILL_BAD_EXIT=1"]


def test_submitit_knows_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    config = OmegaConf.load(ROOT / "conf/hydra/launcher/slurm.yaml")
    executor = executor_of(config)  # type: ignore[arg-type]
    assert isinstance(executor, SlurmExecutor)
    assert {str(name) for name in config if name != "_target_"} == set(vars(executor)) - {"console"}
    given = {str(name): name for name, value in config.items() if value is None}
    numbers = ("gpus_per_node", "gpus_per_task", "cpus_per_gpu", "mem_gb")
    full = SlurmExecutor(**{name: 1 if name in numbers else name for name in given})  # type: ignore[arg-type]
    submitting = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    submitting.update_parameters(**full._parameters(Resources(1, 2)))
    assert submitting._executor.parameters["ntasks_per_node"] == 2
    assert submitting._executor.parameters["partition"] == "partition"
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.timeout_min=soon cannot be used"):
        executor_of(OmegaConf.merge(config, {"timeout_min": "soon"}))  # type: ignore[arg-type]


def test_a_job_is_missing_only_once_the_queue_answered_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    squeue, queue = Squeue(monkeypatch), Queue(seconds=0)
    clock = [100.0]
    monkeypatch.setattr(slurm_queue.time, "monotonic", lambda: clock[0])
    squeue.code = 1  # the controller does not answer
    queue.look()
    assert queue.absent_seconds("12_0") == 0
    squeue.code, squeue.text = 0, LISTING
    queue.look()
    assert queue.absent_seconds("12_0") == 0
    assert queue.entries["12_1"].reason == "Resources"
    squeue.text = ""
    queue.look()
    assert queue.absent_seconds("12_0") == 0
    clock[0] += 21
    assert queue.absent_seconds("12_0") == 21
    squeue.text = LISTING  # requeued: it is there again
    queue.look()
    assert queue.absent_seconds("12_0") == 0


def test_a_job_under_way_is_found_by_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    squeue, queue = Squeue(monkeypatch), Queue(seconds=0)
    squeue.text = LISTING.format(folder=tmp_path)
    queue.look()
    for number, folder in (("12_0", tmp_path), ("15", tmp_path), ("99", tmp_path)):
        Note(number, f"{folder}/slurm/%j", 1).write(tmp_path / number)
    assert queue.running_for(tmp_path / "12_0") == Note("12_0", f"{tmp_path}/slurm/%j", 1)
    assert queue.running_for(tmp_path / "15") is None, "a number that another sweep's job has now"
    assert queue.running_for(tmp_path / "99") is None
    assert queue.running_for(tmp_path / "never") is None


def a_job(tmp_path: Path, program: str, processes: int = 1) -> SlurmJob:
    entry = tmp_path / "program.py"
    entry.write_text(program)
    return SlurmJob((sys.executable, str(entry)), tmp_path / "job", processes, on_cpu=True)


def test_a_job_beside_a_gpu_leaves_cores_to_its_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    monkeypatch.setattr(slurm_job, "visible_gpus", lambda: ["0"])
    for on_cpu, loaders, threads in ((False, 3, 5), (False, 8, 1), (True, 3, 1)):
        assert SlurmJob((), tmp_path, 1, on_cpu, loaders)._slot().threads == threads


PRINT_SLURM = "import os; print(sorted(k for k in os.environ if k.startswith('SLURM_')))"


@pytest.mark.parametrize(("processes", "expected"), [(1, "[]"), (2, "['SLURM_NTASKS', 'SLURM_PROCID']")])
def test_only_several_processes_know_of_slurm(
    processes: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    a_job(tmp_path, PRINT_SLURM, processes)()
    assert expected in (tmp_path / "job" / "job.log").read_text().splitlines()


def test_a_failed_job_says_why_and_raises(tmp_path: Path) -> None:
    job = a_job(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError, match="SIGKILL"):
        job()
    failure = read_failure(tmp_path / "job")
    assert failure is not None
    assert failure.kind == KILLED


def test_what_the_training_said_itself_is_kept(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from facegraph.sweeps.status import Failure, write_failure
write_failure(Path({str(tmp_path / "job")!r}), Failure({SETTINGS!r}, "too large"))
sys.exit(1)
"""
    write_failure(tmp_path / "job", Failure(KILLED, "an earlier attempt"))
    with pytest.raises(RunError, match="too large"):
        a_job(tmp_path, program)()
    assert read_failure(tmp_path / "job") == Failure(SETTINGS, "too large")


def test_the_signal_before_the_time_limit_does_not_end_the_training(tmp_path: Path) -> None:
    program = "import os, signal, sys; os.kill(os.getpid(), signal.SIGUSR2); print('still there')"
    a_job(tmp_path, program)()
    assert "still there" in (tmp_path / "job" / "job.log").read_text()


def test_without_submitit_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'facegraph\[slurm\]'"):
        SlurmExecutor().run(Path("z"), [])


def test_the_configuration_composes_without_submitit() -> None:
    """In a process of its own, in which importing it fails."""
    program = """
import sys
sys.modules["submitit"] = None
from hydra import compose, initialize_config_dir
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    cfg = compose("train", ["hydra/launcher=slurm", "hydra.launcher.partition=p"], return_hydra_config=True)
print(cfg.hydra.launcher._target_, cfg.hydra.launcher.partition)
"""
    words = [sys.executable, "-W", "ignore", "-c", program, str(ROOT / "conf")]
    environment = {**os.environ, "FACEGRAPH_ROOT": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["facegraph.launch.slurm.SlurmExecutor", "p"], done.stderr
