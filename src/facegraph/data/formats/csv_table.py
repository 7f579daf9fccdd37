"""A csv as people's programs write it: any usual separator, decimal commas, comments, UTF-8, UTF-16 or Windows-1252."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.data.formats.files import (
    LINE_LENGTH,
    NUMBER,
    Unusable,
    all_unusable,
    is_cut,
    read_bytes,
    shown,
    split_lines,
)
from facegraph.errors import DataError

MAX_BYTES = 2_000_000_000
_SEPARATORS = (",", ";", "\t", "|")
_STATED = re.compile(r'\s*"?sep=(.)"?')
"""How the first line begins that Excel reads and writes, sep=; and perhaps more separators."""
_COORDINATE = re.compile(r"[xy]\d+|box_[xy][01]")
_DECIMAL = re.compile(r"[+-]?\d*([.,])\d+(?:[eE][+-]?\d+)?")
_MOST_LINES = 20
"""Of one row, whose quoted cells may hold line breaks."""
MAX_COLUMNS = 5_000
"""Of a header; with 98 points and all that a row may have there are 220."""
MAX_LACKING = 50_000_000
"""Cells that the rows of a file lack in all: they cost it no byte, but are made."""
_CUT = "The file seems cut off: copy it again from its source, or correct the row and end its line."


@dataclass(frozen=True)
class CsvTable:
    """The rows of a file.

    Attributes:
        frame: M rows of stripped texts, a column per name of the header.
        lines: (M,) int, where a row begins in the file, whose first line is 1.
        unusable: lines that are no rows.
    """

    frame: pd.DataFrame
    lines: np.ndarray
    unusable: tuple[Unusable, ...]


def read_table(path: Path) -> CsvTable:
    """Rows of a csv file with a header; see the module for its dialects.

    What separates cells is what parts the header into most, or what a line sep=; above it says. Blank lines, and lines
    that begin with #, are passed over, but for a row of a full number of cells (an image may be called #1.png). Columns
    without a name are left out. Coordinates may have decimal commas where no comma separates cells.

    A file whose last line has no end may be cut off: its last row is unusable if it lacks cells, or if its last
    number looks so beside its column, see files.is_cut. Otherwise that cannot be told, nor
    whether rows are missing below.

    Raises:
        DataError: no such file, no header, more than MAX_COLUMNS columns, a name that two columns have, no rows, rows
            that lack more than MAX_LACKING cells, or decimal commas beside points.
    """
    lines = _read_lines(path)
    start, separator, header = _find_header(path, lines)
    if len(header) > MAX_COLUMNS:
        raise DataError(
            f"{path}, line {start + 1}: a header of {len(header)} columns; at most {MAX_COLUMNS} are read. Leave out "
            "those that are no annotation."
        )
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}, line {start + 1}: two columns are called '{twice[0]}'. Give each its own name.")
    rows, numbers, unusable = _read_rows(path, lines, start + 1, separator, len(header))
    if not rows:
        if unusable:
            raise DataError(all_unusable(unusable))
        raise DataError(f"{path} has no rows below its header, line {start + 1}. Write one row per face.")
    named = [i for i, name in enumerate(header) if name]
    frame = pd.DataFrame([[row[i] for i in named] for row in rows], columns=[header[i] for i in named], dtype=object)
    found = np.array(numbers)
    return CsvTable(frame if separator == "," else _with_points(path, frame, found), found, tuple(unusable))


def _read_lines(path: Path) -> list[str | Unusable]:
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.csv"))
        raise DataError(f"annotation file {path} does not exist; csv files there: {beside}. Correct 'annotations'.")
    content = read_bytes(path, MAX_BYTES)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError as error:
            raise DataError(f"{path} begins as UTF-16, but is none ({error}). Save it as CSV UTF-8.") from error
    return [_decoded(line, f"{path}, line {number}") for number, line in enumerate(split_lines(content), start=1)]


def _decoded(line: bytes, where: str) -> str | Unusable:
    """Each line by itself: one damaged byte does not turn the umlauts of all other rows into something else."""
    if len(line) > LINE_LENGTH:
        return Unusable(where, f"{len(line)} bytes; at most {LINE_LENGTH} are read. Correct or delete the row.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = line[error.start]
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        reason = f"byte 0x{wrong:02x} is neither UTF-8 nor Windows-1252. Correct or delete the row."
        return Unusable(where, reason)


def _find_header(path: Path, lines: Sequence[str | Unusable]) -> tuple[int, str, list[str]]:
    """(index of its line, what separates cells, its cells)."""
    separators: Sequence[str] = _SEPARATORS
    for index, line in enumerate(lines):
        if isinstance(line, Unusable):
            raise DataError(f"{line.where}: {line.reason}")
        stated = _STATED.match(line)
        if stated and line[stated.end() :].strip(f"{stated[1]} \t"):
            stated = None
        if stated:
            separators = stated[1]
        if stated or not line.strip(" \t\r,;|\ufeff"):
            continue
        comment = line.lstrip().startswith("#")
        found = _parted(line.lstrip("# ") if comment else line, separators)
        if found is None and not comment:
            raise DataError(f"{path}, line {index + 1}: a header with quotes that do not close. Correct it.")
        if found is not None and (not comment or {"image", "x0"} <= set(found[1])):  # numpy writes a # before the names
            return index, *found
    raise DataError(f"{path} has no header. Write the names of its columns in the first line: image,split,x0,y0,...")


def _parted(text: str, separators: Sequence[str]) -> tuple[str, list[str]] | None:
    """(separator, cells) of the separator that parts a header into most cells; None if no separator does."""
    found = []
    for separator in separators:
        with contextlib.suppress(csv.Error):
            found.append((separator, _cells(text, separator)))
    return max(found, key=lambda parts: len(parts[1]), default=None)


def _cells(text: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([text], delimiter=separator, strict=True), [])]


def _read_rows(
    path: Path, lines: Sequence[str | Unusable], start: int, separator: str, columns: int
) -> tuple[list[list[str]], list[int], list[Unusable]]:
    """(rows of as many cells as columns, their lines, lines that are no rows)."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    unusable: list[Unusable] = []
    index, lacking = start, 0
    while index < len(lines):
        line, number = lines[index], index + 1
        index += 1
        if isinstance(line, Unusable):
            unusable.append(line)
            continue
        if not line.strip() or line.lstrip().startswith(("# ", "##", "#\t")):
            continue
        try:
            cells, used = _row(lines, number - 1, separator)
        except csv.Error as error:
            unusable.append(Unusable(f"{path}, line {number}", f"{error}. Correct or delete the row."))
            continue
        index += used - 1
        if not any(cells) or (line.lstrip().startswith("#") and len(cells) < columns):
            continue
        if any(cells[columns:]):
            hint = " Decimal commas need ; or a tab between cells." if separator == "," else ""
            reason = f"{len(cells)} cells, the header has {columns}. Correct or delete the row.{hint}"
            unusable.append(Unusable(f"{path}, line {number}", reason))
            continue
        lacking += max(0, columns - len(cells))
        if lacking > MAX_LACKING:
            raise DataError(
                f"{path}, line {number}: the rows so far lack {lacking} of the header's {columns} columns in all; at "
                f"most {MAX_LACKING} are filled in. Leave out columns that are empty."
            )
        cells = cells[:columns]
        if index == len(lines) and _is_cut(cells, columns, rows):
            unusable.append(Unusable(f"{path}, line {number}", f"it ends in {shown(cells[-1])}. {_CUT}"))
            continue
        rows.append(cells + [""] * (columns - len(cells)))
        numbers.append(number)
    return rows, numbers, unusable


