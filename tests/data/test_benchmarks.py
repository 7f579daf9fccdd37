"""Benchmarks are indexed from trees as their publishers ship them: right faces, splits, subsets, and named problems."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from facegraph.curation.prepare.datasets import BENCHMARKS
from facegraph.data.benchmarks.coco import CocoBenchmark
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.benchmarks.gathering import Benchmark
from facegraph.data.entries import FaceIndex
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import IBUG68
from tests.helpers.trees import (
    WFLW_FLAGS,
    Tree,
    write_300w,
    write_300wlp,
    write_cofw,
    write_cofw68,
    write_pts,
    write_wflw,
)
from tests.helpers.trees_mat import write_ibug_boxes

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WFLW, W300 = BENCHMARKS["wflw"], BENCHMARKS["300w"]
OFFICIAL_300W = ("afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug")
WRITERS = {"wflw": write_wflw, "300w": write_300w, "300wlp": write_300wlp, "cofw": write_cofw, "cofw68": write_cofw68}


def counts(index: FaceIndex) -> Counter[str]:
    """Faces per "split" and "split/attribute"."""
    found = Counter(face.split for face in index.faces)
    found.update(f"{face.split}/{name}" for face in index.faces for name, on in face.attributes.items() if on)
    return found


def kinds(index: FaceIndex) -> Counter[str]:
    return Counter(problem.kind for problem in index.problems)


def assert_holds(index: FaceIndex, tree: Tree, atol: float = 1e-5) -> None:
    """The faces of the tree, each once, with its split and landmarks; every photograph can be read."""
    assert len(index.faces) == len(tree.faces)
    assert len({face.id for face in index.faces}) == len(index.faces)
    left = [(true.split, true.landmarks) for true in tree.faces]
    for face in index.faces:
        match = next(
            i for i, (split, p) in enumerate(left) if split == face.split and np.allclose(p, face.landmarks, atol=atol)
        )
        left.pop(match)
        image = face.image.read()
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@pytest.mark.parametrize("name", WRITERS)
def test_small_trees_hold_what_was_written(name: str, tmp_path: Path) -> None:
    tree = WRITERS[name](tmp_path)
    index = BENCHMARKS[name].index(tmp_path)
    assert_holds(index, tree)
    assert [problem for problem in index.problems if not problem.optional] == []
    assert BENCHMARKS[name].name == name
    assert all(set(face.attributes) == set(BENCHMARKS[name].attributes) for face in index.faces)


@pytest.mark.parametrize("name", WRITERS)
def test_trees_one_folder_further_down_are_found(name: str, tmp_path: Path) -> None:
    tree = WRITERS[name](tmp_path / "down" / "My Copy")
    assert len(BENCHMARKS[name].index(tmp_path).faces) == len(tree.faces)


@pytest.mark.parametrize(
    "benchmark",
    [*BENCHMARKS.values(), CocoBenchmark(IBUG68), FolderBenchmark(IBUG68)],
    ids=lambda benchmark: benchmark.name,
)
def test_a_folder_of_something_else_is_refused_with_the_layout(benchmark: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    (tmp_path / "afw.txt").write_bytes(b"x")
    with pytest.raises(DataError) as refusal:
        benchmark.index(tmp_path)
    assert "holiday.jpg" in str(refusal.value)
    assert benchmark.layout in str(refusal.value)
    with pytest.raises(DataError, match="is no folder"):
        benchmark.index(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------------------- WFLW


def test_wflw_flags_boxes_and_several_faces_per_photograph(tmp_path: Path) -> None:
    tree = write_wflw(tmp_path, train=7, test=5, kinds={1: "cmyk", 2: "grey", 4: "exif"}, crlf=True, mixed_case=True)
    faces = WFLW.index(tmp_path).faces
    for face, true in zip(faces, tree.faces, strict=True):
        assert tuple(flag for flag in WFLW_FLAGS if face.attributes[flag]) == true.flags
        assert face.image.name == face.photo == true.image
        assert np.array_equal(face.box, np.rint(landmark_box(true.landmarks)))
    assert faces[0].landmarks.min() < 0
    assert faces[0].photo == faces[1].photo
    assert any(" " in face.photo for face in faces)
    assert any(face.photo.endswith(".JPG") for face in faces)


def test_wflw_at_full_size_has_the_published_counts(tmp_path: Path) -> None:
    write_wflw(tmp_path, train=7500, test=2500, images=False, distinct=20)
    index = WFLW.index(tmp_path)
    found = counts(index)
    assert {name: found[name] for name in WFLW.official_counts} == WFLW.official_counts
    assert index.problems == ()


def test_wflw_without_the_full_lists_is_the_union_of_the_subsets(tmp_path: Path) -> None:
    tree = write_wflw(tmp_path, train=0, test=30, full_lists=False)
    (tmp_path / "WFLW_annotations" / "list_98pt_test" / "list_98pt_test_blur.txt").unlink()
    index = WFLW.index(tmp_path)
    flagged = [face for face in tree.faces if set(face.flags) - {"blur"}]
    assert 0 < len(flagged) < len(tree.faces)
    assert len(index.faces) == len(flagged)
    for name in WFLW_FLAGS[:-1]:
        assert counts(index)[f"test/{name}"] == sum(name in face.flags for face in flagged)
    assert {face.box is None for face in index.faces} == {True}
    missing = {(p.split, p.name) for p in index.problems if p.kind == "missing part"}
    assert missing == {
        ("train", "list_98pt_rect_attr_train.txt"),
        ("test", "list_98pt_rect_attr_test.txt"),
        ("test", "list_98pt_test_blur.txt"),
    }


def test_wflw_lists_that_disagree_are_named(tmp_path: Path) -> None:
    write_wflw(tmp_path, test=20)
    path = tmp_path / "WFLW_annotations" / "list_98pt_test" / "list_98pt_test_blur.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    (problem,) = WFLW.index(tmp_path).problems
    assert problem.name == path.name
    assert "0 faces are in the list only, 1 in the column only" in problem.message


def test_wflw_missing_images_and_paths_that_lead_out(tmp_path: Path) -> None:
    tree = write_wflw(tmp_path, train=6, test=2, kinds={1: "missing"})
    path = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / "list_98pt_rect_attr_train.txt"
    (tmp_path / "secret.jpg").write_bytes(b"x")
    lines = path.read_text().splitlines()
    for number, name in ((4, "../secret.jpg"), (5, "/etc/passwd")):
        lines[number] = lines[number].replace(tree.faces[number].image, name)
    path.write_text("\n".join(lines))
    index = WFLW.index(tmp_path)
    assert (counts(index)["train"], counts(index)["test"]) == (2, 2)
    assert kinds(index) == {"missing image": 1, "bad annotation": 2}
    assert [p.name for p in index.problems if p.kind == "bad annotation"] == ["../secret.jpg", "/etc/passwd"]
    (missing,) = (p for p in index.problems if p.kind == "missing image")
    assert missing.name == tree.faces[2].image
    assert "line 3" in missing.message
    assert "2 face(s)" in missing.message


def spoil(path: Path, line: int, old: str, new: str) -> None:
    """Change a line of a text, counted from 1."""
    lines = path.read_text().split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("split", ["train", "test"])
def test_wflw_a_damaged_line_costs_its_face_only(split: str, tmp_path: Path) -> None:
    tree = write_wflw(tmp_path, train=12, test=8)
    path = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{split}.txt"
    spoil(path, 3, " ", " nan ")
    index = WFLW.index(tmp_path)
    assert {name: counts(index)[name] for name in ("train", "test")} == {"train": 12, "test": 8} | {
        split: len(tree.split(split)) - 1
    }
    assert all(face.box is not None for face in index.faces)
    (problem,) = index.problems
    assert (problem.kind, problem.split, problem.name) == ("bad annotation", split, f"{path.name}, line 3")
    assert problem.message.startswith(f"{path}, line 3: 1 numbers before the path")


def test_wflw_a_damaged_list_leaves_the_others(tmp_path: Path) -> None:
    tree = write_wflw(tmp_path)
    path = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / "list_98pt_rect_attr_{}.txt"
    train, test = (path.with_name(path.name.format(split)) for split in ("train", "test"))
    train.write_bytes(train.read_bytes()[:5000])
    index = WFLW.index(tmp_path)
    assert counts(index)["test"] == len(tree.split("test"))
    assert counts(index)["train"] == 2
    assert [p.name for p in index.problems] == [f"{train.name}, line 3"]
    test.write_bytes(b"\0" * 3000)
    index = WFLW.index(tmp_path)
    assert {face.split for face in index.faces} == {"train"}  # not the union of the subset lists in its place
    assert [p.name for p in index.problems] == [f"{train.name}, line 3", test.name]


def test_wflw_file_names_of_another_case_are_found(tmp_path: Path) -> None:
    tree = write_wflw(tmp_path)
    path = tmp_path / "WFLW_images" / tree.faces[0].image
    path.rename(path.with_name(path.name.upper()))
    (tmp_path / "WFLW_images").rename(tmp_path / "wflw_Images")
    assert_holds(WFLW.index(tmp_path), tree)


def test_no_usable_face_is_an_error_that_names_the_first_problem(tmp_path: Path) -> None:
    write_wflw(tmp_path, kinds=dict.fromkeys(range(99), "missing"))
    with pytest.raises(DataError, match=r"no usable face.*10 x missing image.*list_98pt_rect_attr_train\.txt, line 1"):
        WFLW.index(tmp_path)


@pytest.mark.skipif(not (SHARED / "wflw_mini").is_dir(), reason="the real photographs are not at hand")
def test_wflw_mini() -> None:
    index = WFLW.index(SHARED / "wflw_mini")
    expected = {"pose": 34, "expression": 34, "illumination": 86, "makeup": 27, "occlusion": 56, "blur": 77}
    assert counts(index) == {"test": 206, **{f"test/{name}": count for name, count in expected.items()}}
    assert len({face.photo for face in index.faces}) == 175
    missing = [p for p in index.problems if p.kind == "missing image"]
    assert sum(int(p.message.partition("not there (")[2].partition(" ")[0]) for p in missing) == 1966 - 206
    assert kinds(index)["missing part"] == 2


# ------------------------------------------------------------------------------------------------------------ 300-W


def test_300w_splits_subsets_photographs_and_boxes(tmp_path: Path) -> None:
    write_300w(tmp_path, boxes=True, crlf=True, mixed_case=True)
    index = W300.index(tmp_path)
    assert counts(index) == {
        "train": 6, "test": 6, "private": 4, "test/common": 4, "test/challenging": 2, "private/indoor": 2,
        "private/outdoor": 2,
    }  # fmt: skip
    by_id = {face.id: face for face in index.faces}
    assert by_id["afw/18489332_1.jpg"].photo == by_id["afw/18489332_2.jpg"].photo == "afw/18489332"
    assert by_id["lfpw/trainset/image_0001.png"].photo == "lfpw/trainset/image_0001"
    assert by_id["lfpw/trainset/image_0001.png"].photo != by_id["lfpw/testset/image_0001.png"].photo
    for face in index.faces:
        wanted = None if face.split == "private" else landmark_box(face.landmarks) + np.array([-2, -3, 4, 5])
        assert face.box is None if wanted is None else np.allclose(face.box, wanted)


def test_300w_pairs_and_what_has_no_partner(tmp_path: Path) -> None:
    tree = write_300w(tmp_path, {"afw": 3, "ibug": 2}, mirrored=True, kinds={1: "missing"})
    (tmp_path / "afw" / "extra.png").write_bytes(b"x")
    (tmp_path / "ibug" / "image_0002.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    (tmp_path / "ibug").rename(tmp_path / "135")
    index = W300.index(tmp_path)
    assert len(index.faces) == len(tree.faces) - 2
    assert counts(index) == {"train": 2, "test": 1, "test/challenging": 1}
    told = {p.name: p for p in index.problems if p.kind != "missing part"}
    assert set(told) == {"*_mirror.*", "afw/18489332_2.pts", "afw/extra.png", "ibug/image_0002.pts"}
    assert told["afw/18489332_2.pts"].kind == "missing image"
    assert "line" in told["ibug/image_0002.pts"].message
    assert {p.name for p in index.problems if p.kind == "missing part"} >= {"helen/trainset", "01_Indoor"}


def test_300w_is_complete_without_its_optional_parts(tmp_path: Path) -> None:
    write_300w(tmp_path, dict.fromkeys(OFFICIAL_300W, 2), mirrored=True)
    index = W300.index(tmp_path)
    assert {p.name for p in index.problems} == {"01_Indoor", "02_Outdoor", "Bounding Boxes", "*_mirror.*"}
    assert all(problem.optional for problem in index.problems)


def test_300w_boxes_that_are_none_are_told_one_by_one(tmp_path: Path) -> None:
    write_300w(tmp_path, {"afw": 2, "ibug": 2}, boxes=True)
    path = tmp_path / "Bounding Boxes" / "bounding_boxes_afw.mat"
    write_ibug_boxes(path, {"18489332_1.jpg": np.array([5.0, 5, 5, 9]), "18489332_2.jpg": np.array([1.0])})
    (tmp_path / "Bounding Boxes" / "bounding_boxes_ibug.mat").unlink()
    index = W300.index(tmp_path)
    boxes = {face.id: face.box for face in index.faces}
    assert boxes["afw/18489332_1.jpg"].tolist() == [5, 5, 5, 9]
    assert boxes["afw/18489332_2.jpg"] is None
    told = [p for p in index.problems if "bounding_boxes" in p.name]
    assert [(p.name, p.optional) for p in told] == [
        ("bounding_boxes_afw.mat, variable bounding_boxes, entry 2", False), ("bounding_boxes_ibug.mat", True),
    ]  # fmt: skip


def test_300w_pieces_of_the_private_set_are_to_be_joined(tmp_path: Path) -> None:
    for number in range(1, 5):
        (tmp_path / f"300w.zip.00{number}").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"300w\.zip\.001, .*are pieces of one archive.*cat 300w\.zip"):
        W300.index(tmp_path)
    write_300w(tmp_path, {"afw": 1})
    told = {p.name: p for p in W300.index(tmp_path).problems}
    assert "cat 300w.zip.0* > 300w.zip" in told["300w.zip"].message
    assert not told["300w.zip"].optional
    write_300w(tmp_path)
    assert "300w.zip" not in {p.name for p in W300.index(tmp_path).problems}


@pytest.mark.parametrize("endings", [(".jpg", ".PNG"), (".png", ".JPG"), (".BMP", ".png")])
def test_300w_of_two_photographs_of_a_name_the_png_is_taken(endings: tuple[str, str], tmp_path: Path) -> None:
    write_300w(tmp_path, {"ibug": 2})
    photo = tmp_path / "ibug" / "image_0001.jpg"
    photo.rename(photo.with_suffix(".x"))
    for ending in endings:
        photo.with_suffix(ending).write_bytes(b"x")
    for name in ("._image_0001.pts", "._image_0002.pts", "._image_0002.jpg"):
        (tmp_path / "ibug" / name).write_bytes(b"\0\5\x16\7")
    index = W300.index(tmp_path)
    assert [face.image.path.suffix.lower() for face in index.faces] == [".png", ".jpg"]
    (note,) = (p for p in index.problems if p.kind != "missing part")
    assert note.optional
    assert note.name == f"ibug/image_0001{next(e for e in endings if e.lower() != '.png')}"


def test_problems_come_in_order_of_their_names(tmp_path: Path) -> None:
    """Not in that of a set, which another process has in another order."""
    names = [f"extra_{i:02d}" for i in range(40)]
    for name, folder in (("300w", "ibug"), ("300wlp", "AFW")):
        WRITERS[name](tmp_path / name, {folder: 1})
        for extra in names:
            (tmp_path / name / folder / f"{extra}.jpg").write_bytes(b"x")
        told = [p.name for p in BENCHMARKS[name].index(tmp_path / name).problems if "extra" in p.name]
        assert told == [f"{folder}/{extra}.jpg" for extra in names]


def test_300w_landmarks_are_0_based(tmp_path: Path) -> None:
    (tmp_path / "ibug").mkdir()
    points = np.stack([np.arange(68), np.arange(68) * 2.0], axis=1)
    write_pts(tmp_path / "ibug" / "image_092 _01.pts", points)
    assert "\n1.000000 1.000000\n" in (tmp_path / "ibug" / "image_092 _01.pts").read_text()
    cv2.imwrite(str(tmp_path / "ibug" / "image_092 _01.JPG"), np.zeros((9, 9, 3), np.uint8))
    (face,) = W300.index(tmp_path).faces
    assert np.array_equal(face.landmarks, points)


@pytest.mark.skipif(not (SHARED / "300w_mini").is_dir(), reason="the real photographs are not at hand")
def test_300w_mini() -> None:
    index = W300.index(SHARED / "300w_mini")
    assert counts(index) == {"train": 32, "test": 18, "test/common": 18}
    assert {(p.name, p.optional) for p in index.problems} == {
        ("ibug", False), ("01_Indoor", True), ("02_Outdoor", True), ("Bounding Boxes", True),
    }  # fmt: skip
    for face in index.faces:
        height, width = face.image.read().shape[:2]
        inside = (face.landmarks > -0.2 * width).all() and (face.landmarks < 1.2 * max(width, height)).all()
        assert inside
