"""The orientation that an image file asks to be shown in (EXIF tag 274): read, kept from decoders, applied.

1 is upright as stored, 2 to 4 are mirrored or upside down, 5 to 8 quarter turns, which exchange width and height.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import IO

import numpy as np
from PIL import Image, TiffImagePlugin

UPRIGHT = 1
QUARTER_TURNS = (5, 6, 7, 8)
_TAG = 0x0112
_EXTRA_SAMPLES = 0x0152
_PNG_SIGNATURE_BYTES, _PNG_CHUNK_FRAME_BYTES = 8, 12
_UNPARSABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error)
"""What Pillow raises at damaged EXIF."""

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def read_orientation(image: Image.Image, stream: IO[bytes]) -> int:
    """The orientation, 1 to 8, of an image that Pillow has opened from a stream and not loaded yet.

    It is 1 where there is none, where it is no number from 1 to 8 and where the EXIF is damaged: viewers show such a
    picture as stored, so that this is how it was marked. Pixels are not decoded.
    """
    try:
        # not image.getexif(): that of a PNG decodes the picture to look behind it
        found = Image.Image.getexif(image).get(_TAG)
        if found is None and image.format == "PNG":
            behind = Image.Exif()
            behind.load(_find_png_exif(stream))
            found = behind.get(_TAG)
    except _UNPARSABLE:
        return UPRIGHT
    return found if isinstance(found, int) and found in _TURNS else UPRIGHT


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) as stored of an image that Pillow has opened; of a TIFF, its own size is the turned one."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
        return int(width), int(height)
    return image.size


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The upright picture, contiguous, of one as stored (H, W, C); (W, H, C) after a quarter turn."""
    return np.ascontiguousarray(_TURNS[orientation](image)) if orientation in _TURNS else image


def decodable_as_stored(content: bytes) -> bytes | bytearray:
    """The bytes of an image file such that OpenCV decodes its pixels as they are stored.

    It turns a TIFF by its orientation whatever it is asked for, and multiplies its colours by an alpha that they do
    not hold yet. A copy of the file that states orientation 1 and colours that hold it (ExtraSamples 1) escapes both.
    Other formats are returned as they are.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return content
    copy = bytearray(content)
    try:
        version = struct.unpack_from(f"{order}H", content, 2)[0]
        if version not in _TIFF_LAYOUTS:
            return content
        place_format, place_at, count_format, entry_bytes, value_at = _TIFF_LAYOUTS[version]
        place = struct.unpack_from(f"{order}{place_format}", content, place_at)[0]
        count = struct.unpack_from(f"{order}{count_format}", content, place)[0]
        first = place + struct.calcsize(count_format)
        for entry in range(first, min(first + count * entry_bytes, len(content)), entry_bytes):
            tag, kind = struct.unpack_from(f"{order}HH", content, entry)
            if tag in (_TAG, _EXTRA_SAMPLES) and kind in _INTEGERS:
                struct.pack_into(f"{order}{_INTEGERS[kind]}", copy, entry + value_at, 1)
    except struct.error:  # cut short: for the decoder to refuse
        return content
    return copy


_TIFF_LAYOUTS = {42: ("I", 4, "H", 12, 8), 43: ("Q", 8, "Q", 20, 12)}
"""Version, which is plain TIFF or BigTIFF -> format and place of the first directory's address, format of the number of
its entries, bytes of an entry, place of the value within it."""
_INTEGERS = {1: "B", 3: "H", 4: "I"}


def _find_png_exif(stream: IO[bytes]) -> bytes:
    """Content of the eXIf chunk of a PNG, wherever it lies; nothing where there is none."""
    end = stream.seek(0, 2)
    place = _PNG_SIGNATURE_BYTES
    while place + _PNG_CHUNK_FRAME_BYTES <= end:
        stream.seek(place)
        length, kind = struct.unpack(">I4s", stream.read(8))
        if kind == b"eXIf":
            return stream.read(min(length, end - place))
        place += _PNG_CHUNK_FRAME_BYTES + length
    return b""
