"""Figures of a data set: files that decode, and counts that are right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from facegraph.errors import DataError
from facegraph.reports.plots.data_figures import plot_balancing, plot_boxes, plot_landmark_heat

RANDOM = np.random.default_rng(0)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: object, **kwargs: object) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def heights(figure: Figure) -> list[list[float]]:
    return [[bar.get_height() for bar in group] for group in figure.axes[0].containers if len(group)]


def test_balancing_counts_faces_and_draws(figures: list[Figure], tmp_path: Path) -> None:
    scores = np.array([0.0, 0.1, 0.1, 0.2, 2.9, 3.0])
    repeats = np.array([1, 1, 1, 1, 2, 2])
    path = plot_balancing(scores, repeats, 3, tmp_path / "new" / "poses.png")
    assert cv2.imread(str(path)).std() > 10
    assert heights(figures[0]) == [[4, 0, 2], [4, 0, 4]]
    assert [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()] == [
        "as they are: 6 faces",
        "balanced: 8 draws per epoch",
    ]


def test_one_face_and_equal_poses_are_drawn(tmp_path: Path) -> None:
    assert plot_balancing(np.zeros(1), np.ones(1, dtype=int), 9, tmp_path / "a.png").is_file()
    assert plot_boxes(np.array([50.0]), np.array([np.nan]), tmp_path / "b.png").is_file()


def test_heat_says_how_much_lies_outside(figures: list[Figure], tmp_path: Path) -> None:
    inside = RANDOM.uniform(0, 63, (50, 4, 2))
    half_out = inside.copy()
    half_out[:, :2, 0] = 64.0  # the last pixel's edge is at 63.5
    path = plot_landmark_heat({"a": inside, "b": half_out}, 64, tmp_path / "heat.png")
    assert cv2.imread(str(path)).std() > 10
    titles = [axes.get_title() for axes in figures[0].axes]
    assert "a\n0.00 % of landmarks outside the crop" in titles
    assert "b\n50.00 % of landmarks outside the crop" in titles


def test_heat_without_a_landmark_in_view(figures: list[Figure], tmp_path: Path) -> None:
    assert plot_landmark_heat({"a": np.full((3, 4, 2), 1e4)}, 64, tmp_path / "heat.png").is_file()
    assert figures[0].axes[0].get_title() == "a\n100.00 % of landmarks outside the crop"
    with pytest.raises(DataError, match="not finite"):
        plot_landmark_heat({"a": np.full((3, 4, 2), np.nan)}, 64, tmp_path / "x.png")


def test_counts_of_few_faces_have_whole_numbers_at_the_axis(figures: list[Figure], tmp_path: Path) -> None:
    plot_boxes(np.array([50.0, 80.0]), np.array([1.1, 1.2]), tmp_path / "a.png")
    for axes in figures[0].axes:
        ticks = axes.get_yticks()
        assert len(ticks) >= 2
        np.testing.assert_array_equal(ticks, np.rint(ticks))


def test_boxes_with_and_without_official_ones(figures: list[Figure], tmp_path: Path) -> None:
    sides = RANDOM.uniform(20, 900, 300)
    ratios = np.where(np.arange(300) % 2, 1.2, np.nan)
    plot_boxes(sides, ratios, tmp_path / "a.png")
    plot_boxes(sides, np.full(300, np.nan), tmp_path / "b.png")
    assert [len(figure.axes) for figure in figures] == [2, 1]
    assert sum(bar.get_height() for bar in figures[0].axes[0].patches) == 300
    assert sum(bar.get_height() for bar in figures[0].axes[1].patches) == 150
    assert "median 1.20" in figures[0].axes[1].get_title()


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 faces"):
        plot_balancing(np.zeros(0), np.zeros(0), 9, tmp_path / "x.png")
    with pytest.raises(DataError, match="repeats of 2"):
        plot_balancing(np.zeros(3), np.ones(2), 9, tmp_path / "x.png")
    with pytest.raises(DataError, match="at least one label"):
        plot_landmark_heat({"a": np.zeros((0, 4, 2))}, 64, tmp_path / "x.png")
    with pytest.raises(DataError, match="no face"):
        plot_boxes(np.zeros(0), np.zeros(0), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
