"""Annotation files: a csv with one face per row, checked in full before the first image is read."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.data.benchmarks.source_tree import name_below
from facegraph.data.faults import without_marked
from facegraph.data.formats.bounds import COORDINATE_LIMIT, CORNERS, check_reading, out_of_range, without_extent
from facegraph.data.formats.csv_table import read_table
from facegraph.data.formats.files import Unusable, all_unusable, shown
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import SCHEMES, LandmarkScheme

BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")
_NO_NUMBER = ("", "nan", "na", "n/a", "none", "null", "-")
"""What a cell says, in any case, of a coordinate that is not there; both of a landmark must."""
SIZE_COLUMNS = ("width", "height")
_MOST = f"{COORDINATE_LIMIT:g}"


@dataclass(frozen=True)
class Annotations:
    """The rows of an annotation file, M faces in the order of the file.

    Attributes:
        lines: (M,) int, line of the file, whose first is 1.
        ids, images, splits, photos: M strings; an id is the image, with #1, #2, ... where several rows of the file
            share it.
        landmarks: (M, N, 2) float64 image px, NaN where one is marked as missing (data.faults).
        boxes: (M, 4) float64 image px, from the box columns if boxes_given, NaN in rows that leave them empty, else
            tight.
        attributes: (M, K) bool.
        sizes: (M, 2) float64, width and height in px of the image that was marked; NaN where they are not given.
    """

    path: Path
    lines: np.ndarray
    ids: np.ndarray
    images: np.ndarray
    splits: np.ndarray
    photos: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    boxes_given: bool
    attributes: np.ndarray
    sizes: np.ndarray

    def where(self, row: int | np.integer) -> str:
        return f"{self.path}, line {self.lines[row]}"

    def keep(self, rows: np.ndarray) -> Annotations:
        """These rows alone.

        Args:
            rows: (K,) numbers or (M,) bool.
        """
        arrays = ("lines", "ids", "images", "splits", "photos", "landmarks", "boxes", "attributes", "sizes")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    @property
    def places(self) -> list[str]:
        """(M,) file and line of each row, for messages."""
        return [self.where(row) for row in range(len(self.lines))]

    def tell_boxless(self) -> str | None:
        """How many rows leave the box columns empty, in words; None if no row does."""
        rows = np.flatnonzero(np.isnan(self.boxes).all(axis=1))
        if not len(rows):
            return None
        lines = ", ".join(str(line) for line in self.lines[rows[:3]]) + (", ..." if len(rows) > 3 else "")
        return (
            f"{self.path}: {len(rows)} of {len(self.lines)} rows have no box (line {lines}). box=official refuses "
            "these faces, box.fallback=true cuts them out around their landmarks."
        )

    def marked_size(self, row: int | np.integer) -> tuple[float, float] | None:
        """(width, height) px of the image that was marked, None where it is not given."""
        width, height = self.sizes[row].tolist()
        return (width, height) if np.isfinite(width) else None


def read_annotations(
    path: Path,
    scheme: LandmarkScheme,
    attributes: Sequence[str] = (),
    photo_pattern: str | None = None,
    root: Path | None = None,
    split: str | None = None,
    report: list[Unusable] | None = None,
) -> Annotations:
    """Read and check an annotation file; the columns are those of CropsDataset.

    Args:
        path: the csv.
        scheme: numbering of the landmarks.
        attributes: columns of 0 and 1.
        photo_pattern: regular expression whose group 1 on the image name names the photograph.
        root: of the data set; None for the folder of the file. An absolute name of an image in it is told from it on.
        split: of all rows where the file has no column split; None refuses such a file.
        report: takes the rows that cannot be used, which are left out; boxes are then as written, NaN where they are no
            numbers. None: the first such row, or box, is an error.

    Raises:
        DataError: the file cannot be used, or one of its rows (with a report: all of its rows), or its boxes are no
            corners.
        ConfigError: photo_pattern is no regular expression with a group.
    """
    table = read_table(path)
    stop, frame = report is None, table.frame
    if stop and table.unusable:
        first, count = table.unusable[0], len(table.unusable)
        raise DataError(f"{first.where}: {first.reason} ({count} line(s) are no rows)")
    if split is not None and "split" not in frame:
        frame["split"] = split
    refused = _Refused(path, table.lines, stop)
    rows = _checked(path, root, frame, scheme, attributes, photo_pattern, refused)
    if report is not None:
        report += [*table.unusable, *(refused.rows[row] for row in sorted(refused.rows))]
        kept = np.setdiff1d(np.arange(len(table.lines)), list(refused.rows))
        if not len(kept):
            raise DataError(all_unusable(report))
        rows = rows.keep(kept)
    if rows.boxes_given:
        columns = list(BOX_COLUMNS)
        cells = frame[columns]
        if stop:
            empty = (cells == "").all(axis=1).to_numpy()
            _refuse_numbers(refused, cells, np.where(empty[:, None], 0, rows.boxes), columns)
        check_reading(
            rows.boxes,
            rows.landmarks,
            CORNERS,
            f"{path}: boxes, columns {', '.join(BOX_COLUMNS)},",
            "Write their corners (x1 = x0 + width, y1 = y0 + height), or delete these columns.",
        )
        if stop:
            _refuse_flat(refused, rows.boxes, "box columns give")
    return rows


@dataclass
class _Refused:
    """Rows that cannot be used: the first is an error, or, unless stop, all of them are collected.

    Attributes:
        lines: (M,) of the file.
        rows: number of a row -> what is wrong with it first.
    """

    path: Path
    lines: np.ndarray
    stop: bool
    rows: dict[int, Unusable] = field(default_factory=dict)

    def refuse(self, wrong: Sequence[tuple[int, str, str]], advice: str) -> None:
        """Refuse some rows, each once.

        Args:
            wrong: of each row its number, the place within it ("" or ", column x0") and what is wrong there.
            advice: how the message ends.
        """
        for row, place, what in wrong:
            if row in self.rows:
                continue
            where = f"{self.path}, line {self.lines[row]}{place}"
            if self.stop:
                count = len({row for row, _, _ in wrong})
                raise DataError(f"{where}: {what} ({count} row(s) like this){advice}")
            self.rows[row] = Unusable(where, f"{what}{advice}")


def _checked(
    path: Path,
    root: Path | None,
    frame: pd.DataFrame,
    scheme: LandmarkScheme,
    attributes: Sequence[str],
    photo_pattern: str | None,
    refused: _Refused,
) -> Annotations:
    """All rows; boxes are not checked."""
    _check_columns(path, frame, scheme, attributes)
    points = [f"{axis}{i}" for i in range(scheme.num_landmarks) for axis in "xy"]
    numbers = _numbers(frame, points)
    empty = frame[points].apply(lambda column: column.str.lower().isin(_NO_NUMBER)).to_numpy()
    unknown = empty.reshape(len(frame), -1, 2).all(axis=-1).repeat(2, axis=-1)
    _refuse_numbers(refused, frame[points], np.where(unknown, 0.0, numbers), points)
    landmarks = without_marked(np.where(unknown, np.nan, numbers).reshape(len(frame), -1, 2))
    boxes = landmark_box(landmarks)
    _refuse_flat(refused, boxes, "landmarks span")
    boxes_given = set(BOX_COLUMNS) <= set(frame.columns)
    for column, advice in (("image", "Name the file"), ("split", "Write train, val or test")):
        rows = np.flatnonzero(frame[column] == "").tolist()
        refused.refuse(
            [(row, f", column {column}", "the cell is empty") for row in rows], f". {advice}, or delete the row."
        )
    frame = frame.assign(image=[name_below(name, root or path.parent, path.parent) for name in frame["image"]])
    images = frame["image"].to_numpy(dtype=object)
    return Annotations(
        path=path,
        lines=refused.lines,
        ids=_ids(images),
        images=images,
        splits=frame["split"].to_numpy(dtype=object),
        photos=_photos(frame, photo_pattern, refused),
        landmarks=landmarks,
        boxes=_numbers(frame, list(BOX_COLUMNS)) if boxes_given else boxes,
        boxes_given=boxes_given,
        attributes=_flags(frame, list(attributes), refused),
        sizes=_sizes(frame, refused),
    )


def _ids(images: np.ndarray) -> np.ndarray:
    total, seen = Counter(images), Counter[str]()
    ids = []
    for image in images:
        seen[image] += 1
        ids.append(image if total[image] == 1 else f"{image}#{seen[image]}")
    return np.array(ids, dtype=object)


def _check_columns(path: Path, frame: pd.DataFrame, scheme: LandmarkScheme, attributes: Sequence[str]) -> None:
    names = [str(c) for c in frame.columns]
    present = set(names)
    # Six digits are plenty, and int() of a very long text is refused.
    numbered = {int(c[1:]) for c in names if re.fullmatch(r"x[0-9]{1,6}", c)} & {
        int(c[1:]) for c in names if re.fullmatch(r"y[0-9]{1,6}", c)
    }
    count = len(numbered)
    if numbered and numbered == set(range(count)) and count != scheme.num_landmarks:
        fits = [s.name for s in SCHEMES.values() if s.num_landmarks == count]
        advice = f"Scheme {' or '.join(fits)} fits." if fits else "Describe the numbering in a scheme file of your own."
        raise DataError(
            f"{path} holds {count} points (x0 to y{count - 1}) but scheme '{scheme.name}' has {scheme.num_landmarks}. "
            f"{advice}"
        )
    wanted = ["image", "split", *attributes]
    wanted += [c for i in range(scheme.num_landmarks) for c in (f"x{i}", f"y{i}")]
    wanted += BOX_COLUMNS if present & set(BOX_COLUMNS) else ()
    missing = [c for c in wanted if c not in present]
    if missing:
        others = [c for c in names if not re.fullmatch(r"[xy]\d+", c)]
        near = difflib.get_close_matches(missing[0], names, n=3)
        cut = "Or cut a test set by photograph: facegraph prepare crops --source <folder> --test-fraction 0.1 --seed 0"
        raise DataError(
            f"{path} has no column {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; it has "
            f"{', '.join(others)} and {count} points. "
            + (f"Did you mean {' or '.join(near)}? " if near else "")
            + "Rename or add the column in the header."
            + (f" {cut}" if missing == ["split"] and not near else "")
        )


def _numbers(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(M, len(columns)) float64, NaN for what is no number."""
    return frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)


