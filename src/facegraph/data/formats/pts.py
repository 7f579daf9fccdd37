""".pts files of iBUG (300-W and its parts): the landmarks of one face as text.

Format: usually `version: 1`, `n_points: 68`, `{`, a line of x and y for each point, `}`; some copies hold the lines of
points alone. Coordinates are those of MATLAB: the centre of the first pixel is (1, 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facegraph.data.formats.bounds import check_coordinates
from facegraph.data.formats.files import NUMBER, is_cut, read_lines, shown
from facegraph.errors import DataError

MAX_BYTES = 1_000_000
_KEY = re.compile(r"[A-Za-z_][\w ]*", re.ASCII)
_COMMENTS = ("#", "//", "%")
_NEXT = "Copy the file again from its source, or correct the line."


def read_pts(path: Path, num_landmarks: int | None = None) -> np.ndarray:
    """(N, 2) float64 landmarks of a .pts file, px, 0-based: 1 is subtracted from what the file says.

    Read with and without header; lines may end as on any system; a byte order mark, blank lines, comments (#, //, %)
    and the header's order do not matter.

    Args:
        path: the file.
        num_landmarks: how many points it must have; None takes what it has. Without it, a headerless file that was cut
            off between two lines cannot be told from a whole one. With it, neither can one that was cut off within its
            last number, unless that number looks so beside the others, see files.is_cut: then it is refused.

    Raises:
        DataError: not there or not readable, too few or many points, a line that is no point, coordinates that are
            not finite or beyond 1e6 px.
    """
    parsed = _Parsed(path)
    lines = read_lines(path, MAX_BYTES)
    for number, text in enumerate(lines, start=1):
        parsed.take(number, text.strip())
    points = parsed.finish(ends_open=bool(lines[-1]))
    if num_landmarks is not None and len(points) != num_landmarks:
        raise DataError(
            f"{path}, line {parsed.last_line}: {len(points)} points end here, {num_landmarks} are needed. Copy the "
            "file again from its source, or choose the scheme that it follows."
        )
    return points


@dataclass
class _Parsed:
    """What the lines so far said.

    Attributes:
        numbers: of the points, as written.
        opened, closed: line numbers of the braces, 0 before.
    """

    path: Path
    points: list[tuple[float, float]] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    declared: int | None = None
    opened: int = 0
    closed: int = 0
    last_line: int = 1

    def take(self, number: int, text: str) -> None:
        if not text or text.startswith(_COMMENTS):
            return
        where = f"{self.path}, line {number}"
        self.last_line = number
        if self.closed:
            raise DataError(f"{where}: {shown(text)} follows the closing brace of line {self.closed}. {_NEXT}")
        if text.startswith("{") and not self.opened and not self.points:
            self.opened = number
            self.take(number, text[1:].strip())
        elif text.endswith("}") and self.opened:
            self.take(number, text[:-1].strip())
            self.closed = number
        elif (header := _header(text)) and not self.opened and not self.points:
            self._take_header(where, *header)
        else:
            self.points.append(_point(where, text))
            self.numbers += text.split()

    def _take_header(self, where: str, key: str, value: str) -> None:
        if key.lower() != "n_points":
            return
        if self.declared is not None:
            raise DataError(f"{where}: a second n_points. {_NEXT}")
        # Nine digits are plenty, and int() of a very long text is slow or refused.
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or int(value) < 1:
            raise DataError(f"{where}: n_points is {shown(value)}; a positive number is needed. {_NEXT}")
        self.declared = int(value)

    def finish(self, ends_open: bool) -> np.ndarray:
        """The lines of a file, parsed.

        Args:
            ends_open: whether the last line has no end.
        """
        where = f"{self.path}, line {self.last_line}"
        if ends_open and not self.opened and self.numbers and is_cut(self.numbers[-1], self.numbers[:-1]):
            raise DataError(f"{where}: the file ends within the number {shown(self.numbers[-1])}. {_NEXT}")
        if self.opened and not self.closed:
            raise DataError(f"{where}: the file ends before the brace of line {self.opened} is closed. {_NEXT}")
        if self.declared is not None and self.declared != len(self.points):
            raise DataError(f"{where}: {len(self.points)} points end here, n_points says {self.declared}. {_NEXT}")
        if not self.points:
            raise DataError(f"{where}: the file has no points. {_NEXT}")
        return np.array(self.points, dtype=np.float64) - 1.0


def _header(text: str) -> tuple[str, str] | None:
    """Name and value of a line of the header."""
    key, colon, value = text.partition(":")
    return (key.rstrip(), value.strip()) if colon and _KEY.fullmatch(key.rstrip()) else None


def _point(where: str, text: str) -> tuple[float, float]:
    tokens = text.split()
    if len(tokens) != 2 or not all(NUMBER.fullmatch(token) for token in tokens):
        raise DataError(f"{where}: {shown(text)} is no point; a line holds two numbers, x and y. {_NEXT}")
    x, y = (float(token) for token in tokens)
    check_coordinates(np.array([[x, y]]), where, "point")
    return x, y
