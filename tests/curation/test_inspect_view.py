"""What inspect draws is what lies in the store and what the pipeline makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facegraph.curation.inspection import sheets, statistics
from facegraph.curation.inspection.view import StoreView
from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.boxes import DetectorJitteredBox, LandmarkBox, OfficialBox
from facegraph.data.store.layout import CropPolicy, list_counts
from facegraph.data.store.reader import FaceStore
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box, square_crop
from facegraph.viz.faces import RED
from facegraph.viz.numbers import LEFT, RIGHT
from tests.helpers.faces import find_dot
from tests.helpers.quad_stores import quad_store

PLAIN = Augmentation()
MIRROR = Augmentation(GeometricAugmentation(flip_probability=1.0))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    return quad_store(tmp_path_factory.mktemp("quad"), 24, 6, CropPolicy(side=96))


def view_of(store: FaceStore, augmentation: Augmentation = PLAIN, margin: float = 1.6) -> StoreView:
    return StoreView(store, "train", LandmarkBox(margin=margin), augmentation, input_size=128)


def near(picture: np.ndarray, point: np.ndarray, colour: tuple[int, int, int], reach: int = 3) -> bool:
    """Whether a colour is seen within reach px of a point (2,)."""
    x, y = np.rint(point).astype(int)
    part = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].astype(int)
    return bool((np.abs(part - np.array(colour)).max(axis=-1) < 40).any())


def test_landmarks_lie_on_the_dots_of_the_photograph_in_every_frame(store: FaceStore) -> None:
    view = view_of(store, Augmentation(GeometricAugmentation(rotation_degrees=20, shift=0.05, flip_probability=0.5)))
    for face in range(6):
        tight = square_crop(landmark_box(view.landmarks[face]), 1.8, 200)
        for crop in (view.plain(face), view.augmented(face, 0), view.augmented(face, 1), view.around(face, tight, 200)):
            for point in crop.landmarks:
                assert np.abs(find_dot(crop.image, point, radius=12) - point).max() < 0.35


def test_the_same_draw_is_the_same_crop(store: FaceStore) -> None:
    augmentation = Augmentation(GeometricAugmentation(rotation_degrees=30))
    view, again = view_of(store, augmentation), view_of(store, augmentation)
    np.testing.assert_array_equal(view.augmented(3, 1).image, again.augmented(3, 1).image)
    assert (view.augmented(3, 1).image != view.augmented(3, 2).image).any()
    assert (view.augmented(3, 1).landmarks != view.augmented(4, 1).landmarks).any()


def test_a_mirrored_face_keeps_left_colours_on_the_left(store: FaceStore) -> None:
    view = view_of(store, MIRROR)
    assert [tuple(c) for c in view.colours] == [LEFT, RIGHT, LEFT, RIGHT]
    crop = view.augmented(0, 0)
    sheet = sheets.augmented_sheet(view, np.array([0]))
    tile, gap = 256, 4
    for n in range(sheets.DRAWS + 1):
        drawn = sheet[gap : gap + tile, gap + n * (tile + gap) :][:, :tile]
        points = 2 * (view.plain(0) if n == 0 else crop).landmarks + 0.5
        for i, colour in enumerate((LEFT, RIGHT, LEFT, RIGHT)):
            assert near(drawn, points[i], colour), (n, i)
            assert (points[i][0] < 128) == (colour == LEFT)


def test_choosing_repeats_itself_and_stays_within(store: FaceStore) -> None:
    view = view_of(store)
    np.testing.assert_array_equal(view.choose(7), view.choose(7))
    assert len(set(view.choose(7))) == 7
    np.testing.assert_array_equal(view.choose(100), np.arange(18))
    assert set(view.choose(3, [2, 5, 7, 11])) < {2, 5, 7, 11}
    with pytest.raises(ConfigError, match="count is 0"):
        view.choose(0)


def test_what_cannot_be_viewed_is_refused(store: FaceStore) -> None:
    with pytest.raises(DataError, match=r"no faces of 'val'.*train"):
        StoreView(store, "val", LandmarkBox(), PLAIN)
    with pytest.raises(ConfigError, match="input size is 8"):
        StoreView(store, "train", LandmarkBox(), PLAIN, input_size=8)
    with pytest.raises(DataError, match="have no box of their own"):
        StoreView(store, "train", OfficialBox(), PLAIN)


def test_scored_boxes_are_the_jittered_ones_and_training_moves_them_anew(store: FaceStore) -> None:
    view = StoreView(store, "train", DetectorJitteredBox(shift=0.2), PLAIN, input_size=64)
    fixed = view.plain(1).image_to_crop
    np.testing.assert_array_equal(view.plain(1).image_to_crop, fixed)
    np.testing.assert_allclose(view.trained_on.table.boxes, landmark_box(view.landmarks))
    assert np.abs(view.scored.table.boxes - view.trained_on.table.boxes).max() > 1
    assert np.abs(view.augmented(1, 0).image_to_crop - view.augmented(1, 1).image_to_crop).max() > 0.1


def test_hidden_landmarks_and_both_squares_are_drawn(store: FaceStore) -> None:
    view = view_of(store, margin=1.25)
    assert view.hidden(0).tolist() == [True, False, False, False]
    assert view.hidden(1).tolist() == [False] * 4
    sheet = sheets.stored_sheet(view, np.array([0, 1]))
    tile = sheet[4:260, 4:260]
    factor = 256 / 96
    points = (view.store.source(view.rows).image_to_stored(0)[:2, :2] @ view.landmarks[0].T).T
    points = (points + view.store.source(view.rows).image_to_stored(0)[:2, 2] + 0.5) * factor - 0.5
    assert near(tile, points[0], RED)
    assert not near(tile, points[1], RED)
    box = landmark_box(points)
    half = 1.25 * (box[2:] - box[:2]).max() / 2
    for sign in (-1, 1):
        edge = (box[:2] + box[2:]) / 2 + [sign * half, 0]
        assert near(tile, edge, (255, 225, 60), reach=2)
        assert not near(tile, edge + np.array([sign * 6, 0]), (255, 225, 60), reach=2)


def test_suspicious_faces_name_their_worst_landmarks(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    monkeypatch.setattr(sheets, "contact_sheet", lambda tiles, columns, texts: captions.extend(texts) or tiles[0])
    view = view_of(store)
    per_landmark = np.tile([1.0, 2.0, 9.0, 3.0], (18, 1))
    sheets.suspicious_sheet(view, np.array([5]), np.full(18, 4.25), per_landmark)
    assert captions == ["4.2   worst: 2, 3, 1\n" + view.scored.table.ids[5]]


def test_a_place_is_that_of_the_crop(store: FaceStore) -> None:
    augmentation = Augmentation(GeometricAugmentation(rotation_degrees=20, shift=0.05, flip_probability=0.5))
    view = StoreView(store, "train", DetectorJitteredBox(shift=0.2), augmentation, input_size=64)
    for face in range(6):
        for crop, place in (
            (view.plain(face), view.plain_place(face)),
            (view.augmented(face, 1), view.augmented_place(face, 1)),
        ):
            np.testing.assert_array_equal(crop.image_to_crop, place.image_to_crop)
            np.testing.assert_array_equal(crop.landmarks, place.landmarks)


def test_numbers_of_boxes_are_rounded_not_in_powers_of_ten(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(store)
    frame = store.frame.assign(value_a=1120.4, value_b=-2.07e-16, value_c=12.345, value_d=0.98765, value_e=9.99996)
    monkeypatch.setattr(store, "frame", frame)
    rows = {str(name): values for name, *values in statistics.box_rows(view)}
    assert [str(rows[name][0]) for name in "abcde"] == ["1120", "0.0", "12.3", "0.988", "10.0"]


def test_empty_area_is_told_from_what_the_store_lost(store: FaceStore, tmp_path: Path) -> None:
    inside = statistics.crop_statistics(view_of(store, PLAIN, margin=1.6))
    assert inside.lost == 0
    assert inside.plain.shape == (18, 4, 2)
    assert inside.augmented.shape == (4 * 18, 4, 2)
    small = quad_store(tmp_path, 8, 0, CropPolicy(side=96, scale=1.25))
    # a crop of 1.5 box sides in a store of 1.25: 1 - (1.25 / 1.5)^2, and the photograph is large enough
    beyond = statistics.crop_statistics(view_of(small, PLAIN, margin=1.5))
    assert beyond.lost == pytest.approx(1 - (1.25 / 1.5) ** 2, abs=0.06)
    assert beyond.empty == pytest.approx(beyond.lost)


def test_rows_of_counts_and_problems(store: FaceStore) -> None:
    info = replace(store.info, official_counts={"train": 20, "val": 3, "train/odd": 9})
    assert [(*count, count.difference) for count in list_counts(info)] == [
        ("train", 18, 20, -2), ("train/odd", 9, 9, 0), ("val", 0, 3, -3), ("test", 6, None, None),
        ("test/odd", 3, None, None),
    ]  # fmt: skip
    problems = tuple(
        {"kind": kind, "split": split, "name": f"{kind} {i}", "message": f"message {i}"}
        for kind, split, count in (("missing part", "", 1), ("missing image", "train", 5))
        for i in range(count)
    )
    assert statistics.problem_rows(problems) == [
        ("missing image", "train", 5, "missing image 0, missing image 1, missing image 2, ...", "message 0"),
        ("missing part", None, 1, "missing part 0", "message 0"),
    ]