def _refuse_numbers(refused: _Refused, cells: pd.DataFrame, values: np.ndarray, columns: list[str]) -> None:
    wrong = [
        (row, f", column {columns[column]}", f"{shown(str(cells.iat[row, column]))} is no finite number within {_MOST}")
        for row, column in _first_of_row(out_of_range(values)).tolist()
    ]
    refused.refuse(wrong, ". Write the coordinate in px, or delete the row.")


def _first_of_row(places: np.ndarray) -> np.ndarray:
    """Of (K, 2) row and column, in order, the first of each row."""
    return places[np.unique(places[:, 0], return_index=True)[1]]


def _refuse_flat(refused: _Refused, boxes: np.ndarray, what: str) -> None:
    rows = without_extent(boxes).tolist()
    sides = (boxes[rows, 2:] - boxes[rows, :2]).tolist()
    refused.refuse(
        [(row, "", f"the {what} {width:g} x {height:g} px") for row, (width, height) in zip(rows, sides, strict=True)],
        "; width and height must be positive (x0 < x1, y0 < y1). Correct or delete the row.",
    )


def _sizes(frame: pd.DataFrame, refused: _Refused) -> np.ndarray:
    if not set(SIZE_COLUMNS) <= set(frame.columns):
        return np.full((len(frame), 2), np.nan)
    cells, sizes = frame[list(SIZE_COLUMNS)], _numbers(frame, list(SIZE_COLUMNS))
    given = (cells != "").to_numpy()
    bad = np.flatnonzero((given & ~(np.isfinite(sizes) & (sizes > 0))).any(axis=1)).tolist()
    refused.refuse(
        [(row, "", f"columns width and height are {' and '.join(map(repr, cells.iloc[row]))}") for row in bad],
        ". Write the size in px of the image that was marked, or nothing; rename columns that mean something else.",
    )
    return np.where(given.all(axis=1, keepdims=True), sizes, np.nan)


