"""Photographs as they are read for a store: whole, and with what the user should know about them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from facegraph.data.entries import FileImage, ImageRef
from facegraph.data.images import UPRIGHT, ImageHeader, check_image, turn_upright
from facegraph.errors import DataError

ROTATED, GREY, CMYK, DEEP = "rotated in EXIF", "grey", "CMYK", "16 bit"
FRAMES, FLAT_END = "of several frames or pages (the first is taken)", "flat grey at the bottom"
TRAITS = (ROTATED, GREY, CMYK, DEEP, FRAMES, FLAT_END)
"""What a photograph may be. The last one is what a decoder leaves of a JPEG whose data is damaged before its end."""

_JPEG_END = b"\xff\xd9"
_TAIL_BYTES = 64
_FLAT_ROWS = 8
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")


class Photograph(NamedTuple):
    """A photograph and what is unusual about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        traits: of TRAITS.
    """

    image: np.ndarray
    traits: tuple[str, ...]


def read_photograph(ref: ImageRef, upright: bool) -> Photograph:
    """Read a photograph.

    Damage is noticed at the end of a file only. A JPEG with wrong bytes in its middle decodes to a picture that is
    wrong from there on: its format has no checksum, and the decoder's warnings cannot be asked for.

    Args:
        ref: photograph. One that is no file of its own has no traits and no EXIF.
        upright: turn it as its EXIF orientation says.

    Raises:
        DataError: not there, not readable, or an image that ends too early.
    """
    if not isinstance(ref, FileImage):
        return Photograph(ref.read(), ())
    header = check_image(ref.path, ref.where)
    if header.jpeg and not _ends_as_jpeg(ref.path):
        _check_decodes(ref)
    image, traits = ref.read(), _traits(header)
    if header.jpeg and len(image) > _FLAT_ROWS and (image[-_FLAT_ROWS:] == 128).all():
        traits = (*traits, FLAT_END)
    return Photograph(turn_upright(image, header.orientation) if upright else image, traits)


def _traits(header: ImageHeader) -> tuple[str, ...]:
    holds = {
        ROTATED: header.orientation != UPRIGHT,
        GREY: header.mode in _GREY_MODES,
        CMYK: header.mode == "CMYK",
        DEEP: header.deep,
        FRAMES: header.frames,
    }
    return tuple(name for name, flag in holds.items() if flag)


def _check_decodes(ref: FileImage) -> None:
    """OpenCV fills what is missing of a JPEG with grey and says nothing; an eighth of the size decodes much faster."""
    try:
        with Image.open(ref.path) as image:
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{ref.where}: image {ref.path} is truncated or damaged: {error}. Copy the file again from its source."
        ) from error


def _ends_as_jpeg(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _TAIL_BYTES))
        return stream.read().rstrip(b"\x00\r\n ").endswith(_JPEG_END)
