"""A sweep's report on wandb, read back from its offline file, and the panels of its dashboard."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.errors import RunError
from facegraph.records.owned import own
from facegraph.sweeps.manifest import SweptTable, write_table
from facegraph.sweeps.table import Column, Evaluation, Row, Table
from facegraph.tracking import dashboard
from tests.helpers.wandb_file import finished_files, offline_files, read_offline_run

TABLE = Table(
    name="scc/table7_topk",
    title="Neighbours",
    source="drawn",
    cost="none",
    rows=(Row("k1", "k = 1", ("head.top_k=1",)), Row("k3", "k = 3", ("head.top_k=3",))),
    columns=(
        Column("nme", "NME", "nme"),
        Column("blur", "NME, blurred faces", "nme", subset="blur"),
        Column("dark", "NME in the dark", "nme", evaluation="dark"),
        Column("macs", "multiply-adds", "macs"),
    ),
    evaluations=(Evaluation("dark", "dark", ("corruption=dark",)),),
    checkpoint="best",
)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    folder = tmp_path / "table7_topk" / "smoke"
    write_table(folder, SweptTable(TABLE, "smoke", (), ("sweeps=scc/table7_topk",)))
    report = folder / "report" / "scc.table7_topk"
    report.mkdir(parents=True)
    (folder / "report" / "index.html").write_text("<html>all</html>")
    (report / "index.html").write_text("<html>one</html>")
    (report / "table.csv").write_text("row,nme,note\nk1,4.1,\nk3,,best\n")
    (report / "table.md").write_text("| k1 | 4.1 |\n")
    (report / "private.txt").write_text("no part of the report")
    own(folder / "report", [folder / "report" / "index.html"])
    own(report, [report / name for name in ("index.html", "table.csv", "table.md")])
    return folder


def test_report_is_an_artifact_of_the_group(sweep: Path) -> None:
    called = CliRunner().invoke(app, ["dashboard", str(sweep), "--offline", "--project", "faces"])
    assert called.exit_code == 0, called.output
    (path,) = finished_files(sweep)
    assert f"wandb sync {path.parent}" in called.output
    assert "without --offline" in called.output
    logged = read_offline_run(path)
    assert (logged.run.run_group, logged.run.job_type, logged.run.project) == ("table7_topk.smoke", "report", "faces")
    assert logged.run.run_id == "report.table7_topk.smoke"
    assert list(logged.run.tags) == ["scc/table7_topk"]
    (report,) = [artifact for artifact in logged.artifacts if artifact.type == "report"]
    assert {entry.path for entry in report.manifest.contents} == {
        "index.html",
        "scc.table7_topk/index.html",
        "scc.table7_topk/table.csv",
        "scc.table7_topk/table.md",
    }
    (page,) = logged.values("report/scc_table7_topk/index_html")
    assert page["_type"] == "html-file"
    assert (path.parent / "files" / page["path"]).read_text() == "<html>one</html>"
    (table,) = logged.values("report/scc_table7_topk/table_csv")
    assert (table["nrows"], table["ncols"]) == (2, 3)


def test_again_is_the_same_run(sweep: Path) -> None:
    for _ in range(2):
        dashboard.publish(sweep, sweep / "report", "faces", None, True, print)
    assert [read_offline_run(path).run.run_id for path in finished_files(sweep)] == ["report.table7_topk.smoke"] * 2


def test_wandb_mode_of_the_environment_counts(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[str] = []
    dashboard.publish(sweep, sweep / "report", "faces", None, False, said.append)
    assert "needs wandb's server" in said[-1]


def test_a_disabled_wandb_is_refused_by_name(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(RunError, match="WANDB_MODE=disabled"):
        dashboard.publish(sweep, sweep / "report", "faces", None, False, print)


def test_what_is_missing_is_said(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="facegraph report"):
        dashboard.publish(sweep, sweep / "tables", "faces", None, True, print)
    with pytest.raises(RunError, match="holds no sweep"):
        dashboard.publish(tmp_path, sweep / "report", "faces", None, True, print)
    assert not offline_files(sweep)


def test_no_account_is_said(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: object) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(RunError, match=r"No API key configured\. Log in \(wandb login\).*--offline"):
        dashboard.publish(sweep, sweep / "report", "faces", None, False, print)


ONLINE = SimpleNamespace(entity="me", project="faces")


def test_a_dashboard_is_made_once(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = pytest.importorskip("facegraph.tracking.layout", exc_type=ImportError)
    made: list[object] = []

    def save(self: object) -> SimpleNamespace:
        made.append(self)
        return SimpleNamespace(url="https://example.org/view")

    monkeypatch.setattr(layout.views.Workspace, "save", save)
    said: list[str] = []
    for _ in range(2):
        dashboard.lay_out(sweep, {}, ONLINE, [TABLE], said.append)
    assert len(made) == 1
    assert (sweep / "dashboard.url").read_text() == "https://example.org/view\n"
    assert all("https://example.org/view" in line for line in said)


def test_without_the_extra_its_name_is_said(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facegraph.tracking.layout", None)
    said: list[str] = []
    dashboard.lay_out(sweep, {}, ONLINE, [TABLE], said.append)
    assert "facegraph[dashboards]" in said[0]
    assert not (sweep / "dashboard.url").exists()


def test_panels() -> None:
    layout = pytest.importorskip("facegraph.tracking.layout", exc_type=ImportError)
    view = layout.workspace("g", [TABLE], ["report/a/index_html", "report/a/table_csv"], "me", "faces")
    assert (view.entity, view.project) == ("me", "faces")
    assert "Group" in view.runset_settings.filters
    assert "'g'" in view.runset_settings.filters
    sections = {section.name: section.panels for section in view.sections}
    page, table = sections["Report"]
    assert (page.media_keys, table.table_name) == (["report/a/index_html"], "report/a/table_csv")
    bars = sections["scc/table7_topk: Neighbours"]
    assert [bar.metrics[0].name for bar in bars] == ["test/nme/best", "test/nme/best/blur", "macs"]
    assert {bar.groupby for bar in bars} == {"JobType"}
    curves = sections["Training"]
    assert [curve.y for curve in curves[:3]] == [["val/nme"], ["train/loss"], ["train/faces_per_second"]]
    assert {curve.x for curve in curves} == {"trainer/global_step"}
    pictures = [panel.media_keys[0] for panel in sections["Faces"] if hasattr(panel, "media_keys")]
    assert {"pictures/ced", "pictures/per_landmark", "pictures/graph", "pictures/samples"} <= set(pictures)