def _photos(frame: pd.DataFrame, pattern: str | None, refused: _Refused) -> np.ndarray:
    if pattern is None:
        return frame["photo" if "photo" in frame.columns else "image"].to_numpy(dtype=object)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"photo_pattern '{pattern}' is no regular expression: {error}.") from error
    if compiled.groups < 1:
        raise ConfigError(f"photo_pattern '{pattern}' has no group; put the part that names the photograph in ( ).")
    images = frame["image"].to_list()
    photos = [(match.group(1) or "") if (match := compiled.search(image)) else "" for image in images]
    refused.refuse(
        [
            (row, "", f"photo_pattern '{pattern}' does not match image '{images[row]}'")
            for row, photo in enumerate(photos)
            if not photo
        ],
        ". Widen the pattern, or leave it out and name photographs in a column 'photo'.",
    )
    return np.array(photos, dtype=object)


def _flags(frame: pd.DataFrame, columns: list[str], refused: _Refused) -> np.ndarray:
    if not columns:
        return np.zeros((len(frame), 0), dtype=bool)
    values = _numbers(frame, columns)
    wrong = [
        (row, f", column {columns[column]}", f"attribute '{frame.iloc[row][columns[column]]}' is neither 0 nor 1")
        for row, column in _first_of_row(np.argwhere(~np.isin(values, (0, 1)))).tolist()
    ]
    refused.refuse(wrong, ". Write 0 or 1.")
    return values == 1
