"""What stands in a cell: means over seeds, intervals over faces, tests against the baseline, or why it is empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facegraph.errors import ConfigError, RunError
from facegraph.metrics.bootstrap import interval, paired_tests
from facegraph.records import PREDICTIONS_FILE, RESULT_FILE
from facegraph.reports.table.cells import ABSENT, PUBLISHED, Report
from facegraph.reports.table.csv_file import to_frame
from facegraph.reports.table.reading import runs_report, sweep_report, sweep_reports
from facegraph.reports.table.text import to_markdown
from facegraph.sweeps.manifest import SweptTable, read_sweep
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL, evaluation_folder
from facegraph.sweeps.table import Evaluation, table_from
from tests.helpers.sweeps import curve_table, drawn_errors, folder_of, topk_table, write_run, write_sweep

UNFINISHED = {("k1", 0): "partial", ("k5", 0): "failed", ("k5", 1): "new"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All rows with seeds 0, 1 and 2, and a table with conditions beside it; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    write_sweep(folder, seeds=(0, 1, 2))
    write_sweep(folder, curve_table())
    return folder


@pytest.fixture(scope="module")
def report(finished: Path) -> Report:
    return sweep_reports(finished, "drawn/topk")[0]


def test_mean_spread_and_difference_in_per_cent(report: Report) -> None:
    cell = report.cell("k3", "nme")
    assert cell.state == DONE
    assert dict(cell.values) == pytest.approx({0: 4.70, 1: 4.70 * 1.02, 2: 4.70 * 1.04}, abs=1e-5)
    assert cell.mean == pytest.approx(4.70 * 1.02, abs=1e-5)
    assert cell.std == pytest.approx(4.70 * 0.02, abs=1e-5)  # of three equally spaced values, with n - 1
    assert cell.paper == 4.40
    assert cell.difference == pytest.approx(4.794 - 4.40, abs=1e-5)
    assert cell.faces == 60
    assert cell.whole


def test_values_are_those_of_the_results(finished: Path, report: Report) -> None:
    summary = json.loads((folder_of(finished, "k1", 2) / RESULT_FILE).read_text())["metrics"]["test"]["last"]
    for column, recorded in {
        "nme": summary["nme"],
        "fr": summary["fr@0.10"],
        "auc": summary["auc@0.10"],
        "occlusion": summary["subsets"]["occlusion"]["nme"],
    }.items():
        assert report.cell("k1", column).values[2] == pytest.approx(100 * recorded), column
    assert report.cell("k1", "params").values[2] == 1.25


def test_the_interval_is_over_faces_and_the_test_over_faces_and_seeds(report: Report) -> None:
    errors = {
        row: np.stack([drawn_errors(m * (1 + 0.02 * seed), seed) for seed in range(3)])
        for row, m in (("k1", 0.045), ("k3", 0.047))
    }
    cell = report.cell("k1", "nme")
    assert cell.interval == pytest.approx(tuple(100 * end for end in interval(errors["k1"].mean(axis=0))), abs=1e-4)
    assert cell.against is not None
    expected = paired_tests(errors["k1"][..., None], errors["k3"])[0]
    assert cell.against.difference == pytest.approx(100 * expected.difference, abs=1e-4)
    assert (cell.against.low, cell.against.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-3)
    assert cell.against.p == pytest.approx(expected.p, abs=1e-3)
    assert report.cell("k3", "nme").against is None  # the baseline itself
    assert report.cell("k1", "params").interval is None


def test_a_subset_counts_its_faces(report: Report) -> None:
    cell = report.cell("k5", "occlusion")
    assert cell.faces == 20
    assert cell.values[1] == pytest.approx(100 * drawn_errors(0.049 * 1.02, 1)[::3].mean(), abs=1e-4)
    assert cell.against is not None
    assert cell.against.faces == 20


def test_rows_that_are_only_published(report: Report) -> None:
    assert report.row("lab").state == PUBLISHED
    assert report.cell("lab", "nme").paper == 5.27
    assert report.cell("lab", "nme").state == PUBLISHED
    assert report.cell("lab", "auc").state == ABSENT


def test_the_best_row_by_the_direction_of_the_measure(report: Report) -> None:
    columns = {column.name: column for column in report.columns}
    assert report.best(columns["nme"]) == "k1"
    assert report.best(columns["auc"]) == "k1"
    assert report.best(columns["params"]) is None  # all alike


def test_faces_are_matched_by_id_in_any_order(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder, seeds=(0, 1, 2))
    path = folder_of(folder, "k1", 1) / PREDICTIONS_FILE
    frame = pd.read_parquet(path)
    frame.sample(frac=1, random_state=0).to_parquet(path, index=False)
    mine, other = (sweep_reports(f, "drawn.topk")[0].cell("k1", "nme") for f in (folder, finished))
    assert mine.interval == pytest.approx(other.interval)
    assert mine.against == pytest.approx(other.against)


def test_why_there_is_no_value(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished=UNFINISHED)
    report = sweep_reports(tmp_path)[0]
    half, none = report.cell("k1", "nme"), report.cell("k5", "nme")
    assert (half.state, dict(half.states)) == (DONE, {0: PARTIAL, 1: DONE})
    assert list(half.values) == [1]
    assert half.std is None
    assert not half.whole
    assert half.remark == "1 of 2 seeds; epoch 1 of 3"
    assert (none.state, none.mean, none.remark) == (FAILED, None, "failed: out of memory")
    assert dict(none.states) == {0: FAILED, 1: NEW}
    assert report.row("k5").state == FAILED
    assert report.row("k1").state == PARTIAL


def test_an_empty_sweep_is_a_report_of_what_waits(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={(row, seed): "new" for row in ("k1", "k3", "k5") for seed in (0, 1)})
    report = sweep_reports(tmp_path)[0]
    assert {report.cell(row, "nme").state for row in ("k1", "k3", "k5")} == {NEW}
    assert report.best(report.columns[0]) is None


def test_without_its_baseline_a_row_has_no_test(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k3", 0): "new", ("k3", 1): "new"})
    cell = sweep_reports(tmp_path)[0].cell("k1", "nme")
    assert cell.against is None
    assert cell.interval is not None


def test_numbers_that_a_run_does_not_have_are_absent_and_say_why(tmp_path: Path) -> None:
    columns = {
        "pose": {"label": "Pose", "metric": "nme", "subset": "pose"},
        "blur": {"label": "Blur", "metric": "nme", "subset": "blur"},
        "box": {"label": "Box", "metric": "nme", "normaliser": "box"},
        "time": {"label": "time", "metric": "latency_ms"},
        "fr8": {"label": "FR@8", "metric": "fr@0.08"},
    }
    rows = {"k3": {"label": "k = 3", "overrides": []}}
    write_sweep(tmp_path, topk_table(columns=columns, rows=rows))
    report = sweep_reports(tmp_path)[0]
    remarks = {name: cell.remark for name, cell in report.row("k3").cells.items() if cell.state == ABSENT}
    assert remarks == {
        "pose": "no subset pose",
        "blur": "no face in subset blur",
        "box": "no normaliser box among inter_ocular, inter_pupil",
        "time": "latency_ms was not measured",
    }
    # a threshold that result.json does not have, from the predictions
    expected = np.mean([100 * np.mean(drawn_errors(0.045 * (1 + 0.02 * s), s) > 0.08) for s in (0, 1)])
    assert report.cell("k3", "fr8").mean == pytest.approx(expected)


def test_conditions_are_read_from_their_own_results(finished: Path) -> None:
    report = sweep_reports(finished, "drawn.occlusion")[0]
    for i, column in enumerate(report.columns):
        assert report.cell("gcn", column.name).values[0] == pytest.approx(4.5 * (1 + 0.3 * i), abs=1e-4)


def test_a_condition_that_is_not_scored_yet_or_not_of_the_row(tmp_path: Path) -> None:
    table = curve_table()
    node = table.to_dict()
    node["rows"]["gcn"]["evaluations"] = ("share0", "share20")
    swept = write_sweep(tmp_path, table_from(node), seeds=(0,))
    place = evaluation_folder(swept.jobs_of("fc")[0].folder(tmp_path), "share20")
    for name in (RESULT_FILE, PREDICTIONS_FILE):
        (place / name).unlink()
    report = sweep_reports(tmp_path)[0]
    assert report.cell("gcn", "nme0.4").state == ABSENT
    assert report.cell("gcn", "nme0.4").remark == "not scored under share40"
    assert report.cell("fc", "nme0.2").state == PARTIAL
    assert report.cell("fc", "nme0.0").state == DONE
    assert isinstance(table.evaluations[0], Evaluation)


def test_the_other_checkpoint(finished: Path, report: Report) -> None:
    best = sweep_reports(finished, "drawn/topk", checkpoint="best")[0]
    assert best.cell("k1", "nme").mean == pytest.approx(0.98 * report.cell("k1", "nme").mean)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="checkpoint is 'first'; choose last or best"):
        sweep_reports(finished, checkpoint="first")


def test_without_predictions_the_recorded_number_stands_alone(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,))
    (folder_of(tmp_path, "k1") / PREDICTIONS_FILE).unlink()
    report = sweep_reports(tmp_path)[0]
    cell = report.cell("k1", "nme")
    assert cell.mean == pytest.approx(4.5, abs=1e-5)
    assert (cell.interval, cell.against) == (None, None)
    assert report.cell("k1", "occlusion").mean is not None
    assert any("No predictions" in note.text and "k = 1" in note.text for note in report.notes)


CARDS = {
    "dataset": "another",
    "test_hash": "f00",
    "normaliser": "inter_pupil",
    "corruption": "occlusion 0.2",
    "epochs": 4,
    "crop_margin": 1.5,
    "trained_on": "another",
}


@pytest.mark.parametrize(("field", "value"), CARDS.items())
def test_another_protocol_is_refused_and_named(field: str, value: object, tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,), cards={"k5": {field: value}})
    with pytest.raises(RunError, match=rf"k = 5: {field} {value!r} instead of .* \(as k = 3\).*--mix-protocols"):
        sweep_reports(tmp_path)
    mixed = sweep_reports(tmp_path, mix_protocols=True)[0]
    assert {row.row.name: row.mark for row in mixed.rows if row.mark} == {"k5": "a"}
    assert [note.mark for note in mixed.notes if field in note.text] == ["a"]


@pytest.mark.parametrize(
    ("override", "field"),
    [("trainer.max_epochs=9", "epochs"), ("+box.margin=1.5", "crop_margin"), ("experiment=fan", "trained_on")],
)
def test_what_a_row_overrides_itself_may_differ(override: str, field: str, tmp_path: Path) -> None:
    rows = {"k3": {"label": "k = 3", "overrides": []}, "k5": {"label": "k = 5", "overrides": [override]}}
    write_sweep(tmp_path, topk_table(rows=rows), seeds=(0,), cards={"k5": {field: CARDS[field]}})
    notes = [note.text for note in sweep_reports(tmp_path)[0].notes]
    assert any(text.startswith(f"Varies on purpose: k = 5: {field}") for text in notes)


def test_what_all_rows_override_explains_nothing(tmp_path: Path) -> None:
    rows = {f"k{k}": {"label": f"k = {k}", "overrides": ["trainer.max_epochs=9"]} for k in (3, 5)}
    write_sweep(tmp_path, topk_table(rows=rows), seeds=(0,), cards={"k5": {"epochs": 4}})
    with pytest.raises(RunError, match="epochs 4 instead of 3"):
        sweep_reports(tmp_path)


def test_seeds_may_cut_validation_a_little_differently(tmp_path: Path) -> None:
    swept = write_sweep(tmp_path, topk_table(rows={"k3": {"label": "k = 3", "overrides": []}}), seeds=(0,))
    job = swept.jobs[0]
    other = SweptTable(swept.table, "paper", (job, type(job)("k3", 1, "abc", ())), ())
    card = {"train_faces": 191, "val_faces": 9, "optimiser_steps": 19}
    write_run(tmp_path / "jobs" / "abc", drawn_errors(0.05), seed=1, card=card)
    assert sweep_report(other, tmp_path).cell("k3", "nme").whole
    for file in (tmp_path / "jobs" / "abc").glob("*.*"):
        file.unlink()
    write_run(tmp_path / "jobs" / "abc", drawn_errors(0.05), seed=1, card={"train_faces": 180, "val_faces": 20})
    with pytest.raises(RunError, match="train_faces 180 instead of 190"):
        sweep_report(other, tmp_path)


def test_notes_name_commits_devices_and_scale(tmp_path: Path) -> None:
    provenances = {"k1": {"commit": "b" * 40, "dirty": True}, "k5": {"device": "A GPU"}}
    write_sweep(tmp_path, scale="small", provenances=provenances)
    text = "\n".join(note.text for note in sweep_reports(tmp_path)[0].notes)
    assert "different commits: bbbbbbbbb (k = 1); c0ffeec0f (k = 3, k = 5)" in text
    assert "different devices: cpu (k = 1, k = 3); A GPU (k = 5)" in text
    assert "uncommitted changes: k = 1." in text
    assert "scale=small: trained by another, shorter recipe" in text
    assert "not the choice of seeds" in text


def test_runs_form_rows_by_their_settings(finished: Path, tmp_path: Path) -> None:
    swept = next(s for s in read_sweep(finished) if s.table.name == "drawn/topk")
    jobs = [job for job in swept.jobs if job.row != "k5"]
    report = runs_report([job.folder(finished) for job in jobs])
    assert [row.row.label for row in report.rows] == ["head.top_k=1", "head.top_k=3"]
    assert report.cell("head.top_k=3", "nme").values.keys() == {0, 1, 2}
    assert [column.name for column in report.columns] == ["nme", "fr@0.10", "auc@0.10", "nme/occlusion"]
    # the same seed again is a row of its own each time, not a further seed
    more = [tmp_path / "again", tmp_path / "once_more"]
    for folder, mean in zip(more, (0.05, 0.06), strict=True):
        write_run(folder, drawn_errors(mean), overrides=("experiment=drawn", "head.top_k=1", "seed=0"))
    found = runs_report([*(job.folder(finished) for job in jobs if job.row == "k1"), *more])
    assert [len(row.trainings) for row in found.rows] == [3, 1, 1]
    for row, mean in zip(found.rows[1:], (5.0, 6.0), strict=True):
        cell = row.cells["nme"]
        assert cell.mean == pytest.approx(mean, abs=1e-4)
        assert cell.interval is not None
        assert cell.interval.low < mean < cell.interval.high


def test_runs_of_different_test_sets_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", drawn_errors(0.05))
    write_run(tmp_path / "b", drawn_errors(0.05), card={"test_hash": "f00"}, overrides=("loss=l1",))
    with pytest.raises(RunError, match="test_hash"):
        runs_report([tmp_path / "a", tmp_path / "b"])


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"neither a sweep \(tables/\*\.json\) nor a run"):
        runs_report([tmp_path])
    write_sweep(tmp_path)
    with pytest.raises(RunError, match=r"no table 'scc/x'; choose from drawn/topk"):
        sweep_reports(tmp_path, "scc/x")


def test_columns_of_a_confidence(tmp_path: Path) -> None:
    """From result.json, without intervals; a row whose model gives none says so; printed as plain numbers."""
    metrics = ("rank_correlation", "retention_score", "failure_auroc@0.10", "mean_iterations", "reported_failures")
    rows = {name: {"label": name, "overrides": [f"head={name}"]} for name in ("k1", "k3", "k5")}
    columns = {m: {"label": f"in words {i}", "metric": m} for i, m in enumerate(metrics)}
    swept = write_sweep(tmp_path, topk_table(columns=columns, rows=rows), seeds=(0, 1))
    numbers = {"rank_correlation": 0.5, "retention_score": 0.25, "failure_auroc@0.10": 0.75, "mean_iterations": 2.5}
    for job in swept.jobs:
        if job.row != "k5":
            path = job.folder(tmp_path) / RESULT_FILE
            node = json.loads(path.read_text())
            lower = 0.1 if job.row == "k1" else 0.0
            said = {**{name: value - lower for name, value in numbers.items()}, "reported_failures": 0.04}
            node["metrics"]["test"]["last"]["confidence"] = said
            path.write_text(json.dumps(node))
    report = sweep_reports(tmp_path)[0]
    by_metric = {column.metric: column for column in report.columns}
    cell = report.cell("k3", "failure_auroc@0.10")
    assert (cell.mean, cell.interval, cell.against) == (0.75, None, None)
    assert report.cell("k3", "reported_failures").mean == pytest.approx(4.0)
    assert report.cell("k5", "rank_correlation").remark == "no rank_correlation in its result"
    assert report.best(by_metric["failure_auroc@0.10"]) == "k3"
    assert report.best(by_metric["mean_iterations"]) == "k1"
    text = to_markdown(report)
    assert "| in words 2 | in words 3 | in words 4 " in text
    assert "[]" not in text
    assert "0.750" in text
    assert set(to_frame(report)["unit"]) == {"", "%"}
