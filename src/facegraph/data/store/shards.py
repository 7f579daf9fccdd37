"""Shards: a file of crops each, cut out by one process: where a face is cut out, whether it can be, its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from facegraph.data.entries import BAD_ANNOTATION, DOUBTFUL_IMAGE, UNREADABLE_IMAGE, FaceEntry, Problem
from facegraph.data.exif import SIZE_ADVICE, size_fault
from facegraph.data.faults import picture_fault
from facegraph.data.formats.bounds import COORDINATE_LIMIT, out_of_range, without_extent
from facegraph.data.processes import process_pool
from facegraph.data.store.layout import EXIF_APPLIED, JPEG, CropPolicy, shard_name
from facegraph.data.store.photograph import FLAT_END, Photograph, read_photograph
from facegraph.data.warp import warp
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop

FACES_PER_SHARD = 96


class Row(NamedTuple):
    """Where one face lies.

    Attributes:
        face: its number among all entries.
        width, height: of the photograph, px.
        scale, shift_x, shift_y: px of the stored crop = scale * px of the photograph + shift.
        offset, length: bytes in the shard.
    """

    face: int
    width: int
    height: int
    scale: float
    shift_x: float
    shift_y: float
    offset: int
    length: int


@dataclass(frozen=True)
class ShardTask:
    """Faces that go into one shard, by photograph.

    Attributes:
        number: of the shard.
        folder: of the store.
        faces: (index among all entries, entry).
        crop: how they are cut out.
        most_outside: share of a face's landmarks that may lie outside its photograph.
    """

    number: int
    folder: Path
    faces: tuple[tuple[int, FaceEntry], ...]
    crop: CropPolicy
    most_outside: float = 1.0


@dataclass(frozen=True)
class ShardRecord:
    """What became of a task.

    Attributes:
        number: of the shard.
        sha256: of its file, in hex.
        rows: where each face lies.
        problems: faces and photographs that were left out, and why.
        read: names of the photographs that were read.
        traits: photograph -> its traits.
    """

    number: int
    sha256: str = ""
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    traits: dict[str, list[str]] = field(default_factory=dict)


def plan_shards(
    faces: Sequence[FaceEntry], folder: Path, crop: CropPolicy, most_outside: float = 1.0
) -> list[ShardTask]:
    """Faces in shards of at most FACES_PER_SHARD, all of one photograph together unless they are more than that.

    Photographs keep the order in which they first occur.

    Args:
        most_outside: see ShardTask.
    """
    photographs: dict[str, list[tuple[int, FaceEntry]]] = {}
    for item in enumerate(faces):
        photographs.setdefault(item[1].image.name, []).append(item)
    shards: list[list[tuple[int, FaceEntry]]] = [[]]
    for group in photographs.values():
        for start in range(0, len(group), FACES_PER_SHARD):
            part = group[start : start + FACES_PER_SHARD]
            if len(shards[-1]) + len(part) > FACES_PER_SHARD:
                shards.append([])
            shards[-1] += part
    return [ShardTask(number, folder, tuple(shard), crop, most_outside) for number, shard in enumerate(shards)]


def write_shards(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardRecord]:
    """Write the shards of all tasks.

    Args:
        tasks: what goes into each shard.
        workers: processes; 1 stays in this one.

    Yields:
        Records in the order of the tasks.

    Raises:
        DataError: a process was killed from outside.
        OSError: the disk is full or the like.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from map(write_shard, tasks)
        return
    with process_pool(min(workers, len(tasks))) as pool:
        yield from pool.map(write_shard, tasks)


def write_shard(task: ShardTask) -> ShardRecord:
    """Cut all faces of a task out; memory holds one photograph and one crop at a time.

    Raises:
        OSError: the disk is full or the like.
    """
    record = ShardRecord(task.number)
    total = hashlib.sha256()
    with (task.folder / shard_name(task.number)).open("wb") as stream:
        for _, group in groupby(task.faces, key=lambda item: item[1].image.name):
            for row, crop in _cut_photograph(list(group), task.crop, task.most_outside, record):
                raw = crop.reshape(-1).data
                record.rows.append(row._replace(offset=stream.tell(), length=raw.nbytes))
                stream.write(raw)
                total.update(raw)
    return replace(record, sha256=total.hexdigest())


