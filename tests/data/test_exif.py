"""Points on pictures that ask to be shown turned: sizes decide, or the user is asked; never a silent guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facegraph.curation.prepare.build import prepare
from facegraph.data.annotations import read_annotations
from facegraph.data.benchmarks.coco import CocoBenchmark
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.crops import CropsDataset
from facegraph.data.entries import DOUBTFUL_IMAGE
from facegraph.data.exif import size_fault
from facegraph.data.formats.coco import read_coco
from facegraph.data.prepared import PreparedDataset
from facegraph.data.store.layout import EXIF_APPLIED, EXIF_IGNORED, CropPolicy, StoreInfo
from facegraph.data.store.reader import FaceStore
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import transform_points
from tests.data.test_orientation import skip_unless_readable
from tests.helpers.faces import QUAD, find_dot
from tests.helpers.turned import FORMATS, stored_for, write_turned_faces

MIXED = (1, 6, 8, 1)


def prepared(source: Path, out: Path, coco: bool = False, exif: str | None = None) -> StoreInfo:
    benchmark = CocoBenchmark(QUAD) if coco else FolderBenchmark(QUAD)
    return prepare(benchmark, source, out, CropPolicy(side=64, exif=exif or EXIF_IGNORED), decide_exif=exif is None)


def faults(info: StoreInfo) -> list[Mapping[str, Any]]:
    """Problems without the notes on how a file was read."""
    return [problem for problem in info.problems if not problem["optional"]]


def beside_dots(image: np.ndarray, points: np.ndarray) -> float:
    """The largest distance, px of the image, of a point (N, 2) from the dot that was drawn there; inf without a dot."""
    with np.errstate(invalid="ignore"):
        found = np.array([find_dot(image, point, radius=5) for point in points])
    return float(np.nan_to_num(np.abs(found - points), nan=np.inf).max())


@pytest.mark.parametrize("ending", FORMATS)
def test_sizes_of_upright_pictures_turn_them_on_both_ways_in(tmp_path: Path, ending: str) -> None:
    skip_unless_readable(ending)
    uprights = write_turned_faces(tmp_path / "faces", MIXED, ending)
    with pytest.warns(UserWarning, match="2 image.s. ask to be shown turned .*; they are turned upright"):
        source = CropsDataset(tmp_path / "faces", QUAD).train()
    info = prepared(tmp_path / "faces", tmp_path / "store")
    assert info.crop.exif == EXIF_APPLIED
    store = FaceStore(tmp_path / "store")
    assert len(store) == 4
    stored = store.source(np.arange(4))
    for index in range(3):
        assert np.abs(source.image(index).astype(int) - uprights[index]).mean() < 2
        assert beside_dots(source.image(index), source.table.landmarks[index]) < 1
        points = transform_points(stored.image_to_stored(index), stored.table.landmarks[index])
        assert beside_dots(stored.image(index), points) < 1.5


@pytest.mark.parametrize("coco", [False, True])
def test_sizes_of_stored_pictures_leave_them(tmp_path: Path, coco: bool) -> None:
    write_turned_faces(tmp_path / "faces", MIXED, ".tif", size="stored", coco=coco)
    info = prepared(tmp_path / "faces", tmp_path / "store", coco)
    assert (info.crop.exif, faults(info), info.photographs["rotated in EXIF"]) == (EXIF_IGNORED, [], 2)
    if coco:
        return
    with pytest.warns(UserWarning, match="they are taken as stored"):
        source = CropsDataset(tmp_path / "faces", QUAD).train()
    assert [source.image(index).shape for index in range(3)] == [(64, 90, 3), (90, 64, 3), (90, 64, 3)]


@pytest.mark.parametrize(
    ("orientations", "size", "named"),
    [
        (MIXED, None, "2 of 4 images"),
        ((1, 3, 1), "upright", "1 of 3 images"),
        ((2, 1, 1), "upright", "'face_0.png'"),
        ((6, 3, 1), "upright", "Width and height fit only the upright picture for 1 face(s) (of 2)"),
    ],
)
def test_what_sizes_do_not_decide_is_asked(
    tmp_path: Path, orientations: tuple[int, ...], size: str | None, named: str
) -> None:
    root = tmp_path / "faces"
    uprights = write_turned_faces(root, orientations, size=size)
    with pytest.raises(DataError, match=re.escape(named)) as folder:
        CropsDataset(root, QUAD).train()
    assert "dataset.exif=apply" in str(folder.value)
    assert "dataset.exif=ignore" in str(folder.value)
    with pytest.raises(DataError, match=re.escape(named)) as store:
        prepared(root, tmp_path / "store")
    assert "--exif apply" in str(store.value)
    assert not (tmp_path / "store").exists()
    source = CropsDataset(root, QUAD, exif="apply").train()
    assert all(np.array_equal(source.image(index), uprights[index]) for index in range(len(source.table)))


def test_a_turned_picture_of_the_other_split_is_seen_before_training(tmp_path: Path) -> None:
    write_turned_faces(tmp_path / "faces", (1, 1, 6), size=None)
    with pytest.raises(DataError, match="1 of 3 images"):
        CropsDataset(tmp_path / "faces", QUAD).train()


def test_landmarks_that_fit_one_of_the_two_pictures_are_told(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    write_turned_faces(root, MIXED, size=None)
    table = pd.read_csv(root / "annotations.csv")
    table.loc[1, "x0"] = 80  # of 90 px upright, of 64 px as stored
    table.to_csv(root / "annotations.csv", index=False)
    with pytest.raises(DataError, match="Landmarks lie within only the upright picture for 1 face"):
        CropsDataset(root, QUAD).train()


def test_other_words_for_the_rule_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"exif is 'applied'; 'ignore', 'apply' and null"):
        CropsDataset(tmp_path, QUAD, exif="applied")


@pytest.mark.parametrize("coco", [False, True])
def test_faces_on_pictures_of_another_size_are_left_out_and_named(tmp_path: Path, coco: bool) -> None:
    root = tmp_path / "faces"
    uprights = write_turned_faces(root, (1, 1, 1), coco=coco)
    Image.fromarray(uprights[0]).resize((45, 32)).save(root / "images" / "face_0.png")
    info = prepared(root, tmp_path / "store", coco)
    assert dict(info.counts) == {"train": 1, "test": 1}
    (problem,) = faults(info)
    assert problem["kind"] == DOUBTFUL_IMAGE
    assert "45 x 32 px, but the annotation was made on 90 x 64: it was resized by 0.5" in problem["message"]
    with pytest.raises(DataError, match="--strict"):
        prepare(CocoBenchmark(QUAD) if coco else FolderBenchmark(QUAD), root, tmp_path / "strict", strict=True)
    if not coco:
        with pytest.raises(DataError, match=r"annotations\.csv, line 2: .*resized by 0\.5 .*1 of 2 rows"):
            CropsDataset(root, QUAD).train()


def test_a_wrong_answer_of_the_user_leaves_out_what_does_not_fit(tmp_path: Path) -> None:
    write_turned_faces(tmp_path / "faces", MIXED)
    info = prepared(tmp_path / "faces", tmp_path / "store", exif=EXIF_IGNORED)
    assert [problem["name"] for problem in info.problems] == ["face_1.png", "face_2.png"]
    with pytest.raises(DataError, match="one was turned, by EXIF or after it was marked"):
        CropsDataset(tmp_path / "faces", QUAD, exif="ignore").train()


def test_a_folder_that_was_resized_as_a_whole_is_refused_before_it_is_read(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    for number, upright in enumerate(write_turned_faces(root, (1, 1, 1), coco=True)):
        Image.fromarray(upright).resize((180, 128)).save(root / "images" / f"face_{number}.png")
    with pytest.raises(DataError, match=r"none of 3 faces .* resized by 2 after it was marked"):
        prepared(root, tmp_path / "store", coco=True)


@pytest.mark.parametrize(
    ("marked", "size", "named"),
    [
        (None, (640, 480), None),
        ((640, 480), (640, 480), None),
        ((640.0, 427.0), (320, 213), "resized by 0.5"),
        ((640, 480), (480, 640), "one was turned"),
        ((640, 480), (600, 480), "cut after it was marked, or is another picture"),
    ],
)
def test_the_likely_cause_of_another_size(
    marked: tuple[float, float] | None, size: tuple[int, int], named: str | None
) -> None:
    fault = size_fault(marked, size)
    assert (fault is None) if named is None else (named in str(fault))


def test_sizes_in_the_csv(tmp_path: Path) -> None:
    write_turned_faces(tmp_path, (1, 1, 1))
    path = tmp_path / "annotations.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[1, "width"] = ""
    table.to_csv(path, index=False)
    rows = read_annotations(path, QUAD)
    assert [rows.marked_size(row) for row in range(3)] == [(90, 64), None, (90, 64)]
    table.loc[1, "width"] = "wide"
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match="line 3: columns width and height are 'wide' and '64'"):
        read_annotations(path, QUAD)
    table.drop(columns="height").to_csv(path, index=False)
    assert read_annotations(path, QUAD).marked_size(0) is None


@pytest.mark.parametrize(
    ("stated", "found"),
    [('"width": 90, "height": 64', (90, 64)), ('"width": 0, "height": 0', None), ('"width": null', None), ("", None)],
)
def test_sizes_in_coco(tmp_path: Path, stated: str, found: tuple[int, int] | None) -> None:
    write_turned_faces(tmp_path, (1, 1, 1), coco=True)
    path = tmp_path / "annotations" / "test.json"
    path.write_text(re.sub(r'(, )?"width": 90, "height": 64', f", {stated}" if stated else "", path.read_text()))
    assert read_coco(path, 4).faces[0].image_size == found


def test_results_know_that_pictures_were_turned(tmp_path: Path) -> None:
    write_turned_faces(tmp_path / "faces", MIXED)
    write_turned_faces(tmp_path / "plain", (1, 1, 1))
    for exif, applied in (("apply", True), (None, True)):
        assert CropsDataset(tmp_path / "faces", QUAD, exif=exif).exif_applied == applied
    assert not CropsDataset(tmp_path / "plain", QUAD, exif="apply").exif_applied
    prepared(tmp_path / "faces", tmp_path / "store")
    prepared(tmp_path / "plain", tmp_path / "plain_store", exif=EXIF_APPLIED)
    assert PreparedDataset(tmp_path / "store", scheme=QUAD).exif_applied
    assert not PreparedDataset(tmp_path / "plain_store", scheme=QUAD).exif_applied


def test_the_helper_stores_what_pillow_shows_upright() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert stored_for(picture, 6).shape == (4, 2, 3)
    assert np.array_equal(stored_for(stored_for(picture, 6), 8), picture)
