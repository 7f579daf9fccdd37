"""What a run leaves for wandb, read back from its offline file; tensorboard and csv beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import wandb
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from facegraph.runs import record as recording
from facegraph.structures import FaceBatch
from facegraph.sweeps.table import Column
from facegraph.tracking.records import log_results
from facegraph.tracking.runs import earlier_id, wandb_logger
from facegraph.tracking.session import group_of
from facegraph.training import throughput
from facegraph.training.task import LandmarkTask
from tests.helpers.runs import TinyRun, train_tiny
from tests.helpers.wandb_file import OfflineRun, finished_files, offline_files, read_offline_run

pytestmark = pytest.mark.runs

IDENTITY = "0123456789ab"
JOB = (
    "logger=wandb",
    "trainer.log_every_n_steps=1",
    f"sweep.identity={IDENTITY}",
    "sweep.dir=/sweeps/table7_topk/smoke",
    "sweep.table=scc/table7_topk",
    "sweep.row=k3",
)
OUTSIDE = {"identity": None, "dir": None, "table": None, "row": None}


@pytest.fixture(scope="module", autouse=True)
def _quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """wandb's own logs and caches, which it keeps in the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("wandb_home")))
        patch.delenv("WANDB_DATA_DIR", raising=False)
        yield
        wandb.teardown()


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A job of a sweep that died in its second epoch and was resumed."""
    folder, step = tmp_path_factory.mktemp("job") / "run", LandmarkTask.training_step

    def dying(self: LandmarkTask, batch: FaceBatch, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise Killed
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LandmarkTask, "training_step", dying)
        with pytest.raises(Killed):
            train_tiny(folder, *JOB)
    return train_tiny(folder, *JOB, f"resume={folder}")


@pytest.fixture(scope="module")
def attempts(job: TinyRun) -> list[OfflineRun]:
    return [read_offline_run(path) for path in finished_files(job.folder)]


def test_both_attempts_are_one_run_of_the_sweep(attempts: list[OfflineRun]) -> None:
    assert len(attempts) == 2
    for attempt in attempts:
        run = attempt.run
        assert (run.run_id, run.run_group, run.job_type) == (IDENTITY, "table7_topk.smoke", "k3")
        assert (run.project, run.display_name) == ("facegraph", "k3 seed 0")
        assert list(run.tags) == ["scc/table7_topk", "k3", "seed 0"]
        assert run.resume, "wandb sync joins attempts that say so"
    assert [attempt.exit_code for attempt in attempts] == [1, 0]


def test_config_is_the_resolved_configuration(attempts: list[OfflineRun]) -> None:
    for attempt in attempts:
        config = attempt.config
        assert config["data"]["batch_size"] == 8
        assert config["data"]["seed"] == config["seed"] == 0
        assert config["sweep"]["row"] == "k3"
        assert isinstance(config["model"], dict)
        assert "${" not in str(config)


def test_curves_are_logged_by_step(job: TinyRun, attempts: list[OfflineRun]) -> None:
    first, second = attempts
    assert len(first.values("val/nme")) == len(second.values("val/nme")) == 1
    for attempt in attempts:
        assert attempt.values("lr-AdamW")[0] > 0
        assert attempt.values("train/loss")[0] > 0
        assert all(speed > 0 for speed in attempt.values("train/faces_per_second"))
    assert len(second.values("train/faces_per_second")) == 1
    steps = [row["trainer/global_step"] for attempt in attempts for row in attempt.history if "val/nme" in row]
    assert steps == [1, 3]


def test_validation_is_summarised_by_the_minimum_of_all_attempts(job: TinyRun, attempts: list[OfflineRun]) -> None:
    for attempt in attempts:
        assert attempt.metrics["val/nme"].summary.min
        assert attempt.metrics["val/nme"].step_metric == "trainer/global_step"
    values = [value for attempt in attempts for value in attempt.values("val/nme")]
    assert attempts[1].summary["val/nme"]["min"] == pytest.approx(min(values))


def test_pictures_and_sample_faces_lie_in_the_run_folder(job: TinyRun, attempts: list[OfflineRun]) -> None:
    last = attempts[1]
    files = offline_files(job.folder)[1].parent / "files"
    for name in ("ced", "per_landmark", "graph", "samples", "worst"):
        (picture,) = last.values(f"pictures/{name}")
        assert picture["_type"] == "image-file"
        assert (files / picture["path"]).read_bytes() == (job.folder / f"{name}.png").read_bytes()
    (faces,) = last.values("faces")
    assert (faces["_type"], faces["nrows"]) == ("table-file", 9)
    (logged,) = [a for a in last.artifacts if a.type == "run_table"]
    images = [entry for entry in logged.manifest.contents if entry.path.endswith(".jpg")]
    assert len(images) == 9
    for image in images:
        assert Path(image.local_path).is_relative_to(job.folder), "a file elsewhere is missed by a later sync"


def test_summary_has_the_numbers_of_the_test(job: TinyRun, attempts: list[OfflineRun]) -> None:
    summary, measured = attempts[1].summary, job.result.metrics["test"]["last"]
    assert summary["test/nme/last"] == measured["nme"]
    assert summary["test/auc@0.10/best"] == job.result.metrics["test"]["best"]["auc@0.10"]
    assert summary["test/nme/last/blur"] == measured["subsets"]["blur"]["nme"]
    assert summary["test/fr@0.08/last/inter_pupil"] == measured["normalisers"]["inter_pupil"]["fr@0.08"]
    assert summary["params"] == job.result.provenance.params


def test_dashboard_asks_for_what_a_run_has(attempts: list[OfflineRun]) -> None:
    layout = pytest.importorskip("facegraph.tracking.layout", exc_type=ImportError)
    columns = [
        Column("a", "a", "nme"),
        Column("b", "b", "auc@0.10", subset="blur"),
        Column("c", "c", "nme", normaliser="box"),
        Column("d", "d", "macs"),
    ]
    for column in columns:
        assert layout.metric_of(column, "best") in attempts[1].summary
    assert layout.metric_of(Column("e", "e", "nme", evaluation="dark"), "last") is None


def test_watching_changes_no_number(job: TinyRun, tiny_run: TinyRun) -> None:
    assert job.result.metrics == tiny_run.result.metrics


def test_nothing_is_sent_or_copied_unasked(job: TinyRun, attempts: list[OfflineRun]) -> None:
    for attempt in attempts:
        assert "output" not in attempt.kinds
        assert "output_raw" not in attempt.kinds
        assert not attempt.run.git.commit
    assert not list(job.folder.glob("wandb/offline-run-*/files/code/**/*.py"))
    assert not list(job.folder.glob("wandb/**/requirements.txt"))


def test_a_run_outside_of_a_sweep_continues_under_its_id(tmp_path: Path) -> None:
    def started() -> WandbLogger:
        return wandb_logger(tmp_path, "faces", "quickstart", OUTSIDE, seed=3, tags=["mine"])

    assert earlier_id(tmp_path) is None
    for _ in range(2):
        started().experiment.finish()
    runs = [read_offline_run(path).run for path in finished_files(tmp_path)]
    assert len({run.run_id for run in runs}) == 1
    assert earlier_id(tmp_path) == runs[0].run_id
    assert {(run.run_group, run.job_type, run.display_name) for run in runs} == {("", "train", "quickstart")}
    assert [list(run.tags) for run in runs] == [["seed 3", "mine"]] * 2


def test_a_run_left_open_is_not_written_to(tmp_path: Path) -> None:
    left = wandb_logger(tmp_path / "a", "faces", "a", OUTSIDE, seed=0).experiment
    fresh = wandb_logger(tmp_path / "b", "faces", "b", OUTSIDE, seed=0).experiment
    fresh.finish()
    assert fresh.id != left.id
    assert [read_offline_run(path).exit_code for path in finished_files(tmp_path / "a")] == [1]


@pytest.mark.parametrize(
    ("folder", "group"),
    [
        ("/s/scc/table7_topk/paper", "table7_topk.paper"),
        ("/sweeps", "sweeps"),
        ("/a b/c: x", "a-b.c-x"),
        ("/" + "x" * 200, "x" * 100),
    ],
)
def test_group(folder: str, group: str) -> None:
    assert group_of(Path(folder)) == group


def test_groups_are_names_that_artifacts_may_have() -> None:
    groups = [group_of(Path(f"/größe/{name}")) for name in ("é", "è")]
    assert len(set(groups)) == 2
    for group in groups:
        wandb.Artifact(f"report-{group}", type="report")
        assert group.isascii()


def test_a_logger_that_fails_leaves_the_run_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    def refuse(*arguments: object) -> None:
        raise wandb.errors.CommError("no connection")

    monkeypatch.setattr(recording, "log_results", refuse)
    done = train_tiny(tmp_path / "run", "trainer.max_epochs=1")
    assert (done.folder / "result.json").is_file()
    assert "not all of them were logged: CommError: no connection" in capsys.readouterr().out


def test_throughput_counts_no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of 2 s with 8 faces on two processes, 100 s of validation between and after them: 16 * 2 / 4 s."""
    now = 0.0
    logged: dict[str, float] = {}
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now)

    class Stub:
        world_size = 2
        index = torch.arange(8)

        def log(self, name: str, value: float) -> None:
            logged[name] = value

    stub, callback = Stub(), throughput.Throughput()
    now = 50.0
    callback.on_validation_end(stub, stub)  # the sanity check
    now = 60.0
    callback.on_train_epoch_start(stub, stub)
    for _ in range(2):
        now += 2
        callback.on_train_batch_end(stub, stub, None, stub, 0)
        now += 100
        callback.on_validation_end(stub, stub)
    callback.on_train_epoch_end(stub, stub)
    assert logged == {"train/faces_per_second": pytest.approx(8.0)}


def test_csv_has_speed_and_learning_rate(tiny_run: TinyRun) -> None:
    curves = pd.read_csv(tiny_run.folder / "log" / "metrics.csv")
    assert (curves["train/faces_per_second"].dropna() > 0).sum() == 2
    assert len(curves["lr-AdamW"].dropna()) >= 2


def test_tensorboard_has_the_pictures(tiny_run: TinyRun, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(str(tmp_path), name="", version="log")
    log_results([logger], tiny_run.folder, tiny_run.result, pytest.fail, step=4)
    events = accumulator.EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    assert "pictures/graph" in events.Tags()["images"]
    image = events.Images("pictures/samples")[0]
    assert (image.step, image.width > 0) == (4, True)
