"""Writing a prepared store: whole or not at all, the same bytes on one process and on several."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

import facegraph
from facegraph.data.entries import BAD_ANNOTATION, BAD_BOX, MISSING_LANDMARKS, FaceEntry, Problem, to_storable
from facegraph.data.faults import (
    LEAVE_OUT,
    OWN_OUTSIDE,
    SMALLEST_SHARE,
    lacking,
    landmark_fault,
    missing_text,
    without_marked,
)
from facegraph.data.source import box_size
from facegraph.data.store.hashing import content_hash
from facegraph.data.store.layout import ALL, INFO_FILE, PROBLEMS_FILE, RAW, TABLE_FILE, CropPolicy, StoreInfo, read_info
from facegraph.data.store.place import locked, open_partial, partial_folder, publish, resolve_out
from facegraph.data.store.shards import Row, ShardRecord, box_fault, plan_shards, write_shards
from facegraph.errors import DataError
from facegraph.files.plain_csv import to_csv
from facegraph.landmarks import BOX, LandmarkScheme

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) as the work goes on."""

CUTTING = "cutting faces out"
DEFAULT_CROP = CropPolicy()


EXIF = "crop.exif"
"""The setting that tells whether photographs are turned upright."""


@dataclass(frozen=True)
class StoreContent:
    """What goes into a store.

    Attributes:
        dataset, version: as results print them.
        scheme: numbering of the landmarks.
        faces: in the publisher's order.
        attributes: subsets that faces are flagged for.
        problems: found before.
        official_counts: as published, per "split" and "split/attribute".
        optional_splits: those without which the data set is complete.
        source: folder that was read, as given.
        root: folder that all files lie below, the source or where it was unpacked; problems are told from it on.
        missing: what becomes of faces that lack landmarks, faults.LEAVE_OUT or MASK.
        options: what the data set was asked for besides.
    """

    dataset: str
    scheme: LandmarkScheme
    faces: Sequence[FaceEntry]
    attributes: tuple[str, ...] = ()
    version: str = ""
    problems: tuple[Problem, ...] = ()
    official_counts: Mapping[str, int] = field(default_factory=dict)
    optional_splits: frozenset[str] = frozenset()
    source: str = ""
    root: str = ""
    missing: str = LEAVE_OUT
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether it is somebody's own data set: a publisher's faces are his to choose, whatever they look like."""
        return not self.official_counts

    def counts(self, faces: Sequence[FaceEntry]) -> dict[str, int]:
        """Faces per split and per "split/attribute" where there are any, splits in the order of their first face.

        All faces are counted as well if there is a published count of them.
        """
        counts = {ALL: len(faces)} if ALL in self.official_counts else {}
        for split in dict.fromkeys(face.split for face in faces):
            members = [face for face in faces if face.split == split]
            counts[split] = len(members)
            flagged = {f"{split}/{name}": sum(_flag(face, name) for face in members) for name in self.attributes}
            counts |= {key: count for key, count in flagged.items() if count}
        return counts


def write_store(
    content: StoreContent,
    out: str | Path,
    crop: CropPolicy = DEFAULT_CROP,
    workers: int = 1,
    strict: bool = False,
    progress: Progress | None = None,
) -> StoreInfo:
    """Cut all faces out and write a prepared store.

    Faces that cannot be used are left out and named in the store's problems. A run that was killed leaves no store, and
    the next one starts over. A whole store of the same settings is left as it is.

    Args:
        content: the faces and what they are.
        out: folder of the store; it must not exist, unless it is a store of these settings. <out>.partial and
            <out>.lock beside it are used while writing.
        crop: how faces are cut out.
        workers: processes; 1 works in this one.
        strict: any problem that is not optional, or a count other than the official one, is an error; an optional split
            may be absent as a whole.
        progress: called after each shard.

    Raises:
        DataError: nothing to write, something in the way, another prepare at work, no room on the disk, or strict.
    """
    place = resolve_out(out)
    with locked(place):
        return find_store(content, place, crop, strict) or write_locked(content, place, crop, workers, strict, progress)


def find_store(
    content: StoreContent, out: Path, crop: CropPolicy, strict: bool, undecided: Sequence[str] = ()
) -> StoreInfo | None:
    """The store at out if it is whole and of these settings; None if nothing is there.

    Args:
        content: what is asked for; its faces are not looked at.
        out: its place, as resolve_out gives it.
        crop: how faces are to be cut out.
        strict: as in write_store.
        undecided: settings that the source will decide.

    Raises:
        DataError: something else is there, it cannot be looked into, or strict and it was made with problems.
    """
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return None
    except OSError as error:
        raise DataError(f"{out} cannot be listed: {error.strerror}. Choose another --out.") from error
    advice = "Nothing is overwritten: choose another --out, or remove it first."
    if not (out / INFO_FILE).is_file():
        raise DataError(f"{out} exists and is no prepared store. {advice}")
    info = read_info(out)
    old, new = _settings(info, info.crop), _settings(content, crop)
    names = [name for name in dict.fromkeys([*old, *new]) if name not in undecided and old.get(name) != new.get(name)]
    if names:
        changed = "; ".join(
            f"{name} ({old.get(name, 'unknown')} then, {new.get(name, 'unknown')} now)" for name in names
        )
        raise DataError(f"{out} holds a store made differently: {changed}. {advice}")
    if strict:
        try:
            _check_strict(content, info.counts, [Problem(**p) for p in info.problems])
        except DataError as error:
            raise DataError(f"{error} {out} was made with these problems: remove it to try again.") from error
    return info


def write_locked(
    content: StoreContent, out: Path, crop: CropPolicy, workers: int, strict: bool, progress: Progress | None
) -> StoreInfo:
    """write_store for a caller that holds the lock of out, given by resolve_out, and where find_store found nothing."""
    content = _checked(content)
    if strict:
        _check_strict(content, content.counts(content.faces), content.problems)
    try:
        folder = open_partial(out)
        try:
            _write_annotations(content, folder, crop, _cut(content, folder, crop, workers, progress), strict)
            publish(folder, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{partial_folder(out)} cannot be written: {error}. Mend that and run the same command again."
        ) from error
    return read_info(out)


def _settings(what: StoreContent | StoreInfo, crop: CropPolicy) -> dict[str, str]:
    """What was asked for, each part as a short text."""
    scheme = zlib.crc32(json.dumps(asdict(what.scheme), sort_keys=True).encode())
    return {
        "data set": what.dataset,
        "version": what.version,
        "scheme": f"{what.scheme.name} {scheme:08x}",
        "attributes": ", ".join(what.attributes),
        "faces without some landmarks": what.missing,
        **{f"crop.{name}": str(value) for name, value in asdict(crop).items()},
        **what.options,
    }


def _from_root(problem: Problem, content: StoreContent) -> Problem:
    """A problem without the folder that the source was unpacked to, which is gone when it is read."""
    root = to_storable(content.root)
    if not root:
        return problem
    below = re.compile(rf"(?<![^\s'\"(]){re.escape(root)}/")
    message = below.sub("", problem.message).replace(root, to_storable(content.source))
    return replace(problem, name=below.sub("", problem.name), message=message)


def _checked(content: StoreContent) -> StoreContent:
    """The content without unusable faces; what is wrong is added to its problems."""
    twice = [name for name, count in Counter(face.id for face in content.faces).items() if count > 1]
    if twice:
        raise DataError(
            f"{content.dataset}: {len(twice)} ids occur more than once, first '{twice[0]}'. Make them unique."
        )
    faces, problems = [], [_from_root(problem, content) for problem in content.problems]
    for described in content.faces:
        face = replace(described, landmarks=without_marked(described.landmarks))
        fault = landmark_fault(
            face.landmarks, content.scheme, tuple(content.scheme.normalisers), SMALLEST_SHARE if content.own else 0.0
        )
        if fault is not None:
            message = f"{face.where}: face '{face.id}' is left out: {fault}. Correct the annotation."
            problems.append(Problem(BAD_ANNOTATION, face.split, face.id, message))
            continue
        if content.missing == LEAVE_OUT and lacking(face.landmarks):
            message = (
                f"{face.where}: face '{face.id}' is left out: {missing_text(face.landmarks)}. --missing mask keeps it "
                "and counts the others."
            )
            problems.append(Problem(MISSING_LANDMARKS, face.split, face.id, message))
            continue
        fault = box_fault(face.box)
        if fault is not None:
            message = f"{face.where}: face '{face.id}' is kept without a box: {fault}. Correct the annotation."
            problems.append(Problem(BAD_BOX, face.split, face.id, message))
        faces.append(face if fault is None else replace(face, box=None))
    if not faces:
        reasons = "; ".join(p.message for p in problems[:3]) or "the source describes no faces"
        raise DataError(f"{content.dataset}: none of {len(content.faces)} faces can be used: {reasons}")
    return replace(content, faces=tuple(faces), problems=tuple(problems))


def _check_strict(content: StoreContent, counts: Mapping[str, int], problems: Sequence[Problem]) -> None:
    problems = [problem for problem in problems if not problem.optional]
    absent = {name for name in content.optional_splits if not counts.get(name)}
    wrong = [
        f"{name}: {counts.get(name, 0)} of {count}"
        for name, count in content.official_counts.items()
        if counts.get(name, 0) != count and name.partition("/")[0] not in absent
    ]
    if problems or wrong:
        named = [f"{p.kind} '{p.name}': {p.message}" for p in problems[:5]]
        raise DataError(
            f"--strict: {len(problems)} problem(s) and {len(wrong)} count(s) that differ from the official ones. "
            + " | ".join([*wrong, *named])
            + " Complete the source, or leave --strict out to prepare what is there."
        )


def _cut(
    content: StoreContent, folder: Path, crop: CropPolicy, workers: int, progress: Progress | None
) -> list[ShardRecord]:
    """Records of all shards, in order."""
    tasks = plan_shards(content.faces, folder, crop, OWN_OUTSIDE if content.own else 1.0)
    total = len(content.faces)
    _check_room(folder, crop, total)
    records: list[ShardRecord] = []
    done = 0
    if progress is not None:
        progress(CUTTING, done, total)
    for task, record in zip(tasks, write_shards(tasks, workers), strict=True):
        records.append(record)
        done += len(task.faces)
        if progress is not None:
            progress(CUTTING, done, total)
    return records


def _check_room(folder: Path, crop: CropPolicy, faces: int) -> None:
    needed, free = faces * 3 * crop.side**2, shutil.disk_usage(folder).free
    if crop.image_format == RAW and needed > free:
        raise DataError(
            f"{faces} raw crops of {crop.side} px need {needed / 1e9:.1f} GB; {folder} has {free / 1e9:.1f} GB left. "
            "Make room, use --format jpeg (about a tenth), a smaller --side, or an --out on another disk."
        )


def _write_annotations(
    content: StoreContent, folder: Path, crop: CropPolicy, records: Sequence[ShardRecord], strict: bool
) -> None:
    placed = sorted((row, record.number) for record in records for row in record.rows)
    faces = [content.faces[row.face] for row, _ in placed]
    problems = [*content.problems, *(_from_root(problem, content) for record in records for problem in record.problems)]
    counts = content.counts(faces)
    if strict:
        _check_strict(content, counts, problems)
    if not faces:
        raise DataError(f"{content.dataset}: no face could be cut out: {'; '.join(p.message for p in problems[:3])}")
    rows, shards = [row for row, _ in placed], [number for _, number in placed]
    frame = _annotation_frame(content, faces, rows, shards)
    frame.to_parquet(folder / TABLE_FILE, index=False)
    table = pd.DataFrame([asdict(p) for p in problems], columns=["kind", "split", "name", "message", "optional"])
    (folder / PROBLEMS_FILE).write_text(to_csv(table), encoding="utf-8", newline="")
    info = StoreInfo(
        dataset=content.dataset,
        version=content.version,
        scheme=content.scheme,
        attributes=content.attributes,
        crop=crop,
        counts=counts,
        official_counts=dict(content.official_counts),
        content_hash=content_hash(frame, [record.sha256 for record in records]),
        missing=content.missing,
        options=dict(content.options),
        source=to_storable(content.source),
        facegraph=facegraph.__version__,
        problems=tuple(asdict(p) for p in problems),
        photographs=_photographs(records),
    )
    (folder / INFO_FILE).write_text(info.to_json(), encoding="utf-8")


def _annotation_frame(
    content: StoreContent, faces: Sequence[FaceEntry], rows: Sequence[Row], shards: Sequence[int]
) -> pd.DataFrame:
    """The columns that layout lists, of M faces, their M places and M numbers of shards."""
    scheme = content.scheme
    landmarks = np.stack([face.landmarks for face in faces]).astype(np.float64)
    boxes = np.stack([np.full(4, np.nan) if face.box is None else face.box for face in faces]).astype(np.float64)
    columns: dict[str, object] = {
        "id": [face.id for face in faces],
        "photo": [face.photo for face in faces],
        "image": [face.image.name for face in faces],
        "split": [face.split for face in faces],
        "source": [face.where for face in faces],
    }
    flat = landmarks.reshape(len(faces), -1)
    columns |= {f"{axis}{i}": flat[:, 2 * i + j] for i in range(scheme.num_landmarks) for j, axis in enumerate("xy")}
    columns |= {f"box_{corner}": boxes[:, i] for i, corner in enumerate(("x0", "y0", "x1", "y1"))}
    columns |= {f"attr_{name}": np.array([_flag(face, name) for face in faces]) for name in content.attributes}
    for name in sorted({name for face in faces for name in face.values}):
        columns[f"value_{name}"] = np.array([float(face.values.get(name, np.nan)) for face in faces])
    columns["hidden"] = [None if f.hidden is None else np.asarray(f.hidden, dtype=bool).tolist() for f in faces]
    columns |= {f"norm_{name}": scheme.distance(name, landmarks) for name in scheme.normalisers}
    columns[f"norm_{BOX}"] = box_size(landmarks)
    for name in ("width", "height", "scale", "shift_x", "shift_y"):
        columns[name] = np.array([getattr(row, name) for row in rows])
    columns["shard"] = np.array(shards, dtype=np.int64)
    for name in ("offset", "length"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.int64)
    return pd.DataFrame(columns)


def _flag(face: FaceEntry, name: str) -> bool:
    return bool(face.attributes.get(name, False))


def _photographs(records: Sequence[ShardRecord]) -> dict[str, int]:
    traits = {name: found for record in records for name, found in record.traits.items()}
    read = {name for record in records for name in record.read}
    return {"read": len(read), **Counter(trait for found in traits.values() for trait in found)}
