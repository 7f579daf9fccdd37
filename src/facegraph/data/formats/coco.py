"""Face landmarks in COCO's keypoint json: images, annotations with keypoints [x, y, v, ...], categories.

v is 0 for a point that was not annotated, 1 for one that is hidden and 2 for one that can be seen. Coordinates are px
of the image, 0-based, integers at pixel centres. Boxes are x, y, w, h.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from facegraph.data.formats.bounds import check_coordinates, check_extent
from facegraph.data.formats.files import read_bytes, shown
from facegraph.errors import DataError

MAX_BYTES = 512_000_000
_MOST_PX = 1_000_000


@dataclass(frozen=True)
class CocoFace:
    """One annotation.

    id: of the annotation. image: file name as written. landmarks: (N, 2) float64 px, 0-based. hidden: (N,) bool, None
    where the file marks no point as visible, since v then says nothing about occlusion. labelled: (N,) bool. box: (4,)
    float64 x0, y0, x1, y1 in the same px, None where there is none. width, height: of the image in px, 0 where
    unknown. where: file and annotation, for messages.
    """

    id: int | str
    image: str
    landmarks: np.ndarray
    hidden: np.ndarray | None
    labelled: np.ndarray
    box: np.ndarray | None
    width: int
    height: int
    where: str


@dataclass(frozen=True)
class CocoFile:
    """All faces of a file. keypoint_names: N, or none. unusable: (where, reason) of the annotations left out."""

    faces: tuple[CocoFace, ...]
    keypoint_names: tuple[str, ...]
    unusable: tuple[tuple[str, str], ...]


def read_coco(path: Path, num_landmarks: int | None = None) -> CocoFile:
    """Faces with all landmarks annotated; the others are named with the reason.

    Args:
        path: the json file.
        num_landmarks: how many points a face must have; None takes what the first category or annotation has.

    Raises:
        DataError: not there or not readable, no json, or json without images and annotations.
    """
    content = _load(path)
    images = _by_id(path, content, "images")
    names = _keypoint_names(path, content)
    annotations = _list(path, content, "annotations")
    count = num_landmarks or len(names) or _first_count(path, annotations)
    faces: list[CocoFace] = []
    unusable: list[tuple[str, str]] = []
    for number, annotation in enumerate(annotations, start=1):
        where = f"{path}, annotation {number}"
        try:
            faces.append(_face(where, annotation, images, count))
        except DataError as error:
            # The message names the place first, and so does the pair.
            unusable.append((where, str(error).removeprefix(f"{where}: ")))
    if all(face.hidden is None or face.hidden.all() for face in faces):
        faces = [replace(face, hidden=None) for face in faces]
    return CocoFile(tuple(faces), names if len(names) == count else (), tuple(unusable))


def _load(path: Path) -> Mapping[str, Any]:
    raw = read_bytes(path, MAX_BYTES)
    try:
        content = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no json ({error.msg}). Write the file again.") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: no UTF-8 ({error.reason}). Save the file as UTF-8.") from error
    # Nested too deeply, a number with too many digits, or NaN.
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: json that cannot be read ({error}). Write the file again.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: json of type {type(content).__name__}; an object with images and annotations is needed."
        )
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in json")


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{path}: '{key}' is {shown(repr(value))}; a list with at least one entry is needed. Export the file as "
            "COCO keypoints."
        )
    return value


def _by_id(path: Path, content: Mapping[str, Any], key: str) -> dict[int | str, Mapping[str, Any]]:
    found: dict[int | str, Mapping[str, Any]] = {}
    for number, entry in enumerate(_list(path, content, key), start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            raise DataError(f"{path}: entry {number} of '{key}' is {shown(repr(entry))}; an object with id is needed.")
        if entry["id"] in found:
            raise DataError(f"{path}: entry {number} of '{key}' has the id {shown(repr(entry['id']))} a second time.")
        found[entry["id"]] = entry
    return found


def _keypoint_names(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the first category that has some."""
    categories = content.get("categories", [])
    if not isinstance(categories, list):
        raise DataError(f"{path}: 'categories' is {shown(repr(categories))}; a list is needed, or nothing.")
    for category in categories:
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def _first_count(path: Path, annotations: list[Any]) -> int:
    for annotation in annotations:
        keypoints = annotation.get("keypoints") if isinstance(annotation, dict) else None
        if isinstance(keypoints, list) and len(keypoints) >= 3:
            return len(keypoints) // 3
    raise DataError(f"{path}: no annotation has keypoints. Export the file as COCO keypoints.")


def _face(where: str, annotation: Any, images: Mapping[int | str, Mapping[str, Any]], count: int) -> CocoFace:
    if not isinstance(annotation, dict):
        raise DataError(f"{where}: {shown(repr(annotation))} is no object.")
    image_id = annotation.get("image_id")
    image = images.get(image_id) if isinstance(image_id, int | str) else None
    if image is None:
        raise DataError(f"{where}: image_id is {shown(repr(image_id))}; no entry of 'images' has that id.")
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(
            f"{where}: file_name of image {shown(repr(image_id))} is {shown(repr(name))}; a name is needed."
        )
    points = _numbers(where, annotation, "keypoints", 3 * count).reshape(count, 3)
    check_coordinates(points, where, "keypoint")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: v is one of {np.unique(points[:, 2])[:5].tolist()}; 0, 1 and 2 are known.")
    labelled = points[:, 2] > 0
    if not labelled.all():
        raise DataError(f"{where}: {int((~labelled).sum())} of {count} points are not annotated (v = 0).")
    face_id = annotation.get("id")
    return CocoFace(
        id=face_id if isinstance(face_id, int | str) else where.rpartition(" ")[2],
        image=name,
        landmarks=points[:, :2].copy(),
        hidden=points[:, 2] == 1,
        labelled=labelled,
        box=_box(where, annotation),
        width=_side(image.get("width")),
        height=_side(image.get("height")),
        where=where,
    )


def _box(where: str, annotation: Mapping[str, Any]) -> np.ndarray | None:
    if annotation.get("bbox") is None:
        return None
    x, y, width, height = _numbers(where, annotation, "bbox", 4)
    return check_extent(np.array([[x, y, x + width, y + height]]), where)[0]


def _numbers(where: str, annotation: Mapping[str, Any], key: str, count: int) -> np.ndarray:
    values = annotation.get(key)
    if not isinstance(values, list) or len(values) != count:
        have = f"{len(values)} numbers" if isinstance(values, list) else shown(repr(values))
        raise DataError(f"{where}: '{key}' is {have}; a list of {count} numbers is needed.")
    if not all(isinstance(value, int | float) for value in values):
        raise DataError(f"{where}: '{key}' holds {shown(repr(values))}; numbers are needed.")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise DataError(f"{where}: '{key}' holds a number that is too large ({error}).") from error


def _side(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value <= _MOST_PX else 0
