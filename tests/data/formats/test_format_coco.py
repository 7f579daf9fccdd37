"""COCO keypoints: faces with all points are read, the others are named one by one; a broken file is an error."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facegraph.data.formats.coco import read_coco
from facegraph.errors import DataError
from tests.data.formats.samples import coco, points

WHOLE: dict[str, Any] = coco()


def written(folder: Path, content: object) -> Path:
    path = folder / "faces.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_faces(tmp_path: Path) -> None:
    found = read_coco(written(tmp_path, WHOLE))
    assert found.unusable == ()
    assert [(face.id, face.image) for face in found.faces] == [
        (100, "sub/photo 0.jpg"), (101, "sub/photo 0.jpg"), (102, "sub/photo 1.jpg"),
    ]  # fmt: skip
    for seed, face in enumerate(found.faces):
        np.testing.assert_allclose(face.landmarks, points(5, seed))
        assert face.hidden is not None
        assert face.hidden.tolist() == [False, True, False, False, False]
        assert face.box is not None
        assert face.box.tolist() == [1, 2, 31, 42]
        assert face.where.endswith(f"faces.json, annotation {seed + 1}")


def test_without_visible_points_nothing_is_known_of_occlusion(tmp_path: Path) -> None:
    """Sets that write 1 for every point mean "annotated"."""
    found = read_coco(written(tmp_path, coco(visibility=(1, 1, 1, 1, 1))))
    assert [face.hidden for face in found.faces] == [None, None, None]


def test_boxes_sizes_and_categories_may_be_absent(tmp_path: Path) -> None:
    content = copy.deepcopy(WHOLE)
    del content["categories"]
    for entry in content["annotations"]:
        del entry["bbox"]
    for entry in content["images"]:
        del entry["width"], entry["height"]
    found = read_coco(written(tmp_path, content))
    assert [face.box for face in found.faces] == [None] * 3


def test_a_point_without_label_is_missing_wherever_it_is_written(tmp_path: Path) -> None:
    content = copy.deepcopy(WHOLE)
    content["annotations"][1]["keypoints"] = [7, 3, 0, *[1, 2, 2] * 4]
    found = read_coco(written(tmp_path, content))
    assert found.unusable == ()
    assert np.isnan(found.faces[1].landmarks).tolist() == [[True] * 2, *[[False] * 2] * 4]


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no points": ({"keypoints": []}, "'keypoints' is 0 numbers; a list of 15"),
    "another count": ({"keypoints": [1, 2, 2] * 6}, "'keypoints' is 18 numbers"),
    "text": ({"keypoints": ["1"] * 15}, "numbers are needed"),
    "infinite": ({"keypoints": [1e400, 2, 2, *[1, 2, 2] * 4]}, "keypoint 1, number 1"),
    "huge integer": ({"keypoints": [10**400, 2, 2, *[1, 2, 2] * 4]}, "too large"),
    "visibility": ({"keypoints": [1, 2, 7, *[1, 2, 2] * 4]}, "0, 1 and 2 are known"),
    "nan": ({"keypoints": [math.nan, 2, 2, *[1, 2, 2] * 4]}, "keypoint 1, number 1 .*nan"),
    "image": ({"image_id": 99}, "image_id is '99'; no usable entry"),
}


@pytest.mark.parametrize(("change", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_one_bad_face_leaves_the_others(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    content = copy.deepcopy(WHOLE)
    content["annotations"][1].update(change)
    text = json.dumps(content).replace("Infinity", "1e400")
    found = read_coco(written(tmp_path, text))
    assert [face.id for face in found.faces] == [100, 102]
    ((where, message),) = found.unusable
    assert where.endswith("faces.json, annotation 2")
    with pytest.raises(DataError, match=reason):
        raise DataError(message)


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([1, 2, -3, 5], [1, 2, -2, 7]),
        ([1, 2, 5], [math.nan] * 4),
        ("none", [math.nan] * 4),
        ([1e308, 2, 1e308, 5], [1e308, 2, math.inf, 7]),
    ],
)
def test_a_box_that_is_none_does_not_cost_its_face(tmp_path: Path, bbox: object, box: list[float]) -> None:
    content = copy.deepcopy(WHOLE)
    content["annotations"][1]["bbox"] = bbox
    found = read_coco(written(tmp_path, content))
    assert found.unusable == ()
    np.testing.assert_array_equal(found.faces[1].box, box)


def test_an_image_that_is_none_costs_its_own_faces(tmp_path: Path) -> None:
    content = copy.deepcopy(WHOLE)
    second = content["images"][1]
    del second["id"]
    found = read_coco(written(tmp_path, content))
    assert [face.id for face in found.faces] == [100, 101]
    assert [where.rpartition("faces.json, ")[2] for where, _ in found.unusable] == [
        "entry 2 of 'images'",
        "annotation 3",
    ]

    second["id"] = 0  # another file of the first one's id: neither can be trusted
    content["images"] += [{"id": 1, "file_name": "c.jpg"}, {"id": 1, "file_name": "c.jpg"}]
    found = read_coco(written(tmp_path, content))
    assert [(face.id, face.image) for face in found.faces] == [(102, "c.jpg")]
    assert "id '0' a second time" in found.unusable[0].reason


def test_the_count_can_be_asked_for(tmp_path: Path) -> None:
    assert len(read_coco(written(tmp_path, WHOLE), num_landmarks=5).faces) == 3
    with pytest.raises(DataError, match=r"68 points are wanted, and no category fits; there are 'face' \(5 names"):
        read_coco(written(tmp_path, WHOLE), num_landmarks=68)


BROKEN: dict[str, tuple[object, str]] = {
    "no json": ('{"images": [\n1,\n', "line 3: no json"),
    "a list": ([], "json of type list"),
    "no images": ({**WHOLE, "images": []}, "'images' is"),
    "no annotations": ({**WHOLE, "annotations": None}, "'annotations' is 'None'"),
    "image without id": ({**WHOLE, "images": [{}]}, "entry 1 of 'images'"),
    "no image with id": ('{"images": [NaN]}', "entry 1 of 'images': 'nan'; an object with id"),
    "deep": ("[" * 200_000, "cannot be read|no json"),
    "digits": ('{"images": ' + "9" * 5000 + "}", "cannot be read"),
    "nothing with keypoints": ({"images": WHOLE["images"], "annotations": [{"id": 1}]}, "no annotation has keypoints"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_an_error(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_coco(written(tmp_path, content))
    assert "faces.json" in str(caught.value)
