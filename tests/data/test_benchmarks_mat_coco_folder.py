"""Benchmarks in MATLAB files, COCO json and a folder with a csv; finding files; reading many of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from facegraph.curation.prepare.datasets import BENCHMARKS
from facegraph.data.benchmarks import gathering, lp300w
from facegraph.data.benchmarks.coco import CocoBenchmark
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.benchmarks.lp300w import Lp300wBenchmark, split_of
from facegraph.data.benchmarks.source_tree import SourceTree, relative_name
from facegraph.data.crops import CropsDataset
from facegraph.data.entries import FaceIndex
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import COFW29, IBUG68
from tests.helpers.crops import write_crops
from tests.helpers.trees import write_300wlp, write_coco, write_cofw, write_cofw68
from tests.helpers.trees_pictures import photos

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LP, COFW, COFW68 = (BENCHMARKS[name] for name in ("300wlp", "cofw", "cofw68"))


def kinds(index: FaceIndex) -> Counter[str]:
    return Counter(problem.kind for problem in index.problems)


def points_of(index: FaceIndex) -> np.ndarray:
    return np.stack([face.landmarks for face in index.faces])


# ---------------------------------------------------------------------------------------------------------- 300W-LP


def test_300wlp_poses_groups_photographs_and_splits(tmp_path: Path) -> None:
    write_300wlp(tmp_path)
    faces = {face.id: face for face in LP.index(tmp_path).faces}
    poses = [faces[f"HELEN/HELEN_100032540_1_{i}.jpg"] for i in range(3)]
    assert [round(face.values["yaw"]) for face in poses] == [12, -41, 76]
    assert [round(face.values["pitch"]) for face in poses] == [-3, 2, 5]
    assert [face.values["aug"] for face in poses] == [0, 1, 2]
    groups = [[name for name, on in face.attributes.items() if on] for face in poses]
    assert groups == [["yaw_0_30"], ["yaw_30_60"], ["yaw_60_90"]]
    assert {face.photo for face in poses} == {"HELEN_100032540"}
    assert faces["AFW/AFW_134212_1_0.jpg"].photo == "AFW_134212"
    assert faces["LFPW/LFPW_image_test_0002_1.jpg"].photo == "LFPW_image_test_0002"
    assert {face.photo for face in faces.values() if face.split == "train"}.isdisjoint(
        face.photo for face in faces.values() if face.split == "test"
    )


def test_300wlp_kinds_of_points_and_flips(tmp_path: Path) -> None:
    tree = write_300wlp(tmp_path, flips=True)
    for points, shift in (("pts_2d", 0.0), ("pt2d", 0.25), ("pts_3d", 0.5)):
        found = {face.id: face.landmarks for face in Lp300wBenchmark(points).index(tmp_path).faces}
        for face in tree.faces:
            assert np.allclose(found[face.image], face.landmarks + np.array([shift, 0.0]), atol=1e-6)
    both = Lp300wBenchmark(flipped=True)
    index = both.index(tmp_path)
    assert len(index.faces) == 2 * len(tree.faces)
    assert both.official_counts["all"] == 2 * LP.official_counts["all"] == 122_450
    pairs = {face.id: face for face in index.faces}
    one, other = pairs["AFW/AFW_134212_1_1.jpg"], pairs["AFW_Flip/AFW_134212_1_1.jpg"]
    assert one.photo == other.photo
    assert one.values["yaw"] == -other.values["yaw"]
    with pytest.raises(ConfigError, match="pts_4d"):
        Lp300wBenchmark("pts_4d")


def test_300wlp_without_parts_of_it(tmp_path: Path) -> None:
    tree = write_300wlp(tmp_path / "a", points_files=False, kinds={2: "missing"})
    index = LP.index(tmp_path / "a")
    assert kinds(index) == {"missing part": 1, "missing image": 4}
    assert "pt2d" in index.problems[0].message
    assert len(index.faces) == len(tree.faces) - 4

    write_300wlp(tmp_path / "b", {"AFW": 3, "LFPW": 3})
    (tmp_path / "b" / "AFW" / "AFW_134212_1_0.mat").write_bytes(b"no matlab file")
    (tmp_path / "b" / "landmarks" / "AFW" / "AFW_134212_1_1_pts.mat").unlink()
    (tmp_path / "b" / "LFPW" / "LFPW_image_train_0001_2.mat").unlink()
    index = LP.index(tmp_path / "b")
    assert len(index.faces) == 3
    assert {p.name for p in index.problems if p.kind == "missing part"} == {"HELEN", "IBUG"}
    assert {p.name for p in index.problems if p.kind == "bad annotation"} == {
        "AFW/AFW_134212_1_0.jpg",
        "AFW/AFW_134212_1_1_pts.mat",
        "LFPW/LFPW_image_train_0001_2.jpg",
    }


def test_300wlp_landmark_folders_are_not_taken_for_pictures(tmp_path: Path) -> None:
    write_300wlp(tmp_path, {"AFW": 2, "LFPW": 2})
    for path in (tmp_path / "AFW").iterdir():
        path.unlink()
    (tmp_path / "AFW").rmdir()
    index = LP.index(tmp_path)
    assert {face.id.partition("/")[0] for face in index.faces} == {"LFPW"}
    assert len(index.faces) == 2


@pytest.mark.skipif(not (SHARED / "300w_crops256").is_dir(), reason="the real list of 300-W names is not at hand")
def test_300wlp_the_rule_for_helen_agrees_with_300w() -> None:
    names = pd.read_csv(SHARED / "300w_crops256" / "annotations.csv", usecols=["image"])["image"]
    matches = [match for name in names if (match := re.match(r"helen_(train|test)set_(.*)\.", name))]
    assert Counter(match[1] for match in matches) == {"train": 870, "test": 330}
    assert all(split_of("HELEN", f"HELEN_{match[2]}_0") == match[1] for match in matches)
    assert split_of("HELEN", "HELEN_2965035072_1_3") == "train"


@pytest.mark.parametrize(("tests", "told"), [(2, []), (3, ["HELEN"])])
def test_300wlp_another_number_of_helen_test_faces_is_told(
    tests: int, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_300wlp(tmp_path, {"HELEN": 4})
    stems = {path.stem.rpartition("_")[0] for path in (tmp_path / "HELEN").glob("*.mat")}
    real = sum(split_of("HELEN", stem) == "test" for stem in stems)
    monkeypatch.setattr(lp300w, "_HELEN_FACES", len(stems))
    monkeypatch.setattr(lp300w, "_HELEN_TEST_FACES", real + (tests - 2))
    problems = [p for p in LP.index(tmp_path).problems if p.kind == "bad annotation"]
    assert [p.name for p in problems] == told
    assert all(p.optional and f"{real} of {len(stems)} Helen faces" in p.message for p in problems)
    monkeypatch.setattr(lp300w, "_HELEN_FACES", len(stems) + 1)  # an incomplete set proves nothing
    assert not [p for p in LP.index(tmp_path).problems if p.kind == "bad annotation"]


def test_300wlp_a_yaw_beyond_90_is_of_the_last_group(tmp_path: Path) -> None:
    write_300wlp(tmp_path, {"AFW": 1})
    path = next((tmp_path / "AFW").glob("*_0.mat"))
    variables = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    variables["Pose_Para"][0, 1] = np.radians(-93)
    savemat(path, variables)
    face = next(face for face in LP.index(tmp_path).faces if face.image.path.stem == path.stem)
    assert [name for name, on in face.attributes.items() if on] == ["yaw_60_90"]


def test_several_processes_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_300wlp(tmp_path)
    (tmp_path / "AFW" / "AFW_134212_1_0.mat").write_bytes(b"damaged")
    alone = LP.index(tmp_path)
    monkeypatch.setattr(gathering, "POOL_FROM", 1)
    reported: list[tuple[int, int]] = []
    together = LP.index(tmp_path, 2, lambda done, total: reported.append((done, total)))
    assert [face.id for face in together.faces] == [face.id for face in alone.faces]
    assert np.array_equal(points_of(together), points_of(alone))
    assert together.problems == alone.problems
    assert reported[-1] == (24, 24)


# ------------------------------------------------------------------------------------------------------------- COFW


def test_cofw_pixels_boxes_and_occlusion(tmp_path: Path) -> None:
    write_cofw(tmp_path, train=4, test=2, grey_every=3)
    faces = COFW.index(tmp_path).faces
    made = photos(COFW29, "train", 4, side=48)
    for i, (face, photo) in enumerate(zip(faces[:4], made, strict=True)):
        pixels = face.image.read()
        if i != 2:
            assert np.array_equal(pixels, photo.pixels)
        else:
            assert np.array_equal(pixels[..., 0], pixels[..., 2])
            assert np.array_equal(pixels[..., 0], photo.pixels.mean(axis=2).astype(np.uint8))
        low, high = photo.landmarks[0].min(axis=0), photo.landmarks[0].max(axis=0)
        assert np.allclose(face.box, [*(low - 3), *(high + 3)])
        assert face.hidden.tolist() == [n < i for n in range(29)]
        assert face.values["occluded_share"] == pytest.approx(i / 29)


def test_cofw_one_file_of_two_and_files_of_the_wrong_name(tmp_path: Path) -> None:
    write_cofw(tmp_path, train=0, test=3)
    index = COFW.index(tmp_path)
    assert {face.split for face in index.faces} == {"test"}
    assert [(p.kind, p.split) for p in index.problems] == [("missing part", "train")]
    (tmp_path / "COFW_test_color.mat").rename(tmp_path / "COFW_train_color.mat")
    with pytest.raises(DataError, match="holds the test faces of COFW, not those of train"):
        COFW.index(tmp_path)


def test_cofw_a_damaged_face_or_box_leaves_the_others(tmp_path: Path) -> None:
    write_cofw(tmp_path, train=4, test=2)
    with h5py.File(tmp_path / "COFW_train_color.mat", "r+") as file:
        file["phisTr"][7, 1] = np.nan
        file["phisTr"][60, 2] = 2
        file["bboxesTr"][2, 3] = 0
    index = COFW.index(tmp_path)
    assert [face.id for face in index.faces] == ["train/0001", "train/0004", "test/0001", "test/0002"]
    assert index.faces[1].box[2] == index.faces[1].box[0]
    assert [(p.kind, p.split, p.name) for p in index.problems] == [
        ("bad annotation", "train", "COFW_train_color.mat, variable phisTr, face 2"),
        ("bad annotation", "train", "COFW_train_color.mat, variable phisTr, face 3"),
    ]


def test_cofw68_belongs_to_the_pictures_of_cofw(tmp_path: Path) -> None:
    tree = write_cofw68(tmp_path, test=4)
    data = tmp_path / "COFW68_Data"
    index = COFW68.index(tmp_path)
    assert [face.id for face in index.faces] == ["test/0001", "test/0002", "test/0003", "test/0004"]
    assert np.allclose(points_of(index), np.stack([face.landmarks for face in tree.faces]))
    assert [int(face.hidden.sum()) for face in index.faces] == [0, 1, 2, 3]
    pictures = COFW.index(tmp_path).faces
    assert np.array_equal(index.faces[3].image.read(), pictures[3].image.read())

    (data / "test_annotations" / "2_points.mat").unlink()
    (data / "test_annotations" / "3_points.mat").write_bytes(b"damaged")
    savemat(data / "cofw68_test_bboxes.mat", {"bboxes": np.ones((9, 4))})
    index = COFW68.index(tmp_path)
    assert [face.id for face in index.faces] == ["test/0001", "test/0004"]
    assert [p.name for p in index.problems] == ["cofw68_test_bboxes.mat", "2_points.mat", "3_points.mat"]
    assert all(face.box is None for face in index.faces)


# --------------------------------------------------------------------------------------------------- COCO and folders


def test_coco_splits_boxes_and_faces_that_are_left_out(tmp_path: Path) -> None:
    write_coco(tmp_path / "two", unlabelled=(1,))
    index = CocoBenchmark(IBUG68).index(tmp_path / "two")
    assert Counter(face.split for face in index.faces) == {"train": 6, "test": 4}
    assert [(p.kind, p.split, p.name) for p in index.problems] == [
        ("note", "test", "person_keypoints_val.json is the split test"),
    ]
    # whoever writes the store decides what becomes of it
    assert [face.id for face in index.faces if np.isnan(face.landmarks).any()] == ["train/2"]
    face = index.faces[2]
    assert face.id == "train/3"
    assert face.image.name == "images/train_000001.jpg"
    assert np.allclose(face.box, [*face.landmarks.min(axis=0), *face.landmarks.max(axis=0)])
    assert face.hidden.tolist() == [True] + [False] * 67
    assert face.image.read().ndim == 3

    tree = write_coco(tmp_path / "three", test=3)
    index = CocoBenchmark(IBUG68, "mine").index(tmp_path / "three")
    assert Counter(face.split for face in index.faces) == {"train": 6, "val": 4, "test": 3}
    assert np.allclose(points_of(index), np.stack([face.landmarks for face in tree.faces]))


def test_coco_images_in_folders_of_their_split_and_names_that_lead_out(tmp_path: Path) -> None:
    write_coco(tmp_path, train=4, val=2)
    path = tmp_path / "annotations" / "person_keypoints_train.json"
    path = path.rename(path.with_name("person_keypoints_train2017.json"))
    (tmp_path / "images").rename(tmp_path / "train2017")
    path.write_text(path.read_text().replace("train_000001.jpg", "../../secret.jpg"))
    index = CocoBenchmark(IBUG68).index(tmp_path)
    assert [face.image.name for face in index.faces] == ["train2017/train_000000.jpg"] * 2
    assert [p.name for p in index.problems if p.kind != "note"] == ["../../secret.jpg"] * 2 + ["val_000000.jpg"]
    assert f"leads to '{tmp_path.parent}/secret.jpg', out of {tmp_path}." in index.problems[0].message

    (path.parent / "faces_keypoints_train.json").write_text("{}")
    with pytest.raises(DataError, match="several files for 'train'"):
        CocoBenchmark(IBUG68).index(tmp_path)


@pytest.mark.parametrize(
    ("train", "val", "splits"),
    [
        ("faces_train.json", "faces-val2017.json", {"train", "test"}),
        ("facesTrain.json", "VALIDATION_set.json", {"train", "test"}),
        ("train_constraints.json", "latest_testing.json", {"train", "test"}),
        ("faces_trainval.json", "interval_train.json", {"train"}),
    ],
)
def test_coco_a_split_is_a_word_of_the_name(train: str, val: str, splits: set[str], tmp_path: Path) -> None:
    write_coco(tmp_path)
    for role, name in (("train", train), ("val", val)):
        path = tmp_path / "annotations" / f"person_keypoints_{role}.json"
        path.rename(path.with_name(name))
    index = CocoBenchmark(IBUG68).index(tmp_path)
    assert {face.split for face in index.faces} == splits


def test_coco_a_file_of_two_splits_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path, val=0)
    path = tmp_path / "annotations" / "person_keypoints_train.json"
    path.rename(path.with_name("faces_train_val.json"))
    with pytest.raises(DataError, match=r"faces_train_val\.json has both 'train' and 'val' in its name"):
        CocoBenchmark(IBUG68).index(tmp_path)


def test_a_folder_gives_what_the_crops_data_set_gives(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "crops")
    pattern = r"(.*)_\d\."
    index = FolderBenchmark(IBUG68, photo_pattern=pattern, name="mine").index(root)
    dataset = CropsDataset(root, IBUG68, photo_pattern=pattern)
    tables = [dataset.train().table, dataset.test().table]
    assert [face.id for face in index.faces] == [name for table in tables for name in table.ids]
    assert [face.photo for face in index.faces] == [name for table in tables for name in table.photos]
    assert np.array_equal(points_of(index), np.concatenate([table.landmarks for table in tables]))
    assert np.array_equal(index.faces[0].image.read(), dataset.train().image(0))
    assert index.faces[0].box is None


def test_a_folder_names_rows_that_cannot_be_used(tmp_path: Path) -> None:
    root = write_crops(tmp_path / "crops", train=6, test=2)
    frame = pd.read_csv(root / "annotations.csv")
    frame.loc[0, "image"], frame.loc[1, "image"], frame.loc[2, "split"] = "../../x.png", "gone.png", ""
    frame.to_csv(root / "annotations.csv", index=False)
    frame.loc[3, "x5"] = np.nan
    frame.to_csv(root / "annotations.csv", index=False)
    index = FolderBenchmark(IBUG68).index(root)
    assert [face.image.name for face in index.faces] == frame["image"].tolist()[4:]
    assert [(p.kind, p.name) for p in index.problems] == [
        ("bad annotation", "annotations.csv, line 4, column split"),
        ("bad annotation", "annotations.csv, line 5, column x5"),
        ("bad annotation", "../../x.png"),
        ("missing image", "gone.png"),
    ]
    assert "line 2" in index.problems[2].message


# ---------------------------------------------------------------------------------------------------- finding files


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a/b c.jpg", "a/b c.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("..", None),
        ("a/../../b", None),
        ("/etc/passwd", None),
        ("\\\\server\\x", None),
        ("C:\\x.jpg", None),
        ("a\0b", None),
        ("", None),
        (".", None),
    ],
)
def test_names_that_lead_out_of_their_folder(written: str, read: str | None) -> None:
    assert relative_name(written) == read


def test_search_prefers_shallow_exact_and_innermost(tmp_path: Path) -> None:
    for name in ("z/afw", "b/c/afw", "x/Helen/trainset", "ibug/ibug"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "list.TXT").write_text("1")
    tree = SourceTree(tmp_path)
    assert tree.search("afw") == tmp_path / "z" / "afw"
    assert tree.search("helen/trainset") == tmp_path / "x" / "Helen" / "trainset"
    assert tree.search("ibug") == tmp_path / "ibug" / "ibug"
    assert tree.search("list.txt") == tmp_path / "list.TXT"
    assert tree.search("lfpw", "list.txt/x") is None
    (tmp_path / "List.txt").write_text("2")
    (tmp_path / "list.txt").write_text("3")
    assert SourceTree(tmp_path).search("list.txt").read_text() == "3"
