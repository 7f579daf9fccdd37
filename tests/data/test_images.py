"""Whatever lies in an image file, it is read or refused by name."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from facegraph.data.images import check_image, read_image
from facegraph.errors import DataError

_RNG = np.random.default_rng(0)
PICTURE = cv2.resize(_RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8), (24, 20), interpolation=cv2.INTER_CUBIC)
ENCODED = {ending: cv2.imencode(ending, PICTURE)[1].tobytes() for ending in (".jpg", ".png", ".bmp", ".tiff")}
ENCODED[".PNG"] = cv2.imencode(".png", PICTURE.astype(np.uint16) * 257)[1].tobytes()

EDITS = st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=3)
CUTS = st.one_of(st.none(), st.integers(0, 3000))


def _claimed_pixels(path: Path) -> int:
    """As the header says; decoding a gigabyte of grey proves nothing and takes seconds."""
    Image.MAX_IMAGE_PIXELS, limit = None, Image.MAX_IMAGE_PIXELS
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except Exception:
        return 0
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.fuzz
@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("ending", ENCODED)
@given(edits=EDITS, cut=CUTS)
def test_mutated_images_are_read_or_refused(
    tmp_path: Path, ending: str, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    content = bytearray(ENCODED[ending])
    for place, new in edits:
        content[place : place + len(new)] = new
    if ending.lower() == ".png":  # OpenCV believes sizes that Pillow refuses for their checksum
        content[16:18] = content[20:22] = bytes(2)
    path = tmp_path / f"face{ending}"
    path.write_bytes(content[:cut])
    assume(_claimed_pixels(path) < 10**6)
    for read in (check_image, read_image):
        found: object
        try:
            found = read(path, "list, line 1")
        except DataError as error:
            found = str(error)
        if isinstance(found, np.ndarray):
            assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)
        elif isinstance(found, str):
            assert found.startswith("list, line 1: ")
            assert str(path) in found


def test_a_header_that_claims_an_absurd_size_is_refused(tmp_path: Path) -> None:
    """OpenCV raises its own error for such a file, not None."""
    content = bytearray(ENCODED[".bmp"])
    content[18:22] = (2_000_000).to_bytes(4, "little")
    path = tmp_path / "wide.bmp"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"list, line 1.*wide\.bmp"):
        read_image(path, "list, line 1")


def test_a_chunk_longer_than_its_file_costs_no_memory(tmp_path: Path) -> None:
    content = bytearray(ENCODED[".PNG"])
    content[33:37] = (2**32 - 2**20).to_bytes(4, "big")
    path = tmp_path / "chunk.png"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"chunk\.png cannot be decoded"):
        read_image(path, "list")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kB"


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_names_that_are_no_utf8_are_read(tmp_path: Path, ending: str) -> None:
    """OpenCV's own functions end the process at such a name."""
    path = tmp_path / os.fsdecode(b"\xff\xfeface" + ending.encode())
    path.write_bytes(ENCODED[ending])
    assert check_image(path, "list").size(upright=False) == (24, 20)
    assert read_image(path, "list").shape == (20, 24, 3)


def test_a_pipe_and_a_missing_image_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("pipe.jpg", "missing.jpg", "no/folder.jpg"):
        for read in (check_image, read_image):
            with pytest.raises(DataError, match=r"list: image .*is no file"):
                read(tmp_path / name, "list")
