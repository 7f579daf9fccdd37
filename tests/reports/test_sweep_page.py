"""The page of a swept table and the index of several: what a reader finds on them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facegraph.errors import DataError
from facegraph.reports.html import Link
from facegraph.reports.table import page as sweep_page
from facegraph.reports.table.page import write_index, write_sweep_page
from facegraph.reports.table.reading import sweep_reports
from facegraph.reports.table.writing import INDEX_PAGE, PAGE
from tests.helpers.sweeps import curve_table, topk_table, write_sweep


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """test_sweep_figures.py draws them."""
    monkeypatch.setattr(sweep_page, "draw_figures", lambda report, folder, done: [])


def page_of(sweep: Path, out: Path) -> str:
    return write_sweep_page(sweep_reports(sweep)[0], out)[-1].read_text(encoding="utf-8")


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_page_with_its_figures(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    parts: list[str] = []
    report = sweep_reports(tmp_path / "sweep")[0]
    *drawn, path = write_sweep_page(report, tmp_path / "out", parts.append)
    # equal costs make no figure
    expected = [f"{name}.{kind}" for name in ("swept", "ced", "per_landmark", "training") for kind in ("png", "svg")]
    assert [file.name for file in drawn] == expected
    assert all(file.is_file() for file in drawn)
    page = path.read_text(encoding="utf-8")
    assert path == tmp_path / "out" / PAGE
    assert page.count('src="data:image/png;base64,') == 4
    assert "bars: one standard deviation over seeds" in page
    assert parts == ["swept", "conditions", "ceds", "landmarks", "costs", "training"]


@pytest.mark.usefixtures("no_figures")
def test_values_tests_and_origin_are_on_the_page(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", means={"k1": 0.05, "k3": 0.04, "k5": 0.06})
    text = text_of(page_of(tmp_path / "sweep", tmp_path / "out"))
    assert "4.04 ± 0.06 *" in text  # the best row
    assert "5.27" in text  # only published
    assert "LAB &amp; co_1" in text
    for said in (
        "it covers the choice of seeds too, with one it does not",
        "0.008",
        "+1.01",
        "test_hash 0123456789ab",
    ):
        assert said in text
    for origin in (
        "c0ffeec0ffee",
        "cpu, 1 threads",
        "python train.py sweeps=drawn/topk scale=paper seed=0,1",
        "head.top_k=3 seed=1",
    ):
        assert origin in text
    assert "Unfinished and failed" not in text


@pytest.mark.usefixtures("no_figures")
def test_failed_and_missing_trainings_are_named_with_their_log(tmp_path: Path) -> None:
    unfinished = {("k1", 0): "failed", ("k1", 1): "partial", ("k5", 0): "new"}
    write_sweep(tmp_path / "sweep", unfinished=unfinished)
    text = text_of(page_of(tmp_path / "sweep", tmp_path / "out"))
    assert "out of memory: CUDA out of memory. Lower data.batch_size." in text
    assert "epoch 1 of 3" in text
    assert text.count("job.log") == 3
    assert "1 of 3 rows finished" in text


@pytest.mark.usefixtures("no_figures")
def test_a_small_scale_says_that_published_values_are_not_reproduced(tmp_path: Path) -> None:
    write_sweep(tmp_path / "small", scale="small")
    write_sweep(tmp_path / "paper", scale="paper")
    assert "not reproduced" in page_of(tmp_path / "small", tmp_path / "a")
    assert "not reproduced" not in page_of(tmp_path / "paper", tmp_path / "b")


@pytest.mark.usefixtures("no_figures")
def test_nothing_finished_is_still_a_page(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", seeds=(0,), unfinished={(row, 0): "new" for row in ("k1", "k3", "k5")})
    assert "No row is finished yet." in page_of(tmp_path / "sweep", tmp_path / "out")


@pytest.mark.usefixtures("no_figures")
def test_an_index_leads_to_each_page(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", seeds=(0,))
    write_sweep(tmp_path / "sweep", curve_table(), seeds=(0,))
    out = tmp_path / "out"
    pages = [
        (report, write_sweep_page(report, out / report.table.name.replace("/", "."))[-1])
        for report in sweep_reports(tmp_path / "sweep")
    ]
    page = write_index(pages, out).read_text(encoding="utf-8")
    targets = re.findall(r'<td><a href="([^"]+)"', page)
    assert len(targets) == 2
    assert all((out / target).is_file() for target in targets)
    assert (out / INDEX_PAGE).is_file()


@pytest.mark.usefixtures("no_figures")
def test_text_of_a_table_is_no_markup(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", topk_table(title="<script>alert(1)</script>"), seeds=(0,))
    assert "<script" not in page_of(tmp_path / "sweep", tmp_path / "out")


@pytest.mark.parametrize("target", ["/etc/x", "http://a.example", "javascript:alert(1)", "//a.example/x"])
def test_links_lead_nowhere_else(target: str) -> None:
    with pytest.raises(DataError, match="leads away"):
        Link("x", target)
