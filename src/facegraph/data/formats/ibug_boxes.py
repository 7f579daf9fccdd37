"""Boxes that iBUG publishes beside the parts of 300-W: bounding_boxes_<part>.mat.

The file has one variable, bounding_boxes: a row of cells, each a struct with imgName, bb_detector (of iBUG's own face
detector) and bb_ground_truth (tight around the landmarks), both as x0, y0, x1, y1. The latter runs through the points
of the .pts files, so these are MATLAB's pixels too: 1-based.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facegraph.data.formats.files import CONTROL, Unusable, all_unusable, shown
from facegraph.data.formats.matlab import Value, read_variables, real
from facegraph.errors import DataError

_VARIABLE = "bounding_boxes"
_NAME, _BOX = "imgName", "bb_detector"
_NEXT = "Copy the file again from its source."


@dataclass(frozen=True)
class IbugBoxes:
    """The boxes of a file.

    Attributes:
        boxes: name of the image file, as written -> (4,) float64 x0, y0, x1, y1 of iBUG's detector, px, 0-based, as
            written, not checked.
        unusable: entries without a box.
    """

    boxes: dict[str, np.ndarray]
    unusable: tuple[Unusable, ...]


def read_ibug_boxes(path: Path) -> IbugBoxes:
    """Names are those of the files; one of the part ibug has a space in it ("image_092 _01.jpg").

    An entry is unusable that is no struct with name and four numbers, or gives a second, different box of an image.

    Raises:
        DataError: not there or not readable, another structure, or no entry can be used.
    """
    variables = read_variables(path, (_VARIABLE,))
    entries = variables.get(_VARIABLE)
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{path} has no variable {_VARIABLE} with entries. Take a file bounding_boxes_<part>.mat of iBUG."
        )
    found: dict[str, np.ndarray] = {}
    unusable: list[Unusable] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, variable {_VARIABLE}, entry {number}"
        try:
            name, box = _entry(where, entry)
        except DataError as error:
            unusable.append(Unusable(where, str(error).removeprefix(f"{where}: ")))
            continue
        if not np.array_equal(found.setdefault(name, box), box, equal_nan=True):
            reason = f"a second, different box for {shown(name)}; the first is taken. {_NEXT}"
            unusable.append(Unusable(where, reason))
    if not found:
        raise DataError(all_unusable(unusable))
    return IbugBoxes(found, tuple(unusable))


def _entry(where: str, entry: Value) -> tuple[str, np.ndarray]:
    record = entry[0] if isinstance(entry, list) and len(entry) == 1 else entry  # a cell holds a struct array of one
    if not isinstance(record, dict) or not {_NAME, _BOX} <= record.keys():
        raise DataError(f"{where}: no struct with {_NAME} and {_BOX}. {_NEXT}")
    name = record[_NAME]
    if not isinstance(name, str) or not name or CONTROL.search(name):
        raise DataError(f"{where}: {_NAME} is {shown(repr(name))}; the name of an image is needed. {_NEXT}")
    corners = real(record[_BOX], f"{where}: {_BOX}")
    if corners.size != 4:
        raise DataError(f"{where}: {_BOX} has shape {corners.shape}; x0, y0, x1, y1 are needed. {_NEXT}")
    return name, corners.reshape(4) - 1.0
