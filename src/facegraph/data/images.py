"""Image files: a cheap check of many at opening, a full decode of one at reading."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from facegraph.data.orientation import (
    QUARTER_TURNS,
    decodable_as_stored,
    read_orientation,
    stored_size,
    turn_upright,
)
from facegraph.errors import DataError

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
        orientation: that it asks to be shown in, 1 to 8, see orientation.py.
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
