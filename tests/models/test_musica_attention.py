"""The attention map: weights averaged over the right faces, and drawn where and as large as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facegraph.errors import DataError
from facegraph.landmarks import COFW29
from facegraph.models.musica.study.attention import mean_attention, plot_attention
from facegraph.reports.plots import drawing

RANDOM = np.random.default_rng(0)
SHAPE = RANDOM.uniform(0, 1, (29, 2))
PATCHES = np.arange(0, 29, 2)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "DPI", 50)


def test_a_face_counts_for_the_iterations_it_ran() -> None:
    of_faces = np.array([[[0.2, 0.4], [0.6, 0.8], [9.0, 9.0]], [[0.4, 0.8], [7.0, 7.0], [9.0, 9.0]]])
    expected = [[0.3, 0.6], [0.6, 0.8], [np.nan, np.nan]]
    np.testing.assert_allclose(mean_attention(of_faces, np.array([2, 1])), expected)
    np.testing.assert_allclose(mean_attention(of_faces[:, :1]), expected[:1])
    with pytest.raises(DataError, match=r"iterations have shape \(3,\).*\(2,\)"):
        mean_attention(of_faces, np.ones(3))
    with pytest.raises(DataError, match="at least one face"):
        mean_attention(of_faces[:0])


def picture(path: Path, weights: np.ndarray) -> np.ndarray:
    drawn = plot_attention(weights, SHAPE[PATCHES], SHAPE, COFW29, path)
    image = cv2.imread(str(drawn))
    assert image is not None
    return image


def test_one_face_per_iteration_and_larger_weights_are_larger_dots(tmp_path: Path) -> None:
    weights = np.tile(np.linspace(0.3, 0.5, len(PATCHES)), (3, 1))
    image = picture(tmp_path / "new" / "attention.png", weights)
    assert image.shape == (210, round(50 * (3 * 3.6 + 0.8)), 3)
    # saturated colours are the dots'; viridis runs from violet (blue over green) to yellow (green over blue)
    blue, green = image[:, :-60, 0].astype(int), image[:, :-60, 1].astype(int)
    violet, yellow = (blue > green + 60).sum(), (green > blue + 100).sum()
    assert yellow > 1.5 * violet > 30
    again = picture(tmp_path / "again.png", weights)
    np.testing.assert_array_equal(image, again)
    assert picture(tmp_path / "one.png", weights[:1]).shape[1] < image.shape[1] / 2


def test_titles_are_the_mean_or_say_that_nobody_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list = []
    monkeypatch.setattr(
        "facegraph.models.musica.study.attention.write_figure", lambda figure, path: figures.append(figure)
    )
    weights = np.array([[0.25] * len(PATCHES), [np.nan] * len(PATCHES)])
    plot_attention(weights, SHAPE[PATCHES], SHAPE, COFW29, tmp_path / "x.png")
    assert [axes.get_title() for axes in figures[0].axes[:2]] == ["iteration 1: mean 0.250", "iteration 2: not reached"]


def test_weights_that_are_all_alike_or_missing_are_drawn(tmp_path: Path) -> None:
    alike = picture(tmp_path / "alike.png", np.full((2, len(PATCHES)), 0.5))
    missing = picture(tmp_path / "missing.png", np.array([[0.5] * len(PATCHES), [np.nan] * len(PATCHES)]))
    assert (alike[:, 200:330] != missing[:, 200:330]).any(), "an iteration that nobody reached has no dots"


@pytest.mark.parametrize(
    ("weights", "points", "shape", "message"),
    [
        (np.ones(15), SHAPE[PATCHES], SHAPE, r"weights have shape \(15,\)"),
        (np.ones((3, 14)), SHAPE[PATCHES], SHAPE, r"patch points \(15, 2\)"),
        (np.ones((3, 15)), SHAPE[PATCHES], SHAPE[:20], r"'cofw29' needs \(29, 2\)"),
        (np.full((3, 15), np.nan), SHAPE[PATCHES], SHAPE, "finite"),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    weights: np.ndarray, points: np.ndarray, shape: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        plot_attention(weights, points, shape, COFW29, tmp_path / "attention.png")
    assert not (tmp_path / "attention.png").exists()