def _is_cut(cells: Sequence[str], columns: int, rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last row of a file, whose line has no end, can be seen to be cut off.

    Args:
        rows: those above it.
    """
    if len(cells) < columns:
        return True
    # a decimal comma counts as a point
    number, *others = (row[columns - 1].replace(",", ".") for row in (cells, *rows))
    return NUMBER.fullmatch(number) is not None and all(map(NUMBER.fullmatch, others)) and is_cut(number, others)


def _row(lines: Sequence[str | Unusable], index: int, separator: str) -> tuple[list[str], int]:
    """(cells, number of lines) of the row that begins at a line: with the lines after it if one of its cells is quoted
    and holds line breaks, but by itself if no later line closes the quotes.

    Raises:
        csv.Error: no row.
    """
    text = ""
    failure: csv.Error | None = None
    for used, line in enumerate(lines[index : index + _MOST_LINES], start=1):
        if isinstance(line, Unusable):
            break
        text += line if used == 1 else f"\n{line}"
        if used > 1 and '"' not in line:
            continue  # nothing in it ends a quoted cell
        try:
            return _cells(text, separator), used
        except csv.Error as error:
            failure = failure or error
            if '"' not in text or "unexpected end" not in str(error):
                break
    assert failure is not None
    raise failure


def _with_points(path: Path, frame: pd.DataFrame, lines: np.ndarray) -> pd.DataFrame:
    """The frame with coordinates written with points.

    Raises:
        DataError: some are written with commas, others with points: either may part thousands.
    """
    columns = [name for name in frame.columns if _COORDINATE.fullmatch(name)]
    values = frame[columns].to_numpy(dtype=object)
    marks = np.array([[(m := _DECIMAL.fullmatch(cell)) and m[1] for cell in row] for row in values], dtype=object)
    marks = marks.reshape(values.shape)
    commas, points = np.argwhere(marks == ","), np.argwhere(marks == ".")
    if len(commas) and len(points):
        (row, column), other = commas[0], points[0]
        raise DataError(
            f"{path}, line {lines[row]}, column {columns[column]}: {shown(values[row, column])} has a decimal comma, "
            f"but {shown(values[tuple(other)])} in line {lines[other[0]]} a decimal point. Write all alike."
        )
    if not len(commas):
        return frame
    written = np.where(marks == ",", np.char.replace(values.astype(str), ",", "."), values)
    return frame.assign(**{name: written[:, i] for i, name in enumerate(columns)})
