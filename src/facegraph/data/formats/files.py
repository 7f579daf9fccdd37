"""Bytes and lines of a file of bounded size, and what a reader leaves out of it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    """A line as text.

    Args:
        where: file and line, for the message.

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


_ENOUGH = 100
"""Numbers in a row that would all need the same decimals by chance: none of them ends in a zero that was left out."""
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""What counts as a number: not nan, inf, 1_000 or digits of other scripts, all of which float() takes.

No two parts that follow one another match the same characters: a line of digits costs as many steps as it is long.
"""


CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no name of a file that is read here may hold."""


def is_cut(number: str, others: Sequence[str]) -> bool:
    """Whether the last number of a text that ends within a line can be seen to be cut off.

    That is one that ends in a point, as no other does, or has fewer decimals than _ENOUGH others or more, which have
    equally many. Where numbers are written with as many decimals as they need it cannot be seen: 12.3 may be the
    beginning of 12.34, or whole.
    """
    if number.endswith("."):
        return not any(other.endswith(".") for other in others)
    usual = {_decimals(other) for other in others}
    return len(others) >= _ENOUGH and len(usual) == 1 and _decimals(number) < min(usual)


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def shown(text: str, length: int = 40) -> str:
    """A piece of a file for a message: short, and without characters that would garble a terminal."""
    return ascii(text if len(text) <= length else text[:length] + "...")


class Unusable(NamedTuple):
    """A line or entry that no face was made of.

    Attributes:
        where: file and place in it.
        reason: what is wrong, what to do.
    """

    where: str
    reason: str


def all_unusable(unusable: Sequence[Unusable]) -> str:
    """The message for a file none of whose faces can be used, of which there is one at least."""
    first = unusable[0]
    more = f" ({len(unusable)} like this, no usable one)" if len(unusable) > 1 else ""
    return f"{first.where}: {first.reason}{more}"
