"""Figures of a sweep: what is drawn, from which numbers, and that equal numbers give equal files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from facegraph.errors import ConfigError, DataError
from facegraph.reports.plots import curves, landmarks, scatter
from facegraph.reports.plots.curves import Curve, plot_ced, plot_curves, plot_training
from facegraph.reports.plots.drawing import new_figure, style_of, value_axis, write_figure
from facegraph.reports.plots.landmarks import plot_per_landmark
from facegraph.reports.plots.scatter import Model, plot_costs
from facegraph.reports.table import figures as sweep_figures
from facegraph.reports.table.figures import draw_figures, primary_column
from facegraph.reports.table.reading import sweep_reports
from facegraph.reports.table.training_log import training_curve
from tests.helpers.sweeps import curve_table, topk_table, write_sweep

NAN = np.array([np.nan])


def captured(monkeypatch: pytest.MonkeyPatch, module: object) -> list:
    """Figures that a module writes, kept instead."""
    kept: list = []

    def keep(figure, path):  # type: ignore[no-untyped-def]
        kept.append(figure)
        return path

    monkeypatch.setattr(module, "write_figure", keep)
    return kept


def test_png_and_svg_appear_and_repeat_to_the_byte(tmp_path: Path) -> None:
    errors = {"k = 0.5": np.array([0.02, 0.05]), "k = 1": np.array([0.03, 0.2])}
    first = plot_ced(errors, 0.1, tmp_path / "a" / "ced_0.5", "inter_ocular")
    second = plot_ced(errors, 0.1, tmp_path / "b" / "ced_0.5", "inter_ocular")
    assert first.name == "ced_0.5.png"  # the dot is part of the name
    assert Image.open(first).size[0] > 600
    for kind in ("png", "svg"):
        one, two = (p.with_name(f"ced_0.5.{kind}").read_bytes() for p in (first, second))
        assert one == two
    assert b"date" not in first.with_name("ced_0.5.svg").read_bytes().lower().split(b"</metadata>")[0]


def test_ced_is_the_share_of_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, curves)
    plot_ced({"row": np.array([0.04, 0.02, np.nan, 0.5])}, 0.1, Path("x"), "inter_ocular")
    line = figures[0].axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 2, 4, 10])
    np.testing.assert_allclose(line.get_ydata(), [0, 25, 50, 50])
    # AUC: (8/10 + 6/10) / 4, FR: two of four
    assert line.get_label() == "row: AUC 35.00, FR 50.00"


def test_ced_needs_rows_and_a_threshold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        plot_ced({}, 0.1, tmp_path / "x", "box")
    with pytest.raises(ConfigError, match="above zero"):
        plot_ced({"a": np.array([0.1])}, 0.0, tmp_path / "x", "box")


def test_swept_values_are_the_ticks_and_97_fits() -> None:
    axes = new_figure().add_subplot()
    value_axis(axes, np.array([97, 1, 3, 2, 10, 20, 40, 4, 5, np.nan]))
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "3", "4", "5", "10", "20", "40", "97"]
    axes = new_figure().add_subplot()
    value_axis(axes, np.array([0.0, 0.1, 0.2, 0.5]))  # a share of zero has no logarithm
    assert axes.get_xscale() == "linear"


def test_published_curves_share_the_axes_unless_that_would_flatten_both(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, curves)
    x, paper = np.array([1.0, 3, 97]), np.array([4.44, 4.40, 4.75])
    for shift in (0.1, 8.0):
        plot_curves([Curve("NME", x, paper + shift)], [Curve("NME", x, paper, published=True)], "k", "NME", Path("x"))
    near, far = figures
    assert len(near.axes) == 1
    assert len(far.axes) == 2
    assert "published" in far.axes[1].get_title()
    assert far.axes[0].get_ylim()[0] > 12


def test_a_row_without_a_value_is_a_level_line(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, curves)
    series = Curve("Wing", np.array([0.1, 2.0]), np.array([6.52, 5.72]), np.array([6.5, 5.7]), np.array([6.6, 5.8]))
    plot_curves([series, Curve("L1", NAN, np.array([5.95]))], [], "eps", "NME [%]", Path("x"))
    levels = [line for line in figures[0].axes[0].lines if line.get_label() == "L1"]
    np.testing.assert_allclose(levels[0].get_ydata(), [5.95, 5.95])
    bars = figures[0].axes[0].collections[0].get_segments()
    np.testing.assert_allclose(bars[0][:, 1], [6.5, 6.6])


def test_an_unfinished_row_leaves_a_gap_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, curves)
    y = np.array([4.4, np.nan, 4.6])
    plot_curves([Curve("NME", np.array([1.0, 2, 3]), y, y - 0.1, y + 0.1)], [], "k", "NME", Path("x"))
    np.testing.assert_allclose(figures[0].axes[0].lines[0].get_xdata(), [1, 3])
    with pytest.raises(DataError, match="curves over k"):
        plot_curves([Curve("NME", np.array([1.0]), NAN)], [], "k", "NME", Path("x"))


def test_28_rows_are_told_apart_and_many_legends_stand_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({style_of(i)[:2] for i in range(28)}) == 28
    figures = captured(monkeypatch, curves)
    for count in (3, 9):
        plot_ced({f"row {i}": np.array([0.01 * (i + 1)]) for i in range(count)}, 0.1, Path("x"), "box")
    for figure, outside in zip(figures, (False, True), strict=True):
        FigureCanvasAgg(figure).draw()
        axes = figure.axes[0]
        assert bool(axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1) is outside


def test_labels_of_the_cost_figure_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, scatter)
    rng = np.random.default_rng(3)
    models = [Model(f"a model named {i}", 2 + rng.uniform(0, 0.4), 4 + rng.uniform(0, 0.2), 20.0) for i in range(9)]
    plot_costs([*models, Model("small", 0.1, 6.0, 1.0), Model("large", 40, 4.5, 200.0)], "G", "NME", Path("x"))
    figure = figures[0]
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 11
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = figure.axes[0].get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)


def test_labels_keep_off_the_intervals_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, scatter)
    models = [Model("a long name of a model", 1.0, 5.0), Model("b", 1.4, 6.0, low=4.0, high=8.0), Model("c", 3.0, 6.0)]
    plot_costs(models, "G", "NME", Path("x"))
    axes = figures[0].axes[0]
    FigureCanvasAgg(figures[0]).draw()
    (x, low), (_, high) = axes.transData.transform([(1.4, 4.0), (1.4, 8.0)])
    box = axes.texts[[text.get_text() for text in axes.texts].index(models[0].label)].get_window_extent()
    assert not (box.x0 < x < box.x1 and box.y0 < high and box.y1 > low)


def test_area_grows_with_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, scatter)
    plot_costs([Model("a", 1.0, 5.0, 10.0), Model("b", 2.0, 4.0, 20.0)], "G", "NME", Path("x"))
    small, large = (c.get_sizes()[0] for c in figures[0].axes[0].collections[:2])
    assert large == pytest.approx(2 * small)
    with pytest.raises(DataError, match="no model"):
        plot_costs([], "G", "NME", Path("x"))


def test_landmark_maps_show_the_difference_to_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch, landmarks)
    face = np.random.default_rng(0).normal(size=(5, 2))
    errors = {"base": np.full(5, 0.04), "row": np.array([0.03, 0.04, 0.06, 0.04, 0.04])}
    plot_per_landmark(errors, face, None, tmp_path / "x", "inter_ocular", "base")
    panel = figures[0].axes[0]
    np.testing.assert_allclose(panel.collections[0].get_array(), [-1, 0, 2, 0, 0], atol=1e-9)
    assert panel.get_title() == "row\nmean +0.20"
    assert [t.get_text() for t in panel.texts][:2] == ["2", "0"]
    with pytest.raises(DataError, match="5 landmarks"):
        plot_per_landmark({"row": np.ones(4)}, face, None, tmp_path / "x", "box")


def test_training_curves_of_resumed_parts_are_joined(tmp_path: Path) -> None:
    parts = {
        "log": {"epoch": [None, 0, 1, 2], "val/nme": [None, 0.5, 0.4, 0.3], "train/loss": [9.0, None, None, None]},
        "log_from_2024-05-01_10-00-00": {"epoch": [2, 3], "val/nme": [0.29, 0.2]},  # epoch 2 was trained again
    }
    for name, columns in parts.items():
        (tmp_path / name).mkdir()
        pd.DataFrame(columns).to_csv(tmp_path / name / "metrics.csv", index=False)
    (tmp_path / "log_from_2024-05-02_10-00-00").mkdir()
    (tmp_path / "log_from_2024-05-02_10-00-00" / "metrics.csv").touch()  # ended before its first line
    epochs, nme = training_curve(tmp_path)
    assert epochs.tolist() == [1, 2, 3, 4]
    assert nme.tolist() == [0.5, 0.4, 0.29, 0.2]
    assert len(training_curve(tmp_path / "nothing")[0]) == 0
    with pytest.raises(DataError, match="training curves"):
        plot_training({"row": [training_curve(tmp_path / "nothing")]}, tmp_path / "x")


def names(figures: list) -> list[str]:
    return [f.path.stem for f in figures]


def test_the_primary_column_is_the_nme_over_all_faces(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,), unfinished={(row, 0): "new" for row in ("k1", "k3", "k5")})
    column = primary_column(sweep_reports(tmp_path)[0])
    assert column is not None
    assert column.name == "nme"


def test_conditions_make_a_line_per_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list = []

    def keep(ours, published, *labels):  # type: ignore[no-untyped-def]
        drawn.append((ours, published, labels))
        return tmp_path / "x.png"

    monkeypatch.setattr(sweep_figures, "plot_curves", keep)
    write_sweep(tmp_path / "sweep", curve_table(), seeds=(0,), means={"gcn": 0.04, "fc": 0.05})
    figures = sweep_figures.draw_figures(sweep_reports(tmp_path / "sweep")[0], tmp_path)
    [(ours, published, labels)] = [each for each in drawn if each[2][0] == "occluded share"]
    assert [c.label for c in ours] == ["GCN", "FC"]
    assert ours[0].x.tolist() == [0.0, 0.2, 0.4]
    np.testing.assert_allclose(ours[0].y, [4.0, 5.2, 6.4], atol=1e-6)
    assert np.all(ours[0].low < ours[0].y)
    assert published == []
    assert labels[:2] == ("occluded share", "NME [%]")
    assert any("interval over test faces" in figure.caption for figure in figures)  # one seed has no spread


def test_rows_of_another_data_set_get_figures_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_figures, "plot_ced", lambda errors, limit, path, *others: path)
    write_sweep(tmp_path, cards={"k5": {"test_hash": "f" * 12, "dataset": "other"}})
    report = sweep_reports(tmp_path, mix_protocols=True)[0]
    drawn = names(sweep_figures.draw_figures(report, tmp_path / "out"))
    assert [name for name in drawn if name.startswith("ced")] == ["ced", "ced_2"]


def test_costs_are_drawn_where_they_differ_with_published_ones(tmp_path: Path) -> None:
    rows = topk_table().to_dict()["rows"]
    rows["lab"]["paper"] = {"nme": 5.27, "params": 32.05}
    write_sweep(tmp_path, topk_table(rows=rows), provenances={"k1": {"macs": 100_000_000, "params": 500_000}})
    report = sweep_reports(tmp_path)[0]
    assert names(sweep_figures._costs(report, tmp_path / "out")) == ["cost_macs"]
    column = primary_column(report)
    assert column is not None
    model = sweep_figures._model(report, report.row("k1"), column, "macs")
    assert model is not None
    assert (model.cost, model.params, model.published) == (pytest.approx(0.1), pytest.approx(0.5), False)
    assert sweep_figures._model(report, report.row("lab"), column, "macs") is None  # no multiply-adds published


def test_a_sweep_that_has_just_begun_has_no_figures_but_the_published_curve(tmp_path: Path) -> None:
    write_sweep(tmp_path, seeds=(0,), unfinished={(row, 0): "new" for row in ("k1", "k3", "k5")})
    assert names(draw_figures(sweep_reports(tmp_path)[0], tmp_path / "out")) == ["swept"]


def test_without_the_predictions_of_a_row_the_page_keeps_its_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_figures, "plot_per_landmark", lambda errors, face, scheme, path, *others: path)
    swept = write_sweep(tmp_path, seeds=(0,))
    report = sweep_reports(tmp_path)[0]
    (swept.jobs[0].folder(tmp_path) / "predictions.parquet").unlink()
    assert names(sweep_figures._landmarks(report, tmp_path / "out")) == ["per_landmark"]
    for job in swept.jobs[1:]:
        (job.folder(tmp_path) / "predictions.parquet").unlink()
    assert sweep_figures._landmarks(report, tmp_path / "out") == []


def test_write_figure_makes_folders(tmp_path: Path) -> None:
    assert write_figure(new_figure(), tmp_path / "a" / "b").is_file()


def test_the_swept_column_is_the_one_that_rows_have(tmp_path: Path) -> None:
    rows = topk_table().to_dict()["rows"]
    for k, row in enumerate(("k1", "k3", "k5")):
        rows[row] |= {"paper": {"occlusion": 5.0 + k}, "overrides": None}
    table = topk_table(rows={**rows, "own": {"label": "own", "overrides": ["x=1"]}}, baseline="own")
    write_sweep(tmp_path, table, seeds=(0,))
    report = sweep_reports(tmp_path)[0]
    column = sweep_figures._most_known(report)
    assert column is not None
    assert column.name == "occlusion"
    del rows["k3"], rows["k5"]  # one value makes no curve
    write_sweep(
        tmp_path / "one", topk_table(rows={**rows, "own": {"label": "own", "overrides": ["x=1"]}}, baseline="own")
    )
    assert sweep_figures._swept(sweep_reports(tmp_path / "one")[0], tmp_path / "out") == []
