"""Face landmarks in COCO's keypoint json: images, annotations with keypoints [x, y, v, ...], categories.

v is 0 for a point that was not annotated, which is NaN here, 1 for one that is hidden and 2 for one that can be seen.
Coordinates are px of the image, 0-based, integers at pixel centres. Boxes are x, y, w, h. What a category says about
its keypoints holds: annotations of another category are no faces, and points are known by name where names are given.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from facegraph.data.formats.bounds import SIZE, boxes_of_corners, check_coordinates, check_reading
from facegraph.data.formats.files import Unusable, all_unusable, read_bytes, shown
from facegraph.errors import DataError


@dataclass(frozen=True)
class Category:
    """An entry of 'categories'.

    Attributes:
        points: names of its keypoints, None where it gives none.
    """

    id: int | str
    name: str
    points: tuple[str, ...] | None


@dataclass(frozen=True)
class Categories:
    """Those of a file by id, and what its annotations have.

    Attributes:
        counts: id -> number of points -> annotations.
    """

    path: Path
    entries: Mapping[int | str, Category]
    counts: Mapping[int | str, Mapping[int, int]]

    def choose(self, count: int, asked: str | None) -> Category | None:
        """The category of the faces, which have count points; None where the file has no categories.

        Args:
            asked: its name; None for the only one that fits, if there is only one.

        Raises:
            DataError: none or several, or keypoint names that contradict the annotations or each other.
        """
        if not self.entries:
            if len(self.counts) > 1 or asked is not None:
                wanted = f"category '{asked}'" if asked is not None else f"annotations of {len(self.counts)} categories"
                raise DataError(
                    f"{self.path}: no 'categories', but {wanted}; which points are of faces is not known. Export the "
                    "file as COCO keypoints."
                )
            return None
        found = [c for c in self.entries.values() if asked is None or c.name == asked]
        if asked is not None and not found:
            near = difflib.get_close_matches(asked, [c.name for c in self.entries.values()], n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(f"{self.path}: no category is called '{asked}'; there are {self._listed()}.{hint}")
        fitting = [category for category in found if self._fits(category, count)]
        # exporters list the categories of the whole project
        fitting = [category for category in fitting if self.counts.get(category.id)] or fitting
        if len(fitting) != 1:
            what = f"{len(fitting)} categories fit" if fitting else "no category fits"
            advice = "Choose one: --category <name>" if fitting else "Choose the --scheme that fits"
            raise DataError(
                f"{self.path}: {count} points are wanted, and {what}; there are {self._listed()}. {advice}, or correct "
                "the file."
            )
        self._check_names(fitting[0])
        return fitting[0]

    def _fits(self, category: Category, count: int) -> bool:
        if category.points is not None:
            return len(category.points) == count
        return count in self.counts.get(category.id, {})

    def _check_names(self, category: Category) -> None:
        twice = [name for name, n in Counter(category.points or ()).items() if n > 1]
        if twice:
            raise DataError(
                f"{self.path}: category '{category.name}' calls two keypoints {shown(twice[0])}, so that names do not "
                "tell its points apart. Give each its own name, or take 'keypoints' out of the category of all files."
            )

    def _listed(self) -> str:
        told = []
        for category in list(self.entries.values())[:8]:
            names = "no names of points" if category.points is None else f"{len(category.points)} names of points"
            have = ", ".join(f"{n} annotation(s) of {k} points" for k, n in self.counts.get(category.id, {}).items())
            told.append(f"{shown(category.name)} ({names}; {have[:120] or 'no annotation with points'})")
        return ", ".join(told) + (", ..." if len(self.entries) > 8 else "")


def read_categories(path: Path, content: Mapping[str, Any], annotations: Sequence[Any]) -> Categories:
    """The categories of a file.

    Raises:
        DataError: 'categories' is no list of entries with id and name, or an id occurs twice.
    """
    entries: dict[int | str, Category] = {}
    listed = content.get("categories") or []
    if not isinstance(listed, list):
        raise DataError(f"{path}: 'categories' is {shown(repr(listed))}; a list is needed. Write the file again.")
    for number, entry in enumerate(listed, start=1):
        where = f"{path}, entry {number} of 'categories'"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            raise DataError(f"{where}: {shown(repr(entry))}; an object with id and name is needed.")
        points = entry.get("keypoints") or None
        if points is not None and not (isinstance(points, list) and all(isinstance(name, str) for name in points)):
            raise DataError(f"{where}: 'keypoints' is {shown(repr(points))}; a list of names is needed.")
        category = Category(entry["id"], str(entry.get("name", entry["id"])), None if points is None else tuple(points))
        if entries.setdefault(category.id, category) != category:
            raise DataError(f"{where}: the id {shown(repr(category.id))} a second time. Correct the ids.")
    counts: dict[int | str, Counter[int]] = {}
    for annotation in annotations:
        keypoints = annotation.get("keypoints") if isinstance(annotation, dict) else None
        if isinstance(keypoints, list) and keypoints and isinstance(annotation.get("category_id"), int | str):
            counts.setdefault(annotation["category_id"], Counter())[len(keypoints) // 3] += 1
    return Categories(path, entries, counts)


MAX_BYTES = 512_000_000
_Images = dict[int | str, Mapping[str, Any]]


@dataclass(frozen=True)
class CocoFace:
    """One annotation.

    Attributes:
        id: of the annotation.
        image: file name as written.
        landmarks: (N, 2) float64 px, 0-based.
        hidden: (N,) bool, None where the file marks no point as visible, since v then says nothing about occlusion.
        box: (4,) float64 x0, y0, x1, y1 in the same px as written, not checked; NaN where it is not four numbers, None
            where there is none.
        where: file and annotation, for messages.
        image_size: width and height in px of the image as the file states them, None where it does not.
    """

    id: int | str
    image: str
    landmarks: np.ndarray
    hidden: np.ndarray | None
    box: np.ndarray | None
    where: str
    image_size: tuple[float, float] | None = None


@dataclass(frozen=True)
class CocoFile:
    """All faces of a file.

    Attributes:
        unusable: entries of images and annotations that were left out.
        category: of the faces, None where the file has none.
        points: names of the N landmarks, in their order; None where the category gives none.
        others: name of another category -> its annotations, which are left out.
    """

    faces: tuple[CocoFace, ...]
    unusable: tuple[Unusable, ...]
    category: str | None = None
    points: tuple[str, ...] | None = None
    others: Mapping[str, int] = field(default_factory=dict)

    def in_order(self, points: tuple[str, ...]) -> CocoFile:
        """The same faces with their landmarks in the order of other names, which must be the same ones."""
        assert self.points is not None
        order = [self.points.index(name) for name in points]
        faces = (
            replace(f, landmarks=f.landmarks[order], hidden=None if f.hidden is None else f.hidden[order])
            for f in self.faces
        )
        return replace(self, faces=tuple(faces), points=points)


def read_coco(path: Path, num_landmarks: int | None = None, category: str | None = None) -> CocoFile:
    """Faces with all landmarks annotated; the others are named with the reason.

    Args:
        path: the json file.
        num_landmarks: how many points a face must have; None takes what the first annotation has.
        category: name of the category of the faces; None for the only one that has as many points.

    Raises:
        DataError: not there or not readable, no json, or json without usable images and annotations, without one
            category that fits, or whose boxes are corners.
    """
    content = _load(path)
    unusable: list[Unusable] = []
    images = _images(path, content, unusable)
    annotations = _list(path, content, "annotations")
    count = num_landmarks or _first_count(path, annotations)
    categories = read_categories(path, content, annotations)
    chosen = categories.choose(count, category)
    faces: list[CocoFace] = []
    others = Counter[str]()
    for number, annotation in enumerate(annotations, start=1):
        where = f"{path}, annotation {number}"
        try:
            other = _other_category(where, annotation, chosen, categories)
            if other is not None:
                others[other] += 1
                continue
            faces.append(_face(where, annotation, images, count))
        except DataError as error:
            unusable.append(Unusable(where, str(error).removeprefix(f"{where}: ")))
    if all(face.hidden is None or face.hidden.all() for face in faces):
        faces = [replace(face, hidden=None) for face in faces]
    _check_boxes(path, faces)
    if chosen is None:
        return CocoFile(tuple(faces), tuple(unusable))
    return CocoFile(tuple(faces), tuple(unusable), chosen.name, chosen.points, others)


def _other_category(where: str, annotation: Any, chosen: Category | None, categories: Categories) -> str | None:
    """Name of the category of an annotation that is not of the chosen one; None if it is.

    Raises:
        DataError: no such category.
    """
    if chosen is None or not isinstance(annotation, dict):
        return None
    category_id = annotation.get("category_id")
    found = categories.entries.get(category_id) if isinstance(category_id, int | str) else None
    if found is None:
        raise DataError(f"{where}: category_id is {shown(repr(category_id))}; no entry of 'categories' has that id.")
    return None if found == chosen else found.name


def _check_boxes(path: Path, faces: list[CocoFace]) -> None:
    boxed = [(face.box, face.landmarks) for face in faces if face.box is not None]
    if boxed:
        boxes, landmarks = (np.stack(arrays) for arrays in zip(*boxed, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):
            written = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        advice = "Write 'bbox' as COCO does, or take it out."
        check_reading(written, landmarks, SIZE, f"{path}: 'bbox' of the faces", advice)


def _load(path: Path) -> Mapping[str, Any]:
    raw = read_bytes(path, MAX_BYTES)
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no json ({error.msg}). Write the file again.") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: no UTF-8 ({error.reason}). Save the file as UTF-8.") from error
    # Nested too deeply, or a number with too many digits.
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: json that cannot be read ({error}). Write the file again.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: json of type {type(content).__name__}; an object with images and annotations is needed."
        )
    return content


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{path}: '{key}' is {shown(repr(value))}; a list with at least one entry is needed. Export the file as "
            "COCO keypoints."
        )
    return value


def _images(path: Path, content: Mapping[str, Any], unusable: list[Unusable]) -> _Images:
    """Entries by id. An id of two entries that name different files is none; what is left out goes to unusable.

    Raises:
        DataError: no entry can be used.
    """
    found: _Images = {}
    twice: set[int | str] = set()
    for number, entry in enumerate(_list(path, content, "images"), start=1):
        where = f"{path}, entry {number} of 'images'"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            unusable.append(Unusable(where, f"{shown(repr(entry))}; an object with id is needed."))
        elif found.setdefault(entry["id"], entry).get("file_name") != entry.get("file_name"):
            reason = f"the id {shown(repr(entry['id']))} a second time, for another file. Correct the ids."
            unusable.append(Unusable(where, reason))
            twice.add(entry["id"])
    for image_id in twice:
        del found[image_id]
    if not found:
        raise DataError(all_unusable(unusable))
    return found


def _first_count(path: Path, annotations: list[Any]) -> int:
    for annotation in annotations:
        keypoints = annotation.get("keypoints") if isinstance(annotation, dict) else None
        if isinstance(keypoints, list) and len(keypoints) >= 3:
            return len(keypoints) // 3
    raise DataError(f"{path}: no annotation has keypoints. Export the file as COCO keypoints.")


def _face(where: str, annotation: Any, images: _Images, count: int) -> CocoFace:
    if not isinstance(annotation, dict):
        raise DataError(f"{where}: {shown(repr(annotation))} is no object.")
    image_id = annotation.get("image_id")
    image = images.get(image_id) if isinstance(image_id, int | str) else None
    if image is None:
        raise DataError(f"{where}: image_id is {shown(repr(image_id))}; no usable entry of 'images' has that id.")
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(
            f"{where}: file_name of image {shown(repr(image_id))} is {shown(repr(name))}; a name is needed."
        )
    points = _numbers(where, annotation, "keypoints", 3 * count).reshape(count, 3)
    check_coordinates(points, where, "keypoint")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: v is one of {np.unique(points[:, 2])[:5].tolist()}; 0, 1 and 2 are known.")
    face_id = annotation.get("id")
    return CocoFace(
        id=face_id if isinstance(face_id, int | str) else where.rpartition(" ")[2],
        image=name,
        landmarks=np.where(points[:, 2:] > 0, points[:, :2], np.nan),
        hidden=points[:, 2] == 1,
        box=_box(where, annotation),
        where=where,
        image_size=_image_size(image),
    )


def _image_size(image: Mapping[str, Any]) -> tuple[float, float] | None:
    """None where it is not two positive numbers: exporters that do not know it write 0, null or nothing."""
    width, height = image.get("width"), image.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
        return (width, height)
    return None


def _box(where: str, annotation: Mapping[str, Any]) -> np.ndarray | None:
    if annotation.get("bbox") is None:
        return None
    try:
        return boxes_of_corners(_numbers(where, annotation, "bbox", 4)[None])[0]
    except DataError:
        return np.full(4, np.nan)


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
