"""Lists of WFLW: a line for each face, 98 landmarks, perhaps a box and flags, and the photograph.

A line has 196 coordinates (x and y of 98 points), then perhaps four numbers of the box (x_min y_min x_max y_max), then
perhaps six flags, then the path of the photograph below WFLW_images. Photographs with several faces have several lines.
Coordinates are 0-based and may be negative, where a landmark lies outside the photograph.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facegraph.data.formats.bounds import check_coordinates
from facegraph.data.formats.files import (
    CONTROL,
    NUMBER,
    Unusable,
    all_unusable,
    decode_line,
    read_bytes,
    shown,
    split_lines,
)
from facegraph.errors import DataError

FLAGS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
NUM_LANDMARKS = 98
MAX_BYTES = 200_000_000
_COORDINATES = 2 * NUM_LANDMARKS
_MOST_NUMBERS_IN_NAME = 3
_NEXT = "Copy the list again from its source, or correct or delete the line."


@dataclass(frozen=True)
class WflwRow:
    """One face of a list.

    Attributes:
        line: of the file, the first is 1.
        landmarks: (98, 2) float64 px, 0-based.
        box: (4,) float64 x0, y0, x1, y1 in the same px as written, not checked; None where the list has none.
        flags: (6,) bool in the order of FLAGS, None where the list has none.
        image: path of the photograph below WFLW_images, as written.
    """

    line: int
    landmarks: np.ndarray
    box: np.ndarray | None
    flags: np.ndarray | None
    image: str


@dataclass(frozen=True)
class WflwList:
    """The faces of a list in its order, and the lines that are none."""

    rows: tuple[WflwRow, ...]
    unusable: tuple[Unusable, ...]


@dataclass(frozen=True)
class _Layout:
    """What follows the coordinates of a line before the path."""

    has_box: bool
    has_flags: bool

    @property
    def count(self) -> int:
        return _COORDINATES + 4 * self.has_box + len(FLAGS) * self.has_flags


_LAYOUTS = tuple(_Layout(box, flags) for box, flags in ((True, True), (False, True), (True, False), (False, False)))


def read_wflw_list(path: Path) -> WflwList:
    """All lines of a list, in its order; blank lines are skipped.

    A line is unusable that is no UTF-8, has another count of numbers, coordinates that are not finite or beyond 1e6 px,
    flags other than 0 and 1, no path or one with control characters.

    Which of the four layouts a line has is told by the numbers before its path. A path may hold spaces and begin with
    whole numbers ("12 people/1.jpg"); that reading is taken only where no layout fits the numbers exactly.

    Raises:
        DataError: not there or not readable, or no line of it can be used.
    """
    rows: list[WflwRow] = []
    unusable: list[Unusable] = []
    for number, line in enumerate(split_lines(read_bytes(path, MAX_BYTES)), start=1):
        if not line.strip(b" \t"):
            continue
        where = f"{path}, line {number}"
        try:
            rows.append(_row(where, number, decode_line(line, where).strip(" \t")))
        except DataError as error:
            unusable.append(Unusable(where, str(error).removeprefix(f"{where}: ")))
    if not rows:
        reason = all_unusable(unusable) if unusable else f"{path}, line 1: the list has no faces. {_NEXT}"
        raise DataError(reason)
    return WflwList(tuple(rows), tuple(unusable))


def _row(where: str, line: int, text: str) -> WflwRow:
    numbers, image = _split(text)
    layout = _layout(where, numbers)
    if layout.count < len(numbers):
        # The path follows the layout's last number with whatever spaces it has.
        image = text.split(maxsplit=layout.count)[-1]
    if not image or CONTROL.search(image):
        raise DataError(f"{where}: {shown(image)} after {len(numbers)} numbers is no path of a photograph. {_NEXT}")
    values = np.array([float(token) for token in numbers[: layout.count]])
    landmarks = check_coordinates(values[:_COORDINATES].reshape(NUM_LANDMARKS, 2), where, "point")
    box = values[_COORDINATES : _COORDINATES + 4] if layout.has_box else None
    flags = values[-len(FLAGS) :] if layout.has_flags else None
    if flags is not None and not np.isin(flags, (0, 1)).all():
        raise DataError(f"{where}: the flags {', '.join(FLAGS)} are {flags.tolist()}; each is 0 or 1. {_NEXT}")
    return WflwRow(line, landmarks, box, None if flags is None else flags == 1, image)


def _split(text: str) -> tuple[list[str], str]:
    """The numbers at the beginning of a line (at most so many as a line can have), and the rest of it."""
    most = _LAYOUTS[0].count + _MOST_NUMBERS_IN_NAME + 1
    tokens = text.split(maxsplit=most)
    count = 0
    while count < min(len(tokens), most) and NUMBER.fullmatch(tokens[count]):
        count += 1
    rest = text.split(maxsplit=count)
    return tokens[:count], rest[count] if len(rest) > count else ""


def _layout(where: str, numbers: list[str]) -> _Layout:
    exact = [layout for layout in _LAYOUTS if layout.count == len(numbers)]
    if exact and _flags_fit(exact[0], numbers):
        return exact[0]
    # With flags that are none the exact one comes last, so that the error speaks of them.
    for layout in (*(layout for layout in _LAYOUTS if _leaves_a_name(layout, numbers)), *exact):
        return layout
    counts = sorted(layout.count for layout in _LAYOUTS)
    raise DataError(
        f"{where}: {len(numbers)} numbers before the path of the photograph; {', '.join(map(str, counts))} are read: "
        f"{_COORDINATES} coordinates, with 4 of a box, with {len(FLAGS)} flags, or with both. {_NEXT}"
    )


def _flags_fit(layout: _Layout, numbers: list[str]) -> bool:
    return not layout.has_flags or {float(n) for n in numbers[layout.count - len(FLAGS) : layout.count]} <= {0, 1}


def _leaves_a_name(layout: _Layout, numbers: list[str]) -> bool:
    """Whether the numbers beyond a layout's can be the beginning of a path, and those within it what they should be.

    A coordinate too many or too few shifts all that follows; box and flags of a shifted line do not pass this.
    """
    name, rest = numbers[layout.count :], numbers[_COORDINATES : layout.count]
    if not 0 < len(name) <= _MOST_NUMBERS_IN_NAME or not all(re.fullmatch(r"\d{1,19}", token) for token in name):
        return False
    if not _flags_fit(layout, numbers):
        return False
    if not layout.has_box:
        return True
    x0, y0, x1, y1 = (float(token) for token in rest[:4])
    x, y = np.median(np.array([float(t) for t in numbers[:_COORDINATES]]).reshape(NUM_LANDMARKS, 2), axis=0)
    return x0 <= x <= x1 and y0 <= y <= y1
