"""Faces lie in the stored crop where scale and shift say; photographs are read as they should be, or refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.photograph import CMYK, DEEP, FLAT_END, GREY, ROTATED, read_photograph
from facegraph.data.store.reader import FaceStore
from facegraph.data.store.shards import box_fault, crop_box, photograph_to_stored, place_fault
from facegraph.data.store.writer import StoreContent, write_store
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import transform_points
from tests.helpers.faces import QUAD, draw_dots, find_dot


def entry(path: Path, landmarks: np.ndarray, box: np.ndarray | None = None) -> FaceEntry:
    return FaceEntry(path.name, FileImage(path, path.name, "list, line 1"), path.name, "train", landmarks, "list", box)


def reference(path: Path) -> FileImage:
    return FileImage(path, path.name, "list, line 1")


# name -> side of the face in px: enlarged 8 times, about as it is, shrunk to a third and to a ninth
SIZES = {"enlarged": 16, "same": 120, "shrunk": 370, "shrunk a lot": 1150}


@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
@pytest.mark.parametrize("boxed", [False, True], ids=["landmark box", "with a box"])
def test_a_dot_lies_where_scale_and_shift_say(tmp_path: Path, size: int, boxed: bool) -> None:
    """The claim of the store: px of stored = scale * px of photograph + shift, exact to 0.05 px."""
    points = np.array([[0.1, 0.0], [0.9, 0.13], [0.2, 1.0], [0.87, 0.78]]) * size + size * 0.7 + [3.3, 1.7]
    photograph_side = int(2.4 * size) + 12
    sigma = max(1.2, 2.5 * size / 128)
    cv2.imwrite(str(tmp_path / "a.png"), draw_dots(points, photograph_side, photograph_side, sigma))
    box = points.min(axis=0) - size * 0.21, points.max(axis=0) + size * 0.08
    face = entry(tmp_path / "a.png", points, np.concatenate(box) if boxed else None)
    write_store(StoreContent("quad", QUAD, [face]), tmp_path / "store", CropPolicy(side=256))
    store = FaceStore(tmp_path / "store")
    source = store.source(store.rows("train"))
    matrix = source.image_to_stored(0)
    expected = transform_points(matrix, points)
    radius = 4 * max(sigma * matrix[0, 0], 1.5)
    found = np.array([find_dot(source.image(0), near, radius) for near in expected])
    assert np.abs(found - expected).max() < 0.05
    assert store.landmarks[0] == pytest.approx(points, abs=0), "landmarks stay px of the photograph, bit for bit"


def test_the_square_is_scale_times_the_union_of_both_boxes() -> None:
    points = np.array([[10.0, 20.0], [50.0, 30.0], [20.0, 80.0], [30.0, 60.0]])
    box = np.array([-10.0, 25.0, 40.0, 70.0])
    union = crop_box(points, box)
    assert union.tolist() == [-10, 20, 50, 80]
    matrix = photograph_to_stored(points, box, CropPolicy(side=240, scale=2.0))
    assert matrix[0, 0] == matrix[1, 1] == 240 / (2 * 60)
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert transform_points(matrix, np.array([20.0, 50.0])).tolist() == [119.5, 119.5], "the union's centre"


def test_outside_the_photograph_is_grey_127(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40, 3), 200, np.uint8))
    points = np.array([[0.0, 1.0], [38.0, 0.0], [1.0, 39.0], [20.0, 20.0]])
    write_store(StoreContent("q", QUAD, [entry(tmp_path / "a.png", points)]), tmp_path / "s", CropPolicy(side=80))
    store = FaceStore(tmp_path / "s")
    image = store.source(np.array([0])).image(0)
    assert (image[:18] == 127).all()
    assert (image[22:58, 22:58] == 200).all()


def test_boxes_that_cannot_be_used_are_told() -> None:
    assert box_fault(None) is None
    assert box_fault(np.array([0.0, 0.0, 1.0, 1.0])) is None
    assert "no size" in str(box_fault(np.array([5.0, 0.0, 5.0, 9.0])))
    assert "no size" in str(box_fault(np.array([9.0, 0.0, 5.0, 9.0])))
    assert "finite" in str(box_fault(np.array([0.0, 0.0, np.nan, 9.0])))
    assert "finite" in str(box_fault(np.array([0.0, 0.0, 9.0])))
    assert "beyond 1e+06 px" in str(box_fault(np.array([0.0, 0.0, 9.0, 2e6])))


@pytest.mark.parametrize(
    ("shift", "seen"),
    [((0, 0), True), ((-148, 0), True), ((-152, 0), False), ((0, 148), True), ((0, 152), False), ((-300, -300), False)],
)
def test_a_crop_beside_the_photograph_is_told(shift: tuple[int, int], seen: bool) -> None:
    """The photograph is 100 x 100, the square around a face of 100 px at (0, 0) reaches 50 px farther each way."""
    crop = CropPolicy(side=64)
    points = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]]) + np.array(shift)
    assert (place_fault(photograph_to_stored(points, None, crop), crop, 100, 100) is None) == seen


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"side": 8}, "16 to 4096"),
        ({"scale": 0.5}, "0.5"),
        ({"scale": float("nan")}, "nan"),
        ({"image_format": "png"}, "'raw', 'jpeg'"),
        ({"image_format": "jpeg", "quality": 0}, "1 to 100"),
        ({"quality": 95}, "0 for raw"),
        ({"exif": "apply"}, "'applied'"),
    ],
)
def test_crop_settings_out_of_range_are_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match="crop") as caught:
        CropPolicy(**fields)  # type: ignore[arg-type]
    assert named in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_as_pillow_applies_it(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    found = read_photograph(reference(tmp_path / "a.png"), upright=True)
    assert np.array_equal(found.image, upright)
    assert found.image.flags.c_contiguous
    assert (ROTATED in found.traits) == (orientation > 1)
    assert np.array_equal(read_photograph(reference(tmp_path / "a.png"), upright=False).image, np.asarray(picture))


def test_traits_and_pixels_of_unusual_photographs(tmp_path: Path) -> None:
    """Whatever a photograph is saved as, 8-bit RGB comes out with the colours that were put in."""
    colours = np.repeat(np.repeat(np.array([[[220, 40, 60], [30, 200, 90]]], np.uint8), 32, axis=0), 16, axis=1)
    grey = np.full((32, 32), 77, np.uint8)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    Image.fromarray(grey).save(tmp_path / "grey.jpg", quality=100)
    cv2.imwrite(str(tmp_path / "deep.png"), colours[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "deep_grey.png"), grey.astype(np.uint16) * 257)
    Image.fromarray(colours).save(tmp_path / "plain.png")
    expected = {"cmyk.jpg": {CMYK}, "grey.jpg": {GREY}, "deep.png": {DEEP}, "deep_grey.png": {DEEP, GREY}}
    for name, traits in {**expected, "plain.png": set()}.items():
        found = read_photograph(reference(tmp_path / name), upright=False)
        truth = np.repeat(grey[..., None], 3, axis=2) if "grey" in name else colours
        assert set(found.traits) == traits, name
        difference = np.abs(found.image.astype(int) - truth)[:, [0, 8, 24, 31]]
        assert difference.max() <= (12 if name == "cmyk.jpg" else 1), name


def _jpeg(path: Path) -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(picture).save(path, quality=90)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_photograph_that_ends_too_early_is_refused(tmp_path: Path, share: float) -> None:
    content = _jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"a\.jpg"):
        read_photograph(reference(tmp_path / "a.jpg"), upright=False)


def test_a_cut_photograph_with_an_end_marker_near_its_end_is_refused(tmp_path: Path) -> None:
    """As when the file breaks off right behind a thumbnail: the marker is there, but not as the last bytes."""
    content = _jpeg(tmp_path / "a.jpg")
    half = content[: len(content) // 2]
    (tmp_path / "a.jpg").write_bytes(half[:-300] + b"\xff\xd9" + half[-300:-100])
    try:
        found = read_photograph(reference(tmp_path / "a.jpg"), upright=False)
    except DataError:
        return
    assert FLAT_END in found.traits


def test_a_photograph_with_a_hole_is_told_but_kept(tmp_path: Path) -> None:
    content = _jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    assert FLAT_END in read_photograph(reference(tmp_path / "a.jpg"), upright=False).traits


def test_bytes_behind_a_whole_jpeg_are_harmless(tmp_path: Path) -> None:
    content = _jpeg(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content + b"appended by a camera" * 3)
    assert read_photograph(reference(tmp_path / "a.jpg"), upright=False).traits == ()
