"""What people have in a csv of their own: splits, names of files and boxes; a fault never costs faces in silence."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facegraph.curation.doctor.checks_pictures import photographs
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.prepare.build import prepare
from facegraph.data.augment import Augmentation
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.boxes import LandmarkBox, OfficialBox
from facegraph.data.crops import CropsDataset
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.normalise import PerImage
from facegraph.data.prepared import PreparedDataset
from facegraph.data.source import LandmarkDataset
from facegraph.data.splits import HeldOut
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.writer import write_store
from facegraph.errors import ConfigError, DataError
from tests.helpers.faces import QUAD, annotation_frame, write_faces
from tests.helpers.quad_stores import SMALL_CROP, quad_content


@pytest.fixture
def frame() -> pd.DataFrame:
    return annotation_frame(6, tests=2).astype(object)


def opened(root: Path, **settings):
    return CropsDataset(root, QUAD, **settings)


@pytest.mark.parametrize("kind", ["another way to write it", "link", "copy"])
def test_a_file_of_both_splits_under_two_names_is_one_photograph(
    tmp_path: Path, frame: pd.DataFrame, kind: str
) -> None:
    write_faces(tmp_path, frame)
    images = tmp_path / "images"
    other = {"another way to write it": "images/face_000.png", "link": "link.png", "copy": "copy.png"}[kind]
    if kind == "link":
        (images / other).symlink_to(images / "face_000.png")
    elif kind == "copy":
        (images / other).write_bytes((images / "face_000.png").read_bytes())
    frame.loc[4, "image"] = other
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    with pytest.raises(DataError, match=rf"train: 'face_000\.png', line 2 and test: '{other}', line 6"):
        opened(tmp_path).train()
    frame.loc[4, "split"] = "train"
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    photos = opened(tmp_path).train().table.photos
    assert photos[0] == photos[4], "so that validation is not cut between them"


@pytest.mark.parametrize(
    ("split", "hint"),
    [
        ("tain", r"Did you mean 'train'\?"),
        ("Train", r"Did you mean 'train'\?"),
        ("valid", r"Did you mean 'val'\?"),
        ("x", ""),
    ],
)
def test_a_split_that_is_not_known_is_refused(tmp_path: Path, frame: pd.DataFrame, split: str, hint: str) -> None:
    frame.loc[[1, 2], "split"] = split
    write_faces(tmp_path, frame)
    told = rf"line 3: split '{split}' is none of train, val, test \(2 row\(s\) like this\)\. {hint}"
    with pytest.raises(DataError, match=told) as caught:
        opened(tmp_path).train()
    assert f"dataset.other_splits=[{split}]" in str(caught.value)
    assert len(opened(tmp_path, other_splits=[split]).train().table) == 2


def test_splits_that_settings_name_are_known(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["split"] = ["a", "a", "b", "b", "c", "c"]
    write_faces(tmp_path, frame)
    dataset = opened(tmp_path, train_split="a", val_split="b", test_split="c")
    tables = [dataset.train().table, dataset.val().table, dataset.test().table]
    assert [len(table) for table in tables] == [2, 2, 2]


def test_given_validation(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[3, "split"] = "val"
    write_faces(tmp_path, frame)
    dataset = opened(tmp_path)
    assert dataset.val_name == "val"
    assert dataset.val().table.ids == ("face_003.png",)
    assert opened(tmp_path, other_splits=["val"]).val() is None
    assert opened(tmp_path, test_split="val").val() is None, "what is scored chooses nothing"
    with pytest.raises(ConfigError, match=r"dataset\.val_split=test is the split that is scored"):
        opened(tmp_path, val_split="test").val()
    with pytest.raises(DataError, match=r"no faces of split 'valid' .* its splits are test, train, val"):
        opened(tmp_path, val_split="valid").val()


def test_names_in_the_folder_and_out_of_it(tmp_path: Path, frame: pd.DataFrame) -> None:
    root, link = tmp_path / "faces", tmp_path / "link"
    link.symlink_to(root)
    frame["image"] = [
        f"{root}/images/face_000.png",
        f"{link}/images/face_001.png",
        "../faces/images/face_002.png",
        "images/face_003.png",
        ".\\images\\face_004.png",
        "face_005.png",
    ]
    names = frame["image"].copy()
    write_faces(root, frame.assign(image=[f"face_{i:03d}.png" for i in range(6)]))
    frame.to_csv(root / "annotations.csv", index=False)
    for place in (root, link):
        table = opened(place).train().table
        assert table.ids == tuple(f"images/face_{i:03d}.png" for i in range(4))
        assert opened(place).test().image(0).shape == (64, 64, 3)
    for name, place in (
        ("/elsewhere/face.png", "/elsewhere/face.png"),
        ("../../face.png", f"{tmp_path.parent}/face.png"),
        ("C:\\faces\\face.png", "C:/faces/face.png"),
    ):
        frame["image"] = names
        frame.loc[2, "image"] = name
        frame.to_csv(root / "annotations.csv", index=False)
        with pytest.raises(DataError, match=re.escape(f"leads to '{place}', out of {root}")) as caught:
            opened(root).train()
        assert "line 4: image" in str(caught.value)


def test_rows_without_a_box(tmp_path: Path, frame: pd.DataFrame) -> None:
    points = frame[[f"{axis}{i}" for i in range(4) for axis in "xy"]].to_numpy(float).reshape(-1, 4, 2)
    boxes = pd.DataFrame(np.concatenate([points.min(axis=1) - 3, points.max(axis=1) + 3], axis=1).round(2))
    boxes.columns = ["box_x0", "box_y0", "box_x1", "box_y1"]
    frame = pd.concat([frame, boxes], axis=1).astype(object)
    frame.loc[1, list(boxes)] = ""
    csv = write_faces(tmp_path, frame)
    with pytest.warns(UserWarning, match=r"1 of 6 rows have no box \(line 3\)\. box=official refuses these"):
        table = opened(tmp_path).train().table
    assert np.isnan(table.boxes).all(axis=1).tolist() == [False, True, False, False]
    with pytest.raises(DataError, match=r"1 of 4 faces have no box of their own, first 'face_001\.png'"):
        OfficialBox().boxes(table.landmarks, table.boxes, table.ids)
    frame.loc[1, "box_x0"] = "3"
    frame.to_csv(csv, index=False)
    with pytest.raises(DataError, match="line 3, column box_y0: '' is no finite number"):
        opened(tmp_path).train()


READINGS = {
    "x, y, width, height": lambda b: np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1),
    "centre x, centre y, width, height": lambda b: np.concatenate(
        [(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], axis=1
    ),
    "y0, x0, y1, x1": lambda b: b[:, [1, 0, 3, 2]],
}


@pytest.mark.parametrize("reading", READINGS)
def test_boxes_that_are_no_corners_are_refused(tmp_path: Path, frame: pd.DataFrame, reading: str) -> None:
    points = [f"{axis}{i}" for i in range(4) for axis in "xy"]
    shift = np.tile([60.0, 0.0], 4)
    frame[points] = frame[points].to_numpy(float) + shift
    write_faces(tmp_path, frame, side=128)
    corners = frame[points].to_numpy(float).reshape(-1, 4, 2)
    corners = np.concatenate([corners.min(axis=1) - 4, corners.max(axis=1) + 4], axis=1)
    boxes = ["box_x0", "box_y0", "box_x1", "box_y1"]
    frame[boxes] = READINGS[reading](corners).round(2)
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    told = rf"should be x0, y0, x1, y1, but 6 of 6 fit the landmarks as {reading}\. Write their corners"
    for read in (lambda: opened(tmp_path).train(), lambda: FolderBenchmark(QUAD).index(tmp_path)):
        with pytest.raises(DataError, match=told):
            read()


@pytest.mark.parametrize("grown", [-6.0, 0.0, 3.0, 40.0])
@pytest.mark.parametrize("shift", [0.0, 60.0])
def test_boxes_smaller_or_larger_than_the_face_are_corners(
    tmp_path: Path, frame: pd.DataFrame, grown: float, shift: float
) -> None:
    points = [f"{axis}{i}" for i in range(4) for axis in "xy"]
    frame[points] = frame[points].to_numpy(float) + shift
    write_faces(tmp_path, frame, side=160)
    corners = frame[points].to_numpy(float).reshape(-1, 4, 2)
    frame[["box_x0", "box_y0"]] = corners.min(axis=1) - grown
    frame[["box_x1", "box_y1"]] = corners.max(axis=1) + grown
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    assert len(opened(tmp_path).train().table) == 4


# -------------------------------------------------------------------------------------------------------- prepared


def stored(root: Path, **settings) -> PreparedDataset:
    """The folder root/faces as a store root/store, with settings of the data set."""
    if not (root / "store").is_dir():
        prepare(FolderBenchmark(QUAD), root / "faces", root / "store", CropPolicy(side=64))
    return PreparedDataset(root / "store", **settings)


def test_unknown_splits_are_refused_by_prepare_too(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[1, "split"] = "tain"
    write_faces(tmp_path, frame)
    with pytest.raises(
        DataError, match=r"line 3: split 'tain' is none of .*'train'\?.*If it is meant, .*--other-splits"
    ):
        FolderBenchmark(QUAD).index(tmp_path)
    index = FolderBenchmark(QUAD, other_splits=["tain"]).index(tmp_path)
    assert Counter(face.split for face in index.faces) == {"train": 3, "test": 2, "tain": 1}


def test_a_store_validates_on_its_val(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[[2, 3], "split"] = "val"
    write_faces(tmp_path / "faces", frame)
    dataset = stored(tmp_path)
    assert dataset.val_name == "val"
    assert dataset.val().table.ids == ("face_002.png", "face_003.png")
    assert stored(tmp_path, test_split="val").val() is None
    with pytest.raises(DataError, match="no faces of split 'valid' for validation"):
        stored(tmp_path, val_split="valid").val()


def test_a_store_of_shared_photographs_is_not_trained_on(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path / "faces", frame)
    images = tmp_path / "faces" / "images"
    (images / "face_005.png").write_bytes((images / "face_001.png").read_bytes())
    dataset = stored(tmp_path)
    kinds = [(p["kind"], p["split"]) for p in dataset.store.info.problems]
    assert kinds == [("shared photograph", "train, test")]
    told = r"1 photograph\(s\) .*\(train: 'face_001\.png' and test: 'face_005\.png'\)"
    with pytest.raises(DataError, match=f"store: {told}"):
        dataset.train()
    with pytest.warns(UserWarning, match=told):
        dataset.test()
    with pytest.warns(UserWarning, match=told):
        assert len(stored(tmp_path, allow_shared_photographs=True).train().table) == 4
    findings = photographs(Examination(dataset.store))
    assert [finding.level for finding in findings] == ["error"], "doctor says so as well"


def test_official_sets_are_trained_on_as_they_are(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 6, tests=3, faces_per_photo=2)  # the second photograph is in both
    write_store(replace(content, official_counts={"train": 3, "test": 3}), tmp_path / "store", SMALL_CROP)
    dataset = PreparedDataset(tmp_path / "store")
    assert len(dataset.train().table) == 3
    assert dataset.shared_photographs == 0


def test_a_test_set_is_held_out_of_a_csv_without_splits(tmp_path: Path) -> None:
    frame = annotation_frame(20)
    frame["photo"] = [f"p{i // 2}" for i in range(20)]
    write_faces(tmp_path, frame.drop(columns="split"))
    with pytest.raises(DataError, match=r"no column split; .*facegraph prepare crops .*--test-fraction 0\.1 --seed 0"):
        opened(tmp_path).train()
    with pytest.raises(DataError, match=r"no column split; .*--test-fraction"):
        FolderBenchmark(QUAD).index(tmp_path)
    index = FolderBenchmark(QUAD, held_out=HeldOut(0.2)).index(tmp_path)
    assert Counter(face.split for face in index.faces) == {"train": 16, "test": 4}
    photos = [{face.photo for face in index.faces if face.split == split} for split in ("train", "test")]
    assert not photos[0] & photos[1]
    frame.loc[3, "split"] = "test"
    write_faces(tmp_path, frame)
    with pytest.raises(ConfigError, match="there is a test set"):
        FolderBenchmark(QUAD, held_out=HeldOut(0.2)).index(tmp_path)


def test_rows_without_a_box_are_counted_by_prepare(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame = frame.assign(box_x0=10, box_y0=10, box_x1=50, box_y1=55).astype(object)
    frame.loc[[1, 4], ["box_x0", "box_y0", "box_x1", "box_y1"]] = ""
    write_faces(tmp_path, frame)
    index = FolderBenchmark(QUAD).index(tmp_path)
    assert [face.box is None for face in index.faces] == [False, True, False, False, True, False]
    (problem,) = index.problems
    assert (problem.kind, problem.optional) == ("bad box", True)
    assert "2 of 6 rows have no box (line 3, 6)" in problem.message


# ------------------------------------------------------------------------------------------------------- data module


def module(dataset: LandmarkDataset, **settings) -> FaceDataModule:
    given = {"input_size": 32, "batch_size": 1, "eval_batch_size": 2, "num_workers": 0, "val_fraction": 0.3, "seed": 0}
    return FaceDataModule(dataset, Augmentation(), PerImage(), box=LandmarkBox(1.5), **(given | settings))


def test_nothing_is_cut_from_train_where_validation_is_given(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path, frame)
    cut = module(opened(tmp_path))
    cut.setup("fit")
    assert (len(cut.train_table), len(cut.val_table), cut.validation) == (3, 1, "cut from train by photograph")
    frame.loc[3, "split"] = "val"
    write_faces(tmp_path, frame)
    for fraction in (0.3, 0.0):
        given = module(opened(tmp_path), val_fraction=fraction)
        given.setup("fit")
        assert (len(given.train_table), given.validation) == (3, "given as split 'val'")
        assert given.val_table.ids == ("face_003.png",)
        (batch,) = list(given.val_dataloader())
        assert batch.index.tolist() == [0]
        assert batch.landmarks.shape == (1, 4, 2)
