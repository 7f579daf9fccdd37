"""Annotation files: a csv with one face per row, checked in full before the first image is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.data.formats.bounds import COORDINATE_LIMIT
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import SCHEMES, LandmarkScheme

BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")


@dataclass(frozen=True)
class Annotations:
    """The rows of an annotation file, M faces in the order of the file.

    lines: (M,) int, line of the file, the header is line 1. images, splits, photos: M strings. landmarks: (M, N, 2)
    float64 image px. boxes: (M, 4) float64 image px, from the box columns if boxes_given, else tight.
    attributes: (M, K) bool.
    """

    path: Path
    lines: np.ndarray
    images: np.ndarray
    splits: np.ndarray
    photos: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    boxes_given: bool
    attributes: np.ndarray

    def where(self, row: int | np.integer) -> str:
        return f"{self.path}, line {self.lines[row]}"


def read_annotations(
    path: Path, scheme: LandmarkScheme, attributes: Sequence[str] = (), photo_pattern: str | None = None
) -> Annotations:
    """Read and check an annotation file; the columns are those of CropsDataset.

    Raises:
        DataError: the file or one of its rows cannot be used.
        ConfigError: photo_pattern is no regular expression with a group.
    """
    frame = _read_csv(path)
    lines = frame.index.to_numpy() + 2
    _check_columns(path, frame, scheme, attributes)
    points = [f"{axis}{i}" for i in range(scheme.num_landmarks) for axis in "xy"]
    landmarks = _numbers(path, frame, points).reshape(len(frame), -1, 2)
    _check_extent(path, lines, landmark_box(landmarks), "landmarks span")
    boxes = landmark_box(landmarks)
    boxes_given = set(BOX_COLUMNS) <= set(frame.columns)
    if boxes_given:
        boxes = _numbers(path, frame, list(BOX_COLUMNS))
        _check_extent(path, lines, boxes, "box columns give")
    images = frame["image"].to_numpy(dtype=object)
    return Annotations(
        path=path,
        lines=lines,
        images=images,
        splits=frame["split"].to_numpy(dtype=object),
        photos=_photos(path, frame, lines, photo_pattern),
        landmarks=landmarks,
        boxes=boxes,
        boxes_given=boxes_given,
        attributes=_flags(path, frame, list(attributes)),
    )


def _read_csv(path: Path) -> pd.DataFrame:
    """All cells as stripped text; the index counts lines below the header, blank lines are gone."""
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.csv"))
        raise DataError(f"annotation file {path} does not exist; csv files there: {beside}. Correct 'annotations'.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable csv file: {error}. Write it as UTF-8 with commas.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}, line 2: more fields than the header has columns. Give each column a name.")
    frame = frame.fillna("").apply(lambda column: column.str.strip())
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise DataError(f"{path} has no rows below its header. Write one row per face.")
    return frame


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
        raise DataError(
            f"{path} has no column {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; it has "
            f"{', '.join(others)} and {count} points. "
            + (f"Did you mean {' or '.join(near)}? " if near else "")
            + "Rename or add the column in the header."
        )


def _numbers(path: Path, frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    values = frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.argwhere(~(np.abs(values) <= COORDINATE_LIMIT))  # not '>', which NaN passes
    if len(bad):
        row, column = bad[0]
        cell = frame.iloc[row][columns[column]]
        raise DataError(
            f"{path}, line {frame.index[row] + 2}, column {columns[column]}: '{cell[:40]}' is no finite number within "
            f"{COORDINATE_LIMIT:g} ({len(np.unique(bad[:, 0]))} row(s) like this). Write the coordinate in px, or "
            "delete the row."
        )
    return values


def _check_extent(path: Path, lines: np.ndarray, boxes: np.ndarray, what: str) -> None:
    extent = boxes[:, 2:] - boxes[:, :2]
    bad = np.flatnonzero((extent <= 0).any(axis=1))
    if len(bad):
        width, height = extent[bad[0]]
        raise DataError(
            f"{path}, line {lines[bad[0]]}: the {what} {width:g} x {height:g} px ({len(bad)} row(s) like this); width "
            "and height must be positive (x0 < x1, y0 < y1). Correct or delete the row."
        )


def _photos(path: Path, frame: pd.DataFrame, lines: np.ndarray, pattern: str | None) -> np.ndarray:
    if pattern is None:
        return frame["photo" if "photo" in frame.columns else "image"].to_numpy(dtype=object)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"photo_pattern '{pattern}' is no regular expression: {error}.") from error
    if compiled.groups < 1:
        raise ConfigError(f"photo_pattern '{pattern}' has no group; put the part that names the photograph in ( ).")
    photos = []
    for image, line in zip(frame["image"], lines, strict=True):
        match = compiled.search(image)
        if match is None or not match.group(1):
            raise DataError(
                f"{path}, line {line}: photo_pattern '{pattern}' does not match image '{image}'. Widen the pattern, "
                "or leave it out and name photographs in a column 'photo'."
            )
        photos.append(match.group(1))
    return np.array(photos, dtype=object)


def _flags(path: Path, frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    if not columns:
        return np.zeros((len(frame), 0), dtype=bool)
    values = frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.argwhere(~np.isin(values, (0, 1)))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{path}, line {frame.index[row] + 2}, column {columns[column]}: attribute "
            f"'{frame.iloc[row][columns[column]]}' is neither 0 nor 1. Write 0 or 1."
        )
    return values == 1
