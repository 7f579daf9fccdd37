"""What COCO files say about themselves holds: categories, names of keypoints, boxes, splits, where images lie."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facegraph.data.benchmarks.coco import CocoBenchmark
from facegraph.data.entries import FaceIndex
from facegraph.data.splits import HeldOut
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import IBUG68
from tests.helpers.trees import write_coco

Change = Callable[[dict[str, Any]], None]


def changed(root: Path, split: str, change: Change) -> Path:
    path = root / "annotations" / f"person_keypoints_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def points_of(index: FaceIndex) -> np.ndarray:
    return np.stack([face.landmarks for face in index.faces])


def notes(index: FaceIndex) -> list[str]:
    return [problem.name for problem in index.problems if problem.kind == "note"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_coco(tmp_path, train=6, val=0, test=4)
    return tmp_path


def reorder(content: dict[str, Any]) -> None:
    order = np.random.default_rng(0).permutation(68)
    category = content["categories"][0]
    category["keypoints"] = [category["keypoints"][i] for i in order]
    for annotation in content["annotations"]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (68, 3))[order].ravel().tolist()


def test_points_are_matched_by_name(source: Path) -> None:
    before = CocoBenchmark(IBUG68).index(source)
    assert notes(before) == []
    changed(source, "test", reorder)
    after = CocoBenchmark(IBUG68).index(source)
    np.testing.assert_array_equal(points_of(after), points_of(before))
    for face, other in zip(after.faces, before.faces, strict=True):
        np.testing.assert_array_equal(face.hidden, other.hidden)
    assert notes(after) == ["person_keypoints_test.json reordered by keypoint names"]


def rename(content: dict[str, Any]) -> None:
    content["categories"][0]["keypoints"][3] = "nose tip"


def unname(content: dict[str, Any]) -> None:
    del content["categories"][0]["keypoints"]


def repeat(content: dict[str, Any]) -> None:
    content["categories"][0]["keypoints"][3] = "point_4"


def call_it_otherwise(content: dict[str, Any]) -> None:
    content["categories"][0]["name"] = "person"


def of_nothing(content: dict[str, Any]) -> None:
    content["categories"] = []
    content["annotations"][0]["category_id"] = 2


def corners(content: dict[str, Any]) -> None:
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]


REFUSED: dict[str, tuple[Change, str]] = {
    "another name": (rename, r"do not have the names of .*train\.json: 'nose tip' here alone, 'point_3' there alone"),
    "no names": (unname, r"do not have the names of .*train\.json: none here alone, 'point_0', .* and 63 more there"),
    "one name twice": (repeat, r"category 'face' calls two keypoints 'point_4'"),
    "another category": (call_it_otherwise, r"faces are category 'person', but 'face' in .*train\.json"),
    "no categories": (of_nothing, r"no 'categories', but annotations of 2 categories"),
    "boxes of corners": (corners, r"should be x, y, width, height, but 4 of 4 fit the landmarks as x0, y0, x1, y1"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_matched_is_refused(source: Path, change: Change, message: str) -> None:
    changed(source, "test", change)
    with pytest.raises(DataError, match=rf"person_keypoints_test\.json.*{message}"):
        CocoBenchmark(IBUG68).index(source)


def test_files_without_names_are_matched_by_position_and_say_so(source: Path) -> None:
    before = CocoBenchmark(IBUG68).index(source)
    for split in ("train", "test"):
        changed(source, split, unname)
    index = CocoBenchmark(IBUG68).index(source)
    np.testing.assert_array_equal(points_of(index), points_of(before))
    assert notes(index) == ["keypoints matched by position"]


def add_hands(points: int, names: bool = True) -> Change:
    def change(content: dict[str, Any]) -> None:
        hand = {"id": 7, "name": "hand", "keypoints": [f"finger_{i}" for i in range(points)] if names else []}
        content["categories"].append(hand)
        whole = content["annotations"][0]
        content["annotations"] += [
            whole | {"id": 90 + i, "category_id": 7, "keypoints": whole["keypoints"][: 3 * points]} for i in range(5)
        ]

    return change


@pytest.mark.parametrize("points", [21, 68])
def test_annotations_of_another_category_are_no_faces(source: Path, points: int) -> None:
    before = CocoBenchmark(IBUG68).index(source)
    changed(source, "train", add_hands(points))
    if points == 68:
        with pytest.raises(
            DataError, match=r"68 points are wanted, and 2 categories fit; .*'face' .*'hand' .*--category"
        ):
            CocoBenchmark(IBUG68).index(source)
    index = CocoBenchmark(IBUG68, category="face" if points == 68 else None).index(source)
    np.testing.assert_array_equal(points_of(index), points_of(before))
    assert [(p.kind, p.split, p.name, p.optional) for p in index.problems] == [
        ("other category", "train", "5 x hand", True)
    ]
    with pytest.raises(DataError, match=r"no category is called 'fase'; .*Did you mean 'face'\?"):
        CocoBenchmark(IBUG68, category="fase").index(source)


def test_a_category_that_only_is_listed_is_no_choice(source: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"].append({"id": 7, "name": "hand", "keypoints": [f"f{i}" for i in range(68)]})

    changed(source, "train", change)
    assert len(CocoBenchmark(IBUG68).index(source).faces) == 10


def test_an_unknown_category_costs_its_annotation(source: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["category_id"] = 9
        del content["annotations"][1]["category_id"]

    changed(source, "train", change)
    index = CocoBenchmark(IBUG68).index(source)
    assert len(index.faces) == 8
    told = [problem.message.rpartition("json, ")[2] for problem in index.problems]
    assert told[0].startswith("annotation 1: category_id is '9'; no entry of 'categories'")
    assert told[1].startswith("annotation 2: category_id is 'None'")


def test_a_file_that_cannot_be_read_stops_the_others(source: Path) -> None:
    (source / "annotations" / "person_keypoints_test.json").write_text("{")
    with pytest.raises(DataError, match=r"person_keypoints_test\.json, line 1: no json"):
        CocoBenchmark(IBUG68).index(source)


# --------------------------------------------------------------------------------------------------------- one file


@pytest.fixture
def cvat(tmp_path: Path) -> Path:
    """An export as CVAT writes it: one json, pictures in images/default."""
    write_coco(tmp_path, train=20, val=0)
    folder = tmp_path / "annotations"
    (folder / "person_keypoints_train.json").rename(folder / "person_keypoints_default.json")
    (folder / "instances_default.json").write_text("{}")
    (tmp_path / "images").rename(tmp_path / "default")
    (tmp_path / "images").mkdir()
    (tmp_path / "default").rename(tmp_path / "images" / "default")
    return tmp_path


def test_one_file_is_named_and_a_split_is_offered(cvat: Path) -> None:
    with pytest.raises(DataError, match=r"has annotations/person_keypoints_default\.json, .*--test-fraction 0\.1"):
        CocoBenchmark(IBUG68).index(cvat)


def test_a_test_set_is_held_out_by_photograph(cvat: Path) -> None:
    benchmark = CocoBenchmark(IBUG68, held_out=HeldOut(0.2, seed=1))
    index = benchmark.index(cvat)
    assert Counter(face.split for face in index.faces) == {"train": 16, "test": 4}
    photos = {split: {f.photo for f in index.faces if f.split == split} for split in ("train", "test")}
    assert not photos["train"] & photos["test"]
    assert all(face.id.startswith(f"{face.split}/") for face in index.faces)
    assert index.faces[0].image.name.startswith("images/default/train_")
    assert benchmark.index(cvat).faces[3].split == index.faces[3].split
    other = CocoBenchmark(IBUG68, held_out=HeldOut(0.2, seed=2))
    assert {f.photo for f in other.index(cvat).faces if f.split == "test"} != photos["test"]
    assert len({benchmark.version, other.version, CocoBenchmark(IBUG68).version}) == 3, "stores of their own"


def test_val_stays_val_beside_a_test_set_that_is_held_out(tmp_path: Path) -> None:
    write_coco(tmp_path, train=10, val=4)
    index = CocoBenchmark(IBUG68, held_out=HeldOut(0.2)).index(tmp_path)
    assert Counter(face.split for face in index.faces) == {"train": 8, "test": 2, "val": 4}
    assert notes(index) == []


def test_a_test_set_is_not_held_out_beside_another(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is a test set\. Leave --test-fraction out"):
        CocoBenchmark(IBUG68, held_out=HeldOut(0.2)).index(source)
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            HeldOut(fraction)


# ------------------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize(
    "written", ["{root}/images/{name}", "images/{name}", "../images/{name}", "./images//{name}", "{name}"]
)
def test_images_are_found_however_their_names_are_written(source: Path, written: str) -> None:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["file_name"] = written.format(root=source, name=image["file_name"])

    before = CocoBenchmark(IBUG68).index(source)
    changed(source, "train", change)
    index = CocoBenchmark(IBUG68).index(source)
    assert [face.image.name for face in index.faces] == [face.image.name for face in before.faces]
    assert not index.problems


def test_the_same_photograph_in_two_files_is_told(source: Path) -> None:
    images = source / "images"
    (images / "test_000001.jpg").write_bytes((images / "train_000000.jpg").read_bytes())
    index = CocoBenchmark(IBUG68).index(source)
    ((kind, split, message),) = [(p.kind, p.split, p.message) for p in index.problems]
    assert (kind, split) == ("shared photograph", "train, test")
    assert "'images/train_000000.jpg' in 'train'" in message
    assert "'images/test_000001.jpg' in 'test'" in message
    photos = {split: {face.photo for face in index.faces if face.split == split} for split in ("train", "test")}
    assert len(photos["train"] & photos["test"]) == 1
