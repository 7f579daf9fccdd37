"""Shards: a file of crops each, cut out by one process and written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

import cv2
import numpy as np

from facegraph.data.entries import BAD_ANNOTATION, DOUBTFUL_IMAGE, UNREADABLE_IMAGE, FaceEntry, Problem
from facegraph.data.exif import SIZE_ADVICE, size_fault
from facegraph.data.faults import picture_fault
from facegraph.data.store.crop import photograph_to_stored, place_fault
from facegraph.data.store.layout import EXIF_APPLIED, JPEG, CropPolicy, shard_name
from facegraph.data.store.photograph import FLAT_END, Photograph, read_photograph
from facegraph.data.warp import warp
from facegraph.errors import DataError

FACES_PER_SHARD = 96
ROWS_FOLDER = "rows"


class Row(NamedTuple):
    """Where one face lies. face: its number among all entries. width, height: of the photograph, px. scale, shift_x,
    shift_y: px of the stored crop = scale * px of the photograph + shift. offset, length: bytes in the shard."""

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
    """Faces that go into one shard, by photograph. folder: of the store. faces: (index among all entries, entry).
    most_outside: share of a face's landmarks that may lie outside its photograph."""

    number: int
    folder: Path
    faces: tuple[tuple[int, FaceEntry], ...]
    crop: CropPolicy
    most_outside: float = 1.0


@dataclass(frozen=True)
class ShardRecord:
    """What became of a task. read: names of the photographs that were read. traits: photograph -> its traits."""

    number: int
    sha256: str
    rows: list[Row]
    problems: list[Problem] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    traits: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=True)

    @staticmethod
    def from_json(text: str) -> ShardRecord:
        fields = json.loads(text)
        rows, problems = [Row(*row) for row in fields["rows"]], [Problem(**p) for p in fields["problems"]]
        return ShardRecord(**{**fields, "rows": rows, "problems": problems})


def plan_shards(
    faces: Sequence[FaceEntry], folder: Path, crop: CropPolicy, most_outside: float = 1.0
) -> list[ShardTask]:
    """Faces in shards of at most FACES_PER_SHARD, all of one photograph together unless they are more than that.

    Photographs keep the order in which they first occur. most_outside: see ShardTask.
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


def find_record(task: ShardTask) -> ShardRecord | None:
    """The record of a task that an earlier run finished; None if there is none, or its shard is not as long.

    None as well where a photograph could not be read: perhaps it can be now, after its disk was mounted again.
    """
    try:
        record = ShardRecord.from_json(_record_path(task).read_text(encoding="utf-8"))
        size = (task.folder / shard_name(task.number)).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    unread = any(problem.kind == UNREADABLE_IMAGE for problem in record.problems)
    return record if size == sum(row.length for row in record.rows) and not unread else None


def write_shard(task: ShardTask) -> ShardRecord:
    """Cut all faces of a task out and write shard and record; memory holds one photograph and one crop at a time.

    Raises:
        OSError: the disk is full or the like.
    """
    place = task.folder / shard_name(task.number)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    rows: list[Row] = []
    record = ShardRecord(task.number, "", rows)
    total = hashlib.sha256()
    try:
        with beside.open("wb") as stream:
            for _, group in groupby(task.faces, key=lambda item: item[1].image.name):
                for row, crop in _cut_photograph(list(group), task.crop, task.most_outside, record):
                    raw = crop.reshape(-1).data
                    rows.append(row._replace(offset=stream.tell(), length=raw.nbytes))
                    stream.write(raw)
                    total.update(raw)
            sync(stream)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
    record = ShardRecord(task.number, total.hexdigest(), rows, record.problems, record.read, record.traits)
    write_whole(_record_path(task), record.to_json())
    return record


def _record_path(task: ShardTask) -> Path:
    return task.folder / ROWS_FOLDER / f"{task.number:05d}.json"


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


def write_whole(path: Path, text: str) -> None:
    """Write a text so that it is whole on the disk once it has its name."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            sync(stream)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def sync(stream: IO[Any]) -> None:
    """Wait until a file lies on the disk, for a rename must not outlive its content when the power fails."""
    stream.flush()
    os.fsync(stream.fileno())
