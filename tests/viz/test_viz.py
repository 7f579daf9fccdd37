"""Pictures of faces: where the ink goes, and that odd predictions do not break a sheet."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facegraph.errors import DataError
from facegraph.landmarks import COFW29, Contour, LandmarkScheme
from facegraph.viz.faces import GREEN, RED, contact_sheet, draw_landmarks, worst_faces, write_png

DOT = LandmarkScheme(name="dot", flip=(0,), normalisers={})
LINE = LandmarkScheme(name="line", flip=(0, 1), normalisers={}, contours=(Contour("line", (0, 1)),))
RANDOM = np.random.default_rng(0)


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("point", [(30.0, 20.0), (30.5, 20.25), (12.75, 40.5)])
def test_a_dot_lies_at_its_sub_pixel_position(point) -> None:
    image = black(64, 64)
    drawn = draw_landmarks(image, np.array([point]), DOT, (255, 255, 255)).astype(float)[..., 0]
    y, x = np.indices(drawn.shape)
    assert (drawn * x).sum() / drawn.sum() == pytest.approx(point[0], abs=0.1)
    assert (drawn * y).sum() / drawn.sum() == pytest.approx(point[1], abs=0.1)
    assert image.max() == 0


def test_lines_follow_contours_and_skip_missing_points() -> None:
    ends = np.array([[5.0, 32.0], [58.0, 32.0]])
    assert draw_landmarks(black(64, 64), ends, LINE, RED)[32, 30, 0] > 100
    ends[1] = np.nan
    assert draw_landmarks(black(64, 64), ends, LINE, RED)[32, 30, 0] == 0
    ends[1] = [1e12, 32]
    assert draw_landmarks(black(64, 64), ends, LINE, RED)[32, 60, 0] > 100


def test_contact_sheet_lays_out_rows_and_captions() -> None:
    tiles = [np.full((40, 128, 3), 50 * i, dtype=np.uint8) for i in range(5)]
    plain, captioned = contact_sheet(tiles, columns=3), contact_sheet(tiles, 3, ["one\ntwo", "x" * 300, "", "d", "e"])
    assert plain.shape == (2 * 42 + 2, 3 * 130 + 2, 3)
    assert captioned.shape[1] == plain.shape[1]
    assert captioned.shape[0] > plain.shape[0] + 40
    assert (plain[20, 130 * 2 + 60] == 100).all()
    assert captioned.max() > 240


def test_worst_faces_come_first_with_truth_and_prediction(tmp_path) -> None:
    truths = 100 + 60 * RANDOM.uniform(-1, 1, (20, 29, 2))
    predictions = truths + RANDOM.normal(size=truths.shape) * 3
    predictions[7] = np.nan
    predictions[3, 0] = [1e9, -1e9]
    errors = RANDOM.uniform(0.01, 0.1, 20)
    errors[3], errors[7] = 1e6, np.nan
    seen: list[int] = []

    def image_of(row: int) -> np.ndarray:
        seen.append(row)
        return np.full((200, 220, 3), 90, dtype=np.uint8)

    names = [f"a/rather/long/folder/of/photographs/face_{i:04d}.jpg" for i in range(20)]
    path = worst_faces(image_of, predictions, truths, errors, names, COFW29, tmp_path / "x" / "worst.png")
    assert seen == [7, 3, *[i for i in np.argsort(-errors) if i not in (3, 7)][:14]]
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)
    assert sheet.shape[1] == 4 * 325 + 5
    for colour in (GREEN, RED):
        assert (np.abs(sheet - colour).sum(axis=-1) < 60).sum() > 500


def test_png_keeps_colours_and_bad_images_are_refused(tmp_path) -> None:
    image = RANDOM.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB), image)
    with pytest.raises(DataError, match="uint8 RGB is needed"):
        write_png(tmp_path / "b.png", image.astype(float))
    with pytest.raises(DataError, match=r"needs \(29, 2\)"):
        draw_landmarks(image, np.zeros((28, 2)), COFW29)
    with pytest.raises(DataError, match="all of one size"):
        contact_sheet([black(4, 4), black(4, 5)], 2)
    with pytest.raises(DataError, match="at least one face"):
        worst_faces(lambda _: image, np.zeros((0, 29, 2)), np.zeros((0, 29, 2)), np.zeros(0), [], COFW29, tmp_path)