def _cut_photograph(
    faces: list[tuple[int, FaceEntry]], crop: CropPolicy, most_outside: float, record: ShardRecord
) -> Iterator[tuple[Row, np.ndarray]]:
    """The crops of the faces of one photograph, contiguous uint8; what is wrong goes into the record."""
    first = faces[0][1]
    try:
        photograph = read_photograph(first.image, upright=crop.exif == EXIF_APPLIED)
    except (DataError, OSError) as error:
        message = f"{error} {len(faces)} face(s) are left out."
        record.problems.append(Problem(UNREADABLE_IMAGE, first.split, first.image.name, message))
        return
    record.read.append(first.image.name)
    if photograph.traits:
        record.traits[first.image.name] = list(photograph.traits)
    if FLAT_END in photograph.traits:
        message = f"{first.where}: image {first.image.name} ends in plain grey, as damaged JPEGs do. Look at it."
        record.problems.append(Problem(DOUBTFUL_IMAGE, first.split, first.image.name, message))
    for index, face in faces:
        found = _cut_face(index, face, photograph, crop, most_outside, record)
        if found is not None:
            yield found


def _cut_face(
    index: int,
    face: FaceEntry,
    photograph: Photograph,
    crop: CropPolicy,
    most_outside: float,
    record: ShardRecord,
) -> tuple[Row, np.ndarray] | None:
    height, width = photograph.image.shape[:2]
    fault = size_fault(face.marked_size, (width, height))
    if fault is not None:
        message = f"{face.where}: face '{face.id}' is left out: of image {face.image.name}, {fault}. {SIZE_ADVICE}"
        record.problems.append(Problem(DOUBTFUL_IMAGE, face.split, face.id, message))
        return None
    matrix = photograph_to_stored(face.landmarks, face.box, crop)
    fault = place_fault(matrix, crop, width, height) or picture_fault(face.landmarks, width, height, most_outside)
    if fault is not None:
        message = f"{face.where}: face '{face.id}' is left out: {fault} Correct its landmarks and box."
        record.problems.append(Problem(BAD_ANNOTATION, face.split, face.id, message))
        return None
    image = warp(photograph.image, matrix, crop.side)
    stored = _encode(image, crop.quality) if crop.image_format == JPEG else np.ascontiguousarray(image)
    scale, shift_x, shift_y = (float(value) for value in (matrix[0, 0], matrix[0, 2], matrix[1, 2]))
    return Row(index, width, height, scale, shift_x, shift_y, offset=0, length=0), stored


def _encode(image: np.ndarray, quality: int) -> np.ndarray:
    """JPEG bytes (n,) uint8 of an RGB image; chroma at full resolution, thin coloured lips and eyes survive that."""
    flags = [
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)[1]


def crop_box(landmarks: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Union (4,) of the tight box of landmarks (N, 2) and the official box (4,), where there is one."""
    tight = landmark_box(landmarks)
    if box is None:
        return tight
    return np.concatenate([np.minimum(tight[:2], box[:2]), np.maximum(tight[2:], box[2:])])


def photograph_to_stored(landmarks: np.ndarray, box: np.ndarray | None, crop: CropPolicy) -> np.ndarray:
    """(3, 3) matrix: px of the photograph -> px of the stored crop. Scale and shift only, the same along x and y."""
    return square_crop(crop_box(landmarks, box), crop.scale, crop.side)


def box_fault(box: np.ndarray | None) -> str | None:
    """What is wrong with an official box (4,), in words; None if nothing is."""
    if box is None:
        return None
    if np.shape(box) != (4,) or not np.isfinite(box).all():
        return f"its box is {np.asarray(box).tolist()}; four finite numbers x0, y0, x1, y1 are needed"
    if len(out_of_range(box[None])):
        return f"its box {np.asarray(box).tolist()} is beyond {COORDINATE_LIMIT:g} px"
    if len(without_extent(box[None])):
        return f"its box {np.asarray(box).tolist()} has no size; x0 < x1 and y0 < y1 are needed"
    return None


def place_fault(matrix: np.ndarray, crop: CropPolicy, width: int, height: int) -> str | None:
    """Why nothing would be seen of a face under photograph_to_stored (3, 3), in words; None if something is."""
    scale, shift = matrix[0, 0], matrix[:2, 2]
    first, last = scale * np.array([-0.5, -0.5]) + shift, scale * np.array([width - 0.5, height - 0.5]) + shift
    if (last > -0.5).all() and (first < crop.side - 0.5).all():
        return None
    return f"its crop lies entirely outside the photograph of {width} x {height} px."
