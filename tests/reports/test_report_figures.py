"""Figures: files that decode, show something, and curves that say what the measures say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facegraph.errors import DataError
from facegraph.landmarks import COFW29
from facegraph.reports.plots import drawing
from facegraph.reports.plots.curves import plot_ced
from facegraph.reports.plots.landmarks import plot_graph, plot_per_landmark


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the pixels in each direction takes a fraction of the time."""
    monkeypatch.setattr(drawing, "DPI", 50)


RANDOM = np.random.default_rng(0)
SHAPE = RANDOM.uniform(-1, 1, (29, 2))


def assert_is_a_picture(path, height: int, width: int) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture.shape == (height, width, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    return picture


def test_ced_figure_is_written_twice_alike(tmp_path) -> None:
    errors = {"last": RANDOM.gamma(4, 0.012, 200), "with a missing face": np.array([0.01, np.nan, 0.2])}
    first = assert_is_a_picture(plot_ced(errors, 0.1, tmp_path / "new" / "a.png", "box"), 220, 340)
    second = assert_is_a_picture(plot_ced(errors, 0.1, tmp_path / "b.png", "box"), 220, 340)
    np.testing.assert_array_equal(first, second)


def test_per_landmark_figure(tmp_path) -> None:
    path = plot_per_landmark({"all": RANDOM.gamma(4, 0.01, 29)}, SHAPE, COFW29, tmp_path / "landmarks.png", "box")
    assert_is_a_picture(path, 270, 300)


@pytest.mark.parametrize(
    ("edges", "weights"),
    [([[0, 1], [1, 0], [3, 3], [4, 28]], [0.1, 0.9, 1.0, 0.5]), ([[2, 2]], [1.0]), ([[1, 2], [2, 3]], [1.0, 1.0])],
)
def test_graph_figure_takes_loops_and_equal_weights(tmp_path, edges, weights) -> None:
    path = plot_graph(np.array(edges), np.array(weights), SHAPE, COFW29, tmp_path / "graph.png")
    assert_is_a_picture(path, 270, 300)


def test_arrays_of_another_scheme_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="a face of 29 landmarks"):
        plot_per_landmark({"all": np.ones(30)}, SHAPE, COFW29, tmp_path / "x.png", "box")
    with pytest.raises(DataError, match=r"the face \(5, 2\);.*\(29, 2\) are needed"):
        plot_graph(np.array([[0, 1]]), np.ones(1), SHAPE[:5], COFW29, tmp_path / "x.png")
    with pytest.raises(DataError, match="from 0 to 29"):
        plot_graph(np.array([[0, 29]]), np.ones(1), SHAPE, COFW29, tmp_path / "x.png")
    with pytest.raises(DataError, match="no error distributions"):
        plot_ced({}, 0.1, tmp_path / "x.png", "box")
    assert not (tmp_path / "x.png").exists()
