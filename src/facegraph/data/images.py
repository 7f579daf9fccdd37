"""Image files: a cheap check of many at opening, a full decode of one at reading.

The orientation that a file asks to be shown in (EXIF tag 274): 1 is upright as stored, 2 to 4 are mirrored or upside
down, 5 to 8 quarter turns, which exchange width and height.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from facegraph.errors import DataError

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


_TAIL_BYTES = 4096
_JPEG_FORMATS = ("JPEG", "MPO")
"""As Pillow calls them; MPO is a JPEG with further pictures behind it, as phones write them."""
_END_MARKERS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_UNREADABLE = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError, struct.error,
    RuntimeError,
)  # fmt: skip
"""What Pillow raises at damaged files."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class ImageHeader(NamedTuple):
    """What an image file says of itself.

    Attributes:
        width, height: px of the picture as stored.
        orientation: that it asks to be shown in, 1 to 8, see read_orientation.
        mode: of its pixels, as Pillow calls it.
        deep: more than 8 bits per channel.
        jpeg: whether it is one.
        frames: whether it holds several pictures; the first is the one that is read, as viewers show it.
    """

    width: int
    height: int
    orientation: int
    mode: str
    deep: bool
    jpeg: bool
    frames: bool

    def size(self, upright: bool) -> tuple[int, int]:
        """(width, height) of what read_image returns."""
        turned = upright and self.orientation in QUARTER_TURNS
        return (self.height, self.width) if turned else (self.width, self.height)


def check_image(path: Path, where: str) -> ImageHeader:
    """What the header of an image file says, and whether its last bytes are there; pixels are not decoded.

    A file whose end marker (JPEG FFD9, PNG IEND) is missing from its last 4 kB is decoded in full before it is refused,
    because some cameras append data of their own.

    Args:
        path: image file.
        where: file and row that name the image, for the message.

    Raises:
        DataError: no bytes, no image, or an image that ends too early.
    """
    _check_is_file(path, where)
    try:
        with path.open("rb") as stream, Image.open(stream) as image:
            header, marker = _read_header(image, stream), _END_MARKERS.get(image.format or "")
            end = stream.seek(0, 2)
            stream.seek(max(0, end - _TAIL_BYTES))
            if marker is not None and marker not in stream.read():
                stream.seek(0)
                with Image.open(stream) as whole:
                    whole.load()
    except _UNREADABLE as error:
        raise DataError(_refusal(path, where, error)) from error
    _check_type(path, where)
    return header


def _read_header(image: ImageFile.ImageFile, stream: IO[bytes]) -> ImageHeader:
    width, height = stored_size(image)
    jpeg = image.format in _JPEG_FORMATS
    return ImageHeader(
        width=width,
        height=height,
        orientation=read_orientation(image, stream),
        mode=image.mode,
        deep="16" in image.mode or any("16" in str(tile[3]) for tile in image.tile),
        jpeg=jpeg,
        frames=not jpeg and bool(getattr(image, "is_animated", False)),
    )


def _check_is_file(path: Path, where: str) -> None:
    """Reading a pipe would wait for ever."""
    if not os.path.isfile(path):  # not path.is_file(), which raises where a folder may not be entered
        raise DataError(
            f"{where}: image {path} is not there, cannot be reached or is no file. Copy it from its source, or delete "
            "the row."
        )


def _check_type(path: Path, where: str) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # OpenCV crashes the process at names that are no UTF-8
        read_image(path, where)
        return
    if not cv2.haveImageReader(str(path)):
        raise DataError(f"{where}: {path} is an image of a type that OpenCV does not read. Convert it to PNG or JPEG.")


def _refusal(path: Path, where: str, error: Exception) -> str:
    next_step = "Copy the file again from its source, or delete the row."
    if isinstance(error, PermissionError):
        return f"{where}: image {path} cannot be read: {error.strerror}. Correct its access rights."
    if path.is_file() and path.stat().st_size == 0:
        return f"{where}: image {path} is empty (0 bytes). {next_step}"
    if isinstance(error, UnidentifiedImageError):
        return f"{where}: {path} is no image that can be decoded ({path.stat().st_size} bytes). {next_step}"
    return f"{where}: image {path} is truncated or damaged: {error}. {next_step}"


def read_image(path: Path, where: str, upright: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB image of a file, by one rule for all formats.

    One channel is repeated, alpha is dropped, 16 bits are scaled to 8; of several frames or pages the first is taken.

    Args:
        path: image file.
        where: file and row that name the image, for the message.
        upright: turn it as its EXIF orientation says; otherwise pixels are as stored.

    Raises:
        DataError: a file that is not there, or cannot be decoded, or has a pixel type other than 8 or 16 bits.
    """
    _check_is_file(path, where)
    try:
        # not cv2.imread: it crashes the process at names that are no UTF-8
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise DataError(_refusal(path, where, error)) from error
    # The colour flag is the fast path, but it maps 16 bits to 8 by cutting the low byte off.
    flag = _RGB if content.startswith(_JPEG) else cv2.IMREAD_UNCHANGED
    try:
        pixels = np.frombuffer(decodable_as_stored(content), dtype=np.uint8)
        stored = cv2.imdecode(pixels, flag) if _chunks_fit(content) else None
    except (cv2.error, MemoryError) as error:  # no bytes, or a header that claims an absurd size
        raise DataError(_undecodable(path, where)) from error
    if stored is None:
        raise DataError(_undecodable(path, where))
    image = stored if flag == _RGB else _to_rgb(stored, path, where)
    return turn_upright(image, _orientation(content, path, where)) if upright else image


def _orientation(content: bytes, path: Path, where: str) -> int:
    stream = io.BytesIO(content)
    try:
        with Image.open(stream) as header:
            return read_orientation(header, stream)
    except _UNREADABLE as error:
        raise DataError(_refusal(path, where, error)) from error


def _chunks_fit(content: bytes) -> bool:
    """False for a PNG one of whose chunks claims to be longer than the file: OpenCV takes up to 4 GB for such a one."""
    place = len(_PNG)
    while content.startswith(_PNG) and place + 8 <= len(content) and content[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(content[place : place + 4], "big")
        if place > len(content):
            return False
    return True


def _undecodable(path: Path, where: str) -> str:
    return (
        f"{where}: image {path} cannot be decoded ({path.stat().st_size} bytes). Copy the file again from its source, "
        "or delete the row."
    )


def _to_rgb(stored: np.ndarray, path: Path, where: str) -> np.ndarray:
    if stored.dtype == np.uint16:
        stored = ((stored.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if stored.dtype != np.uint8:
        raise DataError(
            f"{where}: image {path} has pixels of type {stored.dtype}; 8 and 16 bits per channel are read. "
            "Convert it to an 8-bit PNG or JPEG."
        )
    if stored.ndim == 2:
        return cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB)
    channels = stored.shape[2]
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in codes:
        raise DataError(f"{where}: image {path} has {channels} channels; 1, 3 and 4 are read. Convert it to RGB.")
    return cv2.cvtColor(stored, codes[channels])
