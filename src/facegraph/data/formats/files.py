"""Bytes and lines of a file of bounded size."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from facegraph.errors import DataError

LINE_LENGTH = 65_536
"""Characters; the longest line of any list that is read here has a tenth of that."""


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: no such file, not readable, empty, or larger than max_bytes (checked before it is read).
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file. Correct the path, or copy the file from its source.")
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(
                f"{path} has {size} bytes; files of this kind have at most {max_bytes}. It is not what it should be: "
                "copy it again from its source."
            )
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Check its permissions and the disk.") from error
    if not content:
        raise DataError(f"{path}, line 1: the file is empty (0 bytes). Copy it again from its source.")
    return content


def read_lines(path: Path, max_bytes: int) -> list[str]:
    """Lines of a UTF-8 text; the first one is line 1.

    Raises:
        DataError: see read_bytes; or a line that cannot be decoded, see decode_line.
    """
    lines = enumerate(split_lines(read_bytes(path, max_bytes)), start=1)
    return [decode_line(line, f"{path}, line {number}") for number, line in lines]


def split_lines(content: bytes) -> list[bytes]:
    r"""Lines of a text, a byte order mark taken off. \n, \r\n and \r end a line, nothing else of Unicode."""
    return content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def decode_line(line: bytes, where: str) -> str:
    """A line as text. where: file and line, for the message.

    Raises:
        DataError: no UTF-8, or longer than LINE_LENGTH.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte 0x{line[error.start]:02x} is no UTF-8 ({error.reason}). Save the file as UTF-8, or copy it "
            "again from its source."
        ) from error
    if len(text) > LINE_LENGTH:
        raise DataError(
            f"{where}: {len(text)} characters; at most {LINE_LENGTH} are read. Copy the file again from its source."
        )
    return text


NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""What counts as a number: not nan, inf, 1_000 or digits of other scripts, all of which float() takes."""


CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no name of a file that is read here may hold."""


def shown(text: str, length: int = 40) -> str:
    """A piece of a file for a message: short, and without characters that would garble a terminal."""
    return ascii(text if len(text) <= length else text[:length] + "...")
