"""facegraph report: what it prints, what it writes, what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.records import prediction_frame
from facegraph.records.owned import LIST
from facegraph.reports.table.cells import Report
from facegraph.reports.table.csv_file import to_frame
from facegraph.reports.table.figures import Drawn
from facegraph.reports.table.reading import sweep_report
from facegraph.reports.table.writing import write_report
from facegraph.sweeps.manifest import read_sweep
from tests.helpers.runs import environment
from tests.helpers.sweeps import curve_table, drawn_errors, topk_table, write_begun, write_run, write_sweep

FILES = {"table.md", "table.tex", "table.csv", LIST}
NOT_RUN = {(row, seed): "new" for row in ("k1", "k3", "k5") for seed in (0, 1)}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *(str(a) for a in arguments)])


def test_a_sweep_with_several_tables_writes_all_and_an_index(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k5", 0): "failed"})
    write_sweep(tmp_path, curve_table())
    done = call(tmp_path, "--no-page")
    assert done.exit_code == 0, done.output
    for words in ("Neighbours of a landmark", "Occluded share", "k = 5, seed 0: out of memory"):
        assert words in done.stdout
    folder = tmp_path / "report"
    assert {p.name for p in folder.iterdir()} == {"drawn.topk", "drawn.occlusion", "index.md", LIST}
    assert {p.name for p in (folder / "drawn.topk").iterdir()} == FILES
    index = (folder / "index.md").read_text()
    assert "[Neighbours of a landmark](drawn.topk/table.md)" in index
    assert (folder / "drawn.topk/table.md").is_file()


def test_one_table_with_its_page_goes_straight_into_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # figures take seconds and have tests of their own
    monkeypatch.setattr("facegraph.reports.table.page.draw_figures", lambda report, folder, done: [])
    write_sweep(tmp_path / "sweep")
    write_sweep(tmp_path / "sweep", curve_table())
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "table.md").write_text("mine too")
    refused = call(tmp_path / "sweep", "--table", "drawn/topk", "--out", out)
    assert refused.exit_code == 1
    assert "holds table.md, which no report lists as its own" in refused.stderr
    assert {p.name: p.read_text() for p in out.iterdir()} == {"notes.txt": "mine", "table.md": "mine too"}
    (out / "table.md").unlink()
    for _ in range(2):  # its own files it replaces
        done = call(tmp_path / "sweep", "--table", "drawn/topk", "--out", out)
        assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir() if p.suffix != ".html" and p.is_file()} == {*FILES, "notes.txt"}
    assert (out / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert (out / "notes.txt").read_text() == "mine"
    assert "Neighbours of a landmark" in (out / "table.md").read_text()
    assert "Occluded share" not in done.stdout
    assert not (tmp_path / "sweep" / "report").exists()


def test_figures_that_only_an_earlier_report_had_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(report: Report, folder: Path, done: object) -> list[Drawn]:
        folder.mkdir(parents=True, exist_ok=True)
        for name in kinds:
            (folder / f"{name}.svg").write_text("")
            Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
        return [Drawn(folder / f"{name}.png", name) for name in kinds]

    monkeypatch.setattr("facegraph.reports.table.page.draw_figures", draw)
    swept = write_sweep(tmp_path, seeds=(0,), unfinished=NOT_RUN)
    report, out = sweep_report(swept, tmp_path), tmp_path / "out"
    kinds = ["swept", "ced"]
    write_report(report, out)
    (out / "figures" / "mine.png").write_text("")
    kinds = ["swept"]
    write_report(report, out)
    assert {p.name for p in (out / "figures").iterdir()} == {"swept.png", "swept.svg", "mine.png"}


def test_a_place_that_takes_no_files_ends_with_a_message(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", unfinished=NOT_RUN)
    (tmp_path / "file").write_text("")
    done = call(tmp_path / "sweep", "--no-page", "--out", tmp_path / "file")
    assert done.exit_code == 1
    assert "cannot write the report to" in done.stderr
    assert "Give another --out" in done.stderr
    assert not isinstance(done.exception, OSError)


def test_the_same_report_twice_is_the_same_files(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    contents = []
    for name in ("a", "b"):
        swept = read_sweep(tmp_path / "sweep")[0]
        write_report(sweep_report(swept, tmp_path / "sweep"), tmp_path / name, page=False)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_a_report_made_again_sees_what_was_trained_since(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k1", 0): "new", ("k1", 1): "new"})
    before = call(tmp_path, "--no-page")
    assert "k = 1, seed 0: not run yet" in before.stdout
    job = next(job for job in read_sweep(tmp_path)[0].jobs if (job.row, job.seed) == ("k1", 0))
    write_run(job.folder(tmp_path), drawn_errors(0.0321), overrides=job.overrides)
    after = call(tmp_path, "--no-page")
    assert "3.21 (1 of 2)" in after.stdout
    assert "k = 1, seed 0" not in after.stdout


def test_a_sweep_of_which_nothing_has_run_ends_well(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished=NOT_RUN)
    done = call(tmp_path, "--no-page")
    assert done.exit_code == 0, done.output
    assert "not run" in done.stdout


def test_run_folders_make_a_table(tmp_path: Path) -> None:
    for k, mean in ((1, 0.05), (3, 0.045)):
        for seed in (0, 1):
            overrides = (f"head.top_k={k}", f"seed={seed}")
            write_run(tmp_path / f"{k}_{seed}", drawn_errors(mean, seed), seed, overrides=overrides)
    write_begun(tmp_path / "5_0", drawn_errors(0.05), epochs=1)  # waits for the others
    done = call(*sorted(tmp_path.iterdir()), "--out", tmp_path / "out", "--no-page")
    assert done.exit_code == 0, done.output
    assert "head.top_k=3" in done.stdout
    frame = pd.read_csv(tmp_path / "out" / "table.csv")
    means = frame[(frame["of"] == "all seeds") & (frame["column"] == "nme")].set_index("row")["ours"]
    assert "5_0, seed 0: not finished, epoch 1 of 3" in done.stdout
    assert means.dropna().to_dict() == pytest.approx({"head.top_k=1": 5.0, "head.top_k=3": 4.5}, abs=1e-4)


def test_mixed_protocols_need_to_be_asked_for(tmp_path: Path) -> None:
    write_sweep(tmp_path, cards={"k5": {"test_hash": "f00"}})
    refused = call(tmp_path, "--no-page")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: table drawn/topk would put different protocols into one column: k = 5")
    assert not (tmp_path / "report").exists()
    mixed = call(tmp_path, "--no-page", "--mix-protocols")
    assert mixed.exit_code == 0, mixed.output
    assert "k = 5 [a]" in mixed.stdout
    assert "[a] another protocol than the rest of its column: k = 5: test_hash 'f00'" in mixed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "scc/x"), "has no table 'scc/x'; choose from drawn/topk"),
        (("--checkpoint", "first"), "choose last or best"),
    ],
)
def test_wrong_names_end_with_a_message(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished=NOT_RUN)
    done = call(tmp_path, *arguments)
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_sweep_is_not_mixed_with_runs(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", unfinished=NOT_RUN)
    write_run(tmp_path / "run", drawn_errors(0.05))
    done = call(tmp_path / "sweep", tmp_path / "run")
    assert done.exit_code == 1
    assert "a report is of one sweep, or of run folders" in done.stderr
    done = call(tmp_path / "run", "--table", "x")
    assert "chooses among the tables of a sweep" in done.stderr


def test_records_reports_and_pictures_need_neither_torch_nor_hydra(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,))
    code = (
        "import sys\n"
        "for name in ('torch', 'hydra', 'omegaconf', 'pytorch_lightning'): sys.modules[name] = None\n"
        "import facegraph.reports.plots.landmarks, facegraph.reports.table.page, facegraph.viz.faces\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "from facegraph.cli import app\n"
        f"app(['report', {str(tmp_path)!r}, '--no-page'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "drawn.topk" / "table.md").is_file()


def test_2500_faces_and_9_rows_take_seconds(tmp_path: Path) -> None:
    """The faces and subsets of WFLW, with fewer points, which take longer to write than to read."""
    subsets = ["pose", "expression", "illumination", "makeup", "occlusion", "blur"]
    columns = {
        f"nme_{subset}": {"label": str(subset), "metric": "nme", "subset": subset} for subset in [None, *subsets]
    }
    rows = {f"k{k}": {"label": f"k = {k}", "overrides": [f"head.top_k={k}"]} for k in range(9)}
    swept = write_sweep(tmp_path, topk_table(columns=columns, rows=rows), seeds=(0,))
    rng = np.random.default_rng(0)
    attributes = {name: np.random.default_rng(i).random(2500) < 0.1 * (i + 1) for i, name in enumerate(subsets)}
    truth, norm = rng.uniform(0, 100, (2500, 4, 2)), np.full(2500, 100.0)
    for job in swept.jobs:
        predicted = truth + 100 * rng.lognormal(-3, 0.5, (2500, 1, 1)) * [1, 0]
        ids = [f"{i:05d}" for i in range(2500)]
        frame = prediction_frame(ids, np.arange(2500), predicted, truth, {"inter_ocular": norm}, attributes, "last")
        frame.to_parquet(job.folder(tmp_path) / "predictions.parquet", index=False)
    started = time.process_time()
    report = sweep_report(swept, tmp_path)
    to_frame(report)
    assert report.cell("k3", "nme_None").faces == 2500
    assert time.process_time() - started < 60, (
        "seconds, even on a slow machine; every face against every other takes minutes"
    )
