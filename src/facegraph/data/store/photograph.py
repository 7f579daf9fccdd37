"""Photographs as they are read for a store: whole, and with what the user should know about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from facegraph.data.entries import FileImage, ImageRef
from facegraph.data.images import check_image
from facegraph.errors import DataError

ROTATED, GREY, CMYK, DEEP, FLAT_END = "rotated in EXIF", "grey", "CMYK", "16 bit", "flat grey at the bottom"
TRAITS = (ROTATED, GREY, CMYK, DEEP, FLAT_END)
"""What a photograph may be. The last one is what a decoder leaves of a JPEG whose data is damaged before its end."""

_ORIENTATION_TAG = 0x0112
_JPEG_END = b"\xff\xd9"
_TAIL_BYTES = 64
_FLAT_ROWS = 8
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
"""EXIF orientation -> the upright image. Orientation 1 is upright as stored."""


class Photograph(NamedTuple):
    """image: (H, W, 3) uint8 RGB. traits: of TRAITS."""

    image: np.ndarray
    traits: tuple[str, ...]


class _Header(NamedTuple):
    orientation: int = 1
    traits: tuple[str, ...] = ()
    jpeg: bool = False


def read_photograph(ref: ImageRef, upright: bool) -> Photograph:
    """Read a photograph.

    Damage is noticed at the end of a file only. A JPEG with wrong bytes in its middle decodes to a picture that is
    wrong from there on: its format has no checksum, and the decoder's warnings cannot be asked for.

    Args:
        ref: photograph. One that is no file of its own has no traits but grey and no EXIF.
        upright: turn it as its EXIF orientation says.

    Raises:
        DataError: not there, not readable, or an image that ends too early.
    """
    header = _read_header(ref) if isinstance(ref, FileImage) else _Header()
    image, traits = ref.read(), header.traits
    if header.jpeg and len(image) > _FLAT_ROWS and (image[-_FLAT_ROWS:] == 128).all():
        traits = (*traits, FLAT_END)
    if upright and header.orientation in _UPRIGHT:
        image = np.ascontiguousarray(_UPRIGHT[header.orientation](image))
    return Photograph(image, traits)


def _read_header(ref: FileImage) -> _Header:
    check_image(ref.path, ref.where)
    try:
        with Image.open(ref.path) as image:
            jpeg, mode = image.format == "JPEG", image.mode
            deep = "16" in mode or any("16" in str(tile[3]) for tile in image.tile)
            # not image.getexif(): that of a PNG decodes the picture to look behind it
            orientation = int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
            if jpeg and not _ends_as_jpeg(ref.path):
                # OpenCV fills what is missing with grey and says nothing; an eighth of the size decodes much faster
                image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{ref.where}: image {ref.path} is truncated or damaged: {error}. Copy the file again from its source."
        ) from error
    holds = {ROTATED: orientation in _UPRIGHT, GREY: mode in _GREY_MODES, CMYK: mode == "CMYK", DEEP: deep}
    return _Header(orientation, tuple(name for name, flag in holds.items() if flag), jpeg)


def _ends_as_jpeg(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _TAIL_BYTES))
        return stream.read().rstrip(b"\x00\r\n ").endswith(_JPEG_END)
