"""What a report must not claim: tests of few faces, other seeds or another protocol, rows that are no one row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from facegraph.errors import ConfigError, RunError
from facegraph.records import PREDICTIONS_FILE, RESULT_FILE
from facegraph.reports.table.layout import value_text
from facegraph.reports.table.reading import runs_report, sweep_reports
from facegraph.reports.table.text import to_markdown
from facegraph.sweeps.status import evaluation_folder
from tests.helpers.sweeps import curve_table, drawn_errors, folder_of, topk_table, write_run, write_sweep


def test_names_of_parts_tell_rows_apart_but_a_run_s_own_name_does_not(tmp_path: Path) -> None:
    settings = [("a", "resnet18", "x"), ("b", "resnet34", "x"), ("c", "resnet18", "y")]
    for seed, (folder, backbone, name) in enumerate(settings):
        write_run(tmp_path / folder, drawn_errors(0.05, seed), seed)
        config = {"seed": seed, "name": name, "logger": {"csv": name}, "data": {"seed": seed}}
        config["backbone"] = {"name": backbone}
        (tmp_path / folder / "config.yaml").write_text(yaml.safe_dump(config))
    found = runs_report([tmp_path / folder for folder, _, _ in settings])
    assert [[t.seed for t in row.trainings] for row in found.rows] == [[0, 2], [1]]


def test_tests_use_the_seeds_that_both_rows_have(tmp_path: Path) -> None:
    """Rows that are equal seed by seed, of which one lacks seeds, do not differ."""
    means = dict.fromkeys(("k1", "k3", "k5"), 0.05)
    write_sweep(tmp_path, seeds=(0, 1, 2), means=means, unfinished={("k1", 1): "new", ("k1", 2): "new"})
    report = sweep_reports(tmp_path)[0]
    cell = report.cell("k1", "nme")
    assert cell.against is not None
    assert (cell.against.difference, cell.against.p) == (pytest.approx(0), 1)
    assert any("seeds 0, 1, 2 yet: k = 1 (0)" in note.text for note in report.notes)
    for row, seed in (("k1", 0), ("k3", 1), ("k3", 2)):
        (folder_of(tmp_path, row, seed) / RESULT_FILE).rename(tmp_path / f"{row}_{seed}.json")
    (tmp_path / "k3_1.json").rename(folder_of(tmp_path, "k3", 1) / RESULT_FILE)
    write_run(folder_of(tmp_path, "k1", 2), drawn_errors(0.05, 2), 2)
    (folder_of(tmp_path, "k3", 0) / RESULT_FILE).unlink()
    apart = sweep_reports(tmp_path)[0].cell("k1", "nme")
    assert apart.mean is not None
    assert apart.against is None


def test_rows_of_another_measure_are_neither_tested_nor_best(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,), cards={"k1": {"normaliser": "inter_pupil"}, "k5": {"epochs": 4}})
    report = sweep_reports(tmp_path, mix_protocols=True)[0]
    column = report.columns[0]
    assert report.cell("k1", "nme").against is None
    assert report.cell("k5", "nme").against is not None  # on the same faces by the same measure
    assert report.cell("k1", "nme").mean is not None
    assert report.best(column) == "k3"


def test_few_faces_and_errors_that_are_not_finite_are_said(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,))
    for row in ("k1", "k3", "k5"):
        path = folder_of(tmp_path, row) / PREDICTIONS_FILE
        frame = pd.read_parquet(path)
        frame["attr_occlusion"] = frame["id"] <= "face_004"
        if row == "k1":
            errors = [str(name) for name in frame if str(name).startswith("nme_")]
            frame.loc[frame["id"] == "face_050", ["pred_x0", *errors]] = np.nan
        frame.to_parquet(path, index=False)
    report = sweep_reports(tmp_path)[0]
    few, spoilt = report.cell("k5", "occlusion"), report.cell("k1", "nme")
    assert (few.faces, few.interval, few.against) == (5, None, None)
    assert few.mean is not None
    assert value_text(spoilt, report.unit(report.columns[0])) == "not finite"
    assert (spoilt.mean, spoilt.difference, spoilt.interval) == (None, None, None)
    assert spoilt.remark == "not finite: 1 of 60 faces have no finite error (seed 0)"
    notes = "\n".join(note.text for note in report.notes)
    assert "Fewer than 10 faces are too few for an interval or a test: Occlusion (5)." in notes
    assert "k = 1: not finite: 1 of 60" in notes
    assert "nan" not in to_markdown(report)


def test_a_damaged_result_is_a_failed_training(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,))
    (folder_of(tmp_path, "k1") / RESULT_FILE).write_text("{")
    (tmp_path / "tables" / "other.json").write_text("{")
    report = sweep_reports(tmp_path, "drawn/topk")[0]
    assert report.cell("k1", "nme").remark == "failed: damaged result"
    assert report.cell("k3", "nme").mean is not None
    assert "delete" in to_markdown(report)
    with pytest.raises(RunError, match=r"other\.json"):
        sweep_reports(tmp_path)


def test_a_checkpoint_that_conditions_were_not_scored_with_is_said(tmp_path: Path) -> None:
    swept = write_sweep(tmp_path, curve_table(), seeds=(0,))
    for job in swept.jobs:
        place = evaluation_folder(job.folder(tmp_path), "share20")
        frame = pd.read_parquet(place / PREDICTIONS_FILE)
        frame[frame["checkpoint"] == "last"].to_parquet(place / PREDICTIONS_FILE, index=False)
        content = json.loads((place / RESULT_FILE).read_text())
        del content["metrics"]["test"]["best"]
        (place / RESULT_FILE).write_text(json.dumps(content))
    report = sweep_reports(tmp_path, checkpoint="best")[0]
    text = "\n".join(note.text for note in report.notes)
    assert "Not scored with checkpoint best, but with last: share20. --checkpoint last" in text
    assert "Not scored" not in "\n".join(note.text for note in sweep_reports(tmp_path)[0].notes)


def test_notes_speak_of_what_the_table_has(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0, 1), unfinished={(row, s): "new" for row in ("k1", "k3") for s in (0, 1)})
    text = "\n".join(note.text for note in sweep_reports(tmp_path)[0].notes)
    assert "Intervals cover" in text
    assert "standard deviation" in text
    assert "paired bootstrap test" not in text  # without the baseline there is none
    write_sweep(tmp_path / "new", unfinished={(row, s): "new" for row in ("k1", "k3", "k5") for s in (0, 1)})
    text = "\n".join(note.text for note in sweep_reports(tmp_path / "new")[0].notes)
    assert not any(words in text for words in ("Intervals", "standard deviation", "One seed"))


def test_two_rows_of_one_label_are_refused() -> None:
    """Figures and notes know rows by their labels."""
    rows = {name: {"label": "same", "overrides": [f"head={name}"]} for name in ("k3", "k5")}
    with pytest.raises(ConfigError, match=r"several rows labelled \['same'\]"):
        topk_table(rows=rows)
