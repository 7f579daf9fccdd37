"""One rule for the pixels of every format, against Pillow: as stored, or upright as the orientation says."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from facegraph.data.entries import FileImage
from facegraph.data.images import check_image, read_image
from facegraph.data.store.photograph import FRAMES, ROTATED, read_photograph
from tests.helpers.turned import FORMATS, exif_bytes, save_with, shown_by_pillow, smooth_picture

PICTURE = smooth_picture()


def skip_unless_readable(ending: str) -> None:
    if ending == ".avif" and not (features.check("avif") and cv2.haveImageWriter("face.avif")):
        pytest.skip("Pillow or OpenCV was built without AVIF")


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference in grey levels; other turns of the picture are 20 and more away."""
    return float(np.abs(one.astype(float) - other).mean()) if one.shape == other.shape else np.inf


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", FORMATS)
def test_pixels_are_as_stored_or_upright_as_pillow_shows_them(tmp_path: Path, ending: str, orientation: int) -> None:
    skip_unless_readable(ending)
    path = save_with(tmp_path / f"face{ending}", PICTURE, orientation)
    header = check_image(path, "list")
    stored, upright = read_image(path, "list"), read_image(path, "list", upright=True)
    assert header.orientation == orientation
    assert distance(stored, PICTURE) < 2
    assert distance(upright, shown_by_pillow(path)) < 2
    assert header.size(upright=False) == stored.shape[1::-1]
    assert header.size(upright=True) == upright.shape[1::-1]
    assert upright.flags.c_contiguous
    for turned, image in ((False, stored), (True, upright)):
        found = read_photograph(FileImage(path, path.name, "list"), upright=turned)
        assert np.array_equal(found.image, image), "a store has the pixels that a folder has"
        assert (ROTATED in found.traits) == (orientation > 1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
@pytest.mark.parametrize("ending", [".tif", ".tiff"])
def test_a_tiff_has_the_pixels_of_a_png(tmp_path: Path, ending: str, mode: str) -> None:
    """OpenCV would turn it, and multiply colours by their alpha."""
    image = Image.fromarray(PICTURE)
    if mode == "I;16":
        image = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
    elif mode.endswith("A"):
        image.putalpha(Image.fromarray(PICTURE[..., 1]))
    image = image if mode == "I;16" else image.quantize(64) if mode == "P" else image.convert(mode)
    for turned in (1, 6):
        found = read_image(save_with(tmp_path / f"face{ending}", image, turned), "list")
        assert np.array_equal(found, read_image(save_with(tmp_path / "face.png", image, turned), "list"))


def test_a_big_endian_tiff_is_as_stored(tmp_path: Path) -> None:
    deep = PICTURE[..., 0].astype(">u2") * 257
    image = Image.frombytes("I;16B", deep.shape[::-1], deep.astype(">u2").tobytes())
    path = save_with(tmp_path / "face.tif", image, 8)
    assert path.read_bytes().startswith(b"MM")
    assert check_image(path, "list").orientation == 8
    assert np.array_equal(read_image(path, "list")[..., 0], PICTURE[..., 0])
    assert read_image(path, "list", upright=True).shape == (60, 40, 3)


@pytest.mark.parametrize("orientation", [0, 9, 600])
@pytest.mark.parametrize("ending", FORMATS)
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, ending: str, orientation: int) -> None:
    skip_unless_readable(ending)
    path = save_with(tmp_path / f"face{ending}", PICTURE, orientation)
    assert check_image(path, "list").orientation == 1
    for upright in (False, True):
        assert distance(read_image(path, "list", upright), PICTURE) < 2


@pytest.mark.parametrize(
    "damaged", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0no TIFF header", b"Exif\0\0II*\0"]
)
def test_damaged_exif_turns_nothing(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "face.jpg"
    Image.fromarray(PICTURE).save(path, quality=100, subsampling=0, exif=damaged)
    assert check_image(path, "list").orientation == 1
    assert distance(read_image(path, "list", upright=True), PICTURE) < 2


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    plain = save_with(tmp_path / "face.png", PICTURE, 1)
    Image.fromarray(PICTURE).save(plain)
    content = exif_bytes(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I4s", len(content), b"eXIf") + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    whole = plain.read_bytes()
    plain.write_bytes(whole[:-12] + chunk + whole[-12:])
    assert check_image(plain, "list").orientation == 6
    assert np.array_equal(read_image(plain, "list", upright=True), shown_by_pillow(plain))
    assert np.array_equal(read_image(plain, "list"), PICTURE)


@pytest.mark.parametrize("ending", [".tif", ".gif", ".png", ".webp"])
def test_the_first_of_several_frames_is_taken_and_told(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(smooth_picture(seed=seed)) for seed in range(3)]
    path = tmp_path / f"face{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if ending == ".webp" else {}))
    assert check_image(path, "list").frames
    assert FRAMES in read_photograph(FileImage(path, path.name, "list"), upright=False).traits
    first, *others = (distance(read_image(path, "list"), np.asarray(frame)) for frame in frames)
    assert first < 10 < min(others)


def test_a_jpeg_of_a_phone_with_a_second_picture_is_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    Image.fromarray(PICTURE).save(
        path, "MPO", save_all=True, append_images=[Image.fromarray(PICTURE)], exif=exif_bytes(6)
    )
    header = check_image(path, "list")
    assert (header.jpeg, header.frames, header.orientation) == (True, False, 6)


def test_a_jpeg_of_another_ending_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "face.jfif"
    save_with(tmp_path / "face.jpg", PICTURE, 6).rename(path)
    assert distance(read_image(path, "list"), PICTURE) < 2
