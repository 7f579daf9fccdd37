"""Folders of faces: what is read, and that each mistake is named with its file, row and remedy before training."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facegraph.data.crops import CropsDataset
from facegraph.data.scheme_file import check_flip, load_scheme
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import IBUG68, SCHEMES, LandmarkScheme
from tests.helpers.faces import QUAD, annotation_frame, quad_landmarks, write_faces

REAL = Path(__file__).parents[3] / "shared" / "data" / "300w_crops256"


@pytest.fixture
def frame() -> pd.DataFrame:
    return annotation_frame(6, tests=2).astype(object)


def opened(root: Path, **settings):
    return CropsDataset(root, QUAD, **settings)


def test_rows_become_a_table(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["dark"] = [0, 1, 0, 0, 1, 1]
    frame["ignored"] = "anything"
    write_faces(tmp_path, frame)
    source = opened(tmp_path, attributes=["dark"]).train()
    table = source.table
    assert table.ids == tuple(f"face_{i:03d}.png" for i in range(4))
    assert table.photos == table.ids
    np.testing.assert_allclose(table.landmarks, quad_landmarks(6)[:4], atol=1e-3)
    assert np.isnan(table.boxes).all()
    assert table.attributes[:, 0].tolist() == [False, True, False, False]
    assert source.image(0).shape == (64, 64, 3)
    assert opened(tmp_path).test().table.ids == ("face_004.png", "face_005.png")


def test_faces_of_one_image_get_ids_and_share_a_photo(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[1, "image"] = "face_000.png"
    write_faces(tmp_path, frame)
    table = opened(tmp_path).train().table
    assert table.ids[:2] == ("face_000.png#1", "face_000.png#2")
    assert table.photos[0] == table.photos[1]


def test_boxes_and_photos_from_columns(tmp_path: Path, frame: pd.DataFrame) -> None:
    for name, value in zip(("box_x0", "box_y0", "box_x1", "box_y1"), (10, 12, 50, 60), strict=True):
        frame[name] = value
    frame["photo"] = ["a", "a", "b", "c", "d", "d"]
    write_faces(tmp_path, frame)
    table = opened(tmp_path).train().table
    assert table.boxes[0].tolist() == [10, 12, 50, 60]
    assert table.photos == ("a", "a", "b", "c")
    pattern = opened(tmp_path, photo_pattern=r"^face_00(\d)").train().table
    assert pattern.photos == ("0", "1", "2", "3")


def test_images_beside_the_csv_and_blank_lines(tmp_path: Path, frame: pd.DataFrame) -> None:
    csv = write_faces(tmp_path, frame)
    for image in (tmp_path / "images").iterdir():
        image.rename(tmp_path / image.name)
    lines = csv.read_text().splitlines()
    csv.write_text("\ufeff" + "\n".join([lines[0], "", *lines[1:], "", ""]), encoding="utf-8")
    dataset = opened(tmp_path)
    assert len(dataset.train().table) == 4
    assert dataset._rows.lines[0] == 3


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (np.full((64, 64), 90, np.uint8), (90, 90, 90)),
        (np.full((64, 64), 257 * 90, np.uint16), (90, 90, 90)),
        (np.full((64, 64, 3), (10, 20, 30), np.uint8), (30, 20, 10)),
        (np.full((64, 64, 3), (2570, 5140, 7710), np.uint16), (30, 20, 10)),
        (np.full((64, 64, 4), (10, 20, 30, 0), np.uint8), (30, 20, 10)),
    ],
    ids=["grey", "grey16", "bgr", "bgr16", "alpha"],
)
def test_every_pixel_type_becomes_rgb(tmp_path: Path, frame: pd.DataFrame, stored: np.ndarray, seen: tuple) -> None:
    write_faces(tmp_path, frame)
    cv2.imwrite(str(tmp_path / "images" / "face_000.png"), stored)
    image = opened(tmp_path).train().image(0)
    assert image.dtype == np.uint8
    assert image.shape == (64, 64, 3)
    assert image[5, 5].tolist() == list(seen)


def test_grey_jpeg_becomes_rgb(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[0, "image"] = "grey.jpg"
    write_faces(tmp_path, frame)
    cv2.imwrite(str(tmp_path / "images" / "grey.jpg"), np.full((64, 64), 90, np.uint8))
    image = opened(tmp_path).train().image(0)
    assert image.shape == (64, 64, 3)
    np.testing.assert_allclose(image, 90, atol=2)  # JPEG may lose a level


def break_cell(column: str, value: object, row: int = 2):
    def change(root: Path, frame: pd.DataFrame) -> None:
        frame.loc[row, column] = value

    return change


def drop_column(*columns: str):
    def change(root: Path, frame: pd.DataFrame) -> None:
        frame.drop(columns=list(columns), inplace=True)

    return change


def rename(old: str, new: str):
    def change(root: Path, frame: pd.DataFrame) -> None:
        frame.rename(columns={old: new}, inplace=True)

    return change


def same_landmarks(root: Path, frame: pd.DataFrame) -> None:
    frame.loc[2, [f"x{i}" for i in range(4)]] = 5.0


def same_eyes(root: Path, frame: pd.DataFrame) -> None:
    frame.loc[2, ["x1", "y1"]] = frame.loc[2, ["x0", "y0"]].to_numpy()


def add_box(root: Path, frame: pd.DataFrame) -> None:
    frame[["box_x0", "box_y0", "box_x1", "box_y1"]] = [10.0, 10.0, 50.0, 50.0]
    frame.loc[2, "box_x1"] = 10.0


MISTAKES = {
    "missing column": (rename("split", "splits"), r"annotations\.csv has no column split.*Did you mean splits\?"),
    "lost y": (drop_column("y2"), r"annotations\.csv has no column y2"),
    "nan": (break_cell("x1", "nan"), r"annotations\.csv, line 4, column x1: 'nan' is no finite number"),
    "inf": (break_cell("y3", "-inf"), r"line 4, column y3: '-inf' is no finite number"),
    "text": (break_cell("x1", "12,5px"), r"line 4, column x1: '12,5px' is no finite number"),
    "empty cell": (break_cell("x1", ""), r"line 4, column x1: '' is no finite number"),
    "far outside": (break_cell("x3", 700), r"line 4: landmark 3 at \(700, .*one image side.*64 x 64 px"),
    "flat face": (same_landmarks, r"line 4: the landmarks span 0 x .*must be positive"),
    "no eye distance": (same_eyes, r"line 4: the distance 'inter_ocular' \(landmarks \(\(0,\), \(1,\)\)\) is 0"),
    "flat box": (add_box, r"line 4: the box columns give 0 x 40 px"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_csv_is_named(tmp_path: Path, frame: pd.DataFrame, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    write_faces(tmp_path, frame)
    change(tmp_path, frame)
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path).train()
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_half_a_box_is_named(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["box_x0"] = 3
    write_faces(tmp_path, frame)
    with pytest.raises(DataError, match="has no column box_y0, box_x1, box_y1"):
        opened(tmp_path).train()


def test_wrong_point_count_names_both_and_the_scheme_that_fits(tmp_path: Path) -> None:
    columns = {f"{axis}{i}": [float(i)] for i in range(98) for axis in "xy"}
    pd.DataFrame({"image": ["a.png"], "split": ["train"], **columns}).to_csv(tmp_path / "annotations.csv", index=False)
    with pytest.raises(DataError, match=r"holds 98 points .*'ibug68' has 68\. Scheme wflw98 fits"):
        CropsDataset(tmp_path, IBUG68).train()
    with pytest.raises(DataError, match=r"holds 98 points .*'quad4' has 4"):
        CropsDataset(tmp_path, QUAD).train()


def test_missing_root_and_csv(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'no' / 'where'} is no folder (the path exists up to")):
        opened(tmp_path / "no" / "where").train()
    (tmp_path / "faces.csv").write_text("image\n")
    with pytest.raises(DataError, match=r"annotations\.csv does not exist; csv files there: \['faces\.csv'\]"):
        opened(tmp_path).train()
    with pytest.raises(DataError, match="no rows below its header"):
        opened(tmp_path, annotations="faces.csv").train()
    (tmp_path / "faces.csv").write_text("")
    with pytest.raises(DataError, match=r"line 1: the file is empty"):
        opened(tmp_path, annotations="faces.csv").train()
    (tmp_path / "faces.csv").write_text("image,split\na,b\na,b,c,d\n")
    with pytest.raises(DataError, match=r"faces\.csv, line 3: 4 cells, the header has 2"):
        opened(tmp_path, annotations="faces.csv").train()


def test_a_split_without_rows_lists_those_that_occur(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path, frame)
    with pytest.raises(DataError, match=r"no rows of split 'valid'; its splits are \{'train': 4, 'test': 2\}"):
        opened(tmp_path, test_split="valid").test()


def test_a_photograph_on_both_sides_is_reported(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["photo"] = ["a", "b", "c", "d", "d", "e"]
    write_faces(tmp_path, frame)
    told = r"1 photograph\(s\) .*\(train: 'face_003\.png', line 5 and test: 'face_004\.png', line 6\).*too good"
    with pytest.raises(DataError, match=f"{told}.*dataset.allow_shared_photographs=true"):
        opened(tmp_path).train()
    allowed = opened(tmp_path, allow_shared_photographs=True)
    with pytest.warns(UserWarning, match=told):
        allowed.train()
    assert allowed.shared_photographs == 1


def test_missing_images_are_counted(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path, frame)
    for i in (1, 3):
        (tmp_path / "images" / f"face_{i:03d}.png").unlink()
    with pytest.raises(DataError, match=r"2 of 4 images do not exist.*'face_001\.png' \(line 3\), 'face_003\.png'"):
        opened(tmp_path).train()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_cut_image_is_named_at_opening(tmp_path: Path, frame: pd.DataFrame, suffix: str, keep: float) -> None:
    frame["image"] = frame["image"].str.replace(".png", suffix)
    write_faces(tmp_path, frame)
    file = tmp_path / "images" / f"face_001{suffix}"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    what = r"empty \(0 bytes\)" if keep == 0 else "truncated or damaged"
    with pytest.raises(DataError, match=f"line 3: .*face_001{suffix}.* is {what}"):
        opened(tmp_path).train()


def test_a_text_file_is_no_image(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path, frame)
    (tmp_path / "images" / "face_001.png").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"line 3: .*face_001\.png is no image"):
        opened(tmp_path).train()


def test_an_image_type_that_is_not_read(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[1, "image"] = "face.ico"
    write_faces(tmp_path, frame.drop(index=1))
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "face.ico")
    frame.to_csv(tmp_path / "annotations.csv", index=False)
    with pytest.raises(DataError, match=r"line 3: .*face\.ico is an image of a type.*Convert it to PNG or JPEG"):
        opened(tmp_path).train()


def test_data_behind_the_end_of_an_image_is_harmless(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["image"] = frame["image"].str.replace(".png", ".jpg")
    write_faces(tmp_path, frame)
    file = tmp_path / "images" / "face_001.jpg"
    file.write_bytes(file.read_bytes() + bytes(10_000))
    assert opened(tmp_path).train().image(1).shape == (64, 64, 3)


def test_an_image_that_breaks_later_is_named_at_reading(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_faces(tmp_path, frame)
    source = opened(tmp_path).train()
    (tmp_path / "images" / "face_001.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"line 3: image .*face_001\.png cannot be decoded"):
        source.image(1)


def test_attributes_and_patterns_that_do_not_work(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["dark"] = [0, 1, "maybe", 0, 1, 1]
    write_faces(tmp_path, frame)
    with pytest.raises(DataError, match="line 4, column dark: attribute 'maybe' is neither 0 nor 1"):
        opened(tmp_path, attributes=["dark"]).train()
    with pytest.raises(DataError, match=r"line 5: photo_pattern '.*' does not match image 'face_003\.png'"):
        opened(tmp_path, photo_pattern="(face_00[0-2])").train()
    with pytest.raises(ConfigError, match="has no group"):
        opened(tmp_path, photo_pattern="face").train()


SCHEME = """
name: quad
num_landmarks: 4
mirror_pairs: [[0, 1], [2, 3]]
normalisers: {inter_ocular: [[0], [1]]}
contours: {mouth: {indices: [2, 3], closed: false}}
"""


def test_scheme_by_name_and_from_a_file(tmp_path: Path) -> None:
    assert load_scheme("wflw98") is SCHEMES["wflw98"]
    file = tmp_path / "quad.yaml"
    file.write_text(SCHEME)
    scheme = load_scheme(str(file))
    assert scheme.flip == (1, 0, 3, 2)
    assert scheme.contours[0].indices == (2, 3)
    file.write_text(SCHEME.replace("mirror_pairs: [[0, 1], [2, 3]]", "flip: [1, 0, 3, 2]"))
    assert load_scheme(str(file)) == scheme


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: quad", "", "key 'name' is None"),
        ("num_landmarks: 4", "num_landmarks: four", "'num_landmarks' is 'four'; a whole number"),
        ("[2, 3]]", "[2, 4]]", r"holds \[2, 4\]; two different indices in 0\.\.3"),
        ("[2, 3]]", "[1, 3]]", r"holds \[1, 3\].*one pair at most"),
        ("mirror_pairs: [[0, 1], [2, 3]]", "flip: [1, 0, 3]", "'flip' has 3 indices but num_landmarks is 4"),
        ("mirror_pairs: [[0, 1], [2, 3]]", "flip: [1, 2, 3, 0]", "no involution"),
        ("mirror_pairs: [[0, 1], [2, 3]]", "", "one of the keys 'flip'"),
        ("[[0], [1]]}", "[0, 1]}", r"'normalisers\.inter_ocular' is 0|a list of landmark indices"),
        ("[[0], [1]]}", "[[0], [9]]}", r"normaliser 'inter_ocular' is \(9,\)"),
        ("closed: false", "closed: maybe", r"'contours\.mouth\.closed' is 'maybe'; true or false"),
        ("contours:", "contour:", r"unknown key \['contour'\]"),
        ("name: quad", "name: [", "no readable YAML"),
    ],
)
def test_a_wrong_scheme_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "quad.yaml"
    assert old in SCHEME
    file.write_text(SCHEME.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        load_scheme(str(file))
    assert str(caught.value).count(str(file)) == 1


def test_unknown_scheme_lists_the_names() -> None:
    with pytest.raises(ConfigError, match=r"'ibug86' is neither one of \['cofw29', 'ibug68', 'wflw98'\] nor a file"):
        load_scheme("ibug86")


def test_wrong_mirror_pairs_are_found_on_faces(tmp_path: Path) -> None:
    faces = quad_landmarks(30)
    check_flip(QUAD, faces)
    wrong = LandmarkScheme("crossed", flip=(3, 2, 1, 0), normalisers=QUAD.normalisers)
    with pytest.raises(DataError, match=r"'crossed': its mirror list does not fit the 30 annotated faces.*0 and 1"):
        check_flip(wrong, faces)
    check_flip(wrong, faces[:10])  # too few to tell


@pytest.mark.skipif(not REAL.is_dir(), reason="the 300-W crops are research-only data and not part of the repository")
def test_real_crops_open() -> None:
    pattern = r"^((?:afw|helen_[a-z]+|lfpw_[a-z]+_image)_\d+)"
    normalisers = ("inter_ocular", "inter_pupil", "box")
    dataset = CropsDataset(REAL, IBUG68, test_split="test_common", photo_pattern=pattern, normalisers=normalisers)
    train, test = dataset.train(), dataset.test()
    assert (len(train.table), len(test.table)) == (2012, 554)
    assert len(set(train.table.photos)) < 2012
    assert train.image(0).shape == (256, 256, 3)
    flip = list(IBUG68.flip)
    swapped = flip.copy()
    swapped[48], swapped[60], swapped[54], swapped[64] = 64, 54, 60, 48  # inner and outer mouth corners
    check_flip(LandmarkScheme("ibug68", tuple(flip), {}), train.table.landmarks)
    with pytest.raises(DataError, match=r"48 and 60|54 and 64"):
        check_flip(LandmarkScheme("ibug68", tuple(swapped), {}), train.table.landmarks)
