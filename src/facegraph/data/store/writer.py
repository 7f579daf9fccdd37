"""Writing a prepared store: whole or not at all, on with it after a kill, the same bytes however it went."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

import facegraph
from facegraph.data.entries import (
    BAD_ANNOTATION,
    BAD_BOX,
    MISSING_LANDMARKS,
    UNREADABLE_IMAGE,
    FaceEntry,
    Problem,
    to_storable,
)
from facegraph.data.faults import OWN_OUTSIDE, SMALLEST_SHARE, landmark_fault
from facegraph.data.missing import LEAVE_OUT, lacking, missing_text, without_marked
from facegraph.data.store.crop import box_fault
from facegraph.data.store.hashing import content_hash
from facegraph.data.store.layout import (
    INFO_FILE,
    PROBLEMS_FILE,
    RAW,
    TABLE_FILE,
    CropPolicy,
    StoreInfo,
    read_info,
)
from facegraph.data.store.lock import locked
from facegraph.data.store.partial import find_whole, open_partial, partial_folder, publish, resolve_out
from facegraph.data.store.plan import ORIGIN, Plan, plan_faces, plan_settings
from facegraph.data.store.shards import ShardRecord, find_record, plan_shards, write_whole
from facegraph.data.store.table import annotation_frame, count_faces
from facegraph.data.store.workers import write_shards
from facegraph.errors import DataError
from facegraph.files.plain_csv import to_csv
from facegraph.landmarks import LandmarkScheme

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) as the work goes on."""

CUTTING = "cutting faces out"
DEFAULT_CROP = CropPolicy()


@dataclass(frozen=True)
class StoreContent:
    """What goes into a store.

    dataset, version: as results print them. attributes: subsets that faces are flagged for. faces: in the publisher's
    order. problems: found before. official_counts: as published, per "split" and "split/attribute". optional_splits:
    those without which the data set is complete. source: folder that was read, as given. root: folder that all files
    lie below, the source or where it was unpacked; problems are told from it on. origin: state of the archives, see
    plan.ORIGIN. missing: what becomes of faces that lack landmarks, missing.LEAVE_OUT or MASK.
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
    origin: str = ""
    missing: str = LEAVE_OUT

    def settings(self, crop: CropPolicy) -> Plan:
        return plan_settings(self.dataset, self.version, self.scheme, self.attributes, crop, self.missing)

    @property
    def own(self) -> bool:
        """Whether it is somebody's own data set: a publisher's faces are his to choose, whatever they look like."""
        return not self.official_counts

    def counts(self, faces: Sequence[FaceEntry]) -> dict[str, int]:
        return count_faces(faces, self.attributes, self.official_counts)


def write_store(
    content: StoreContent,
    out: str | Path,
    crop: CropPolicy = DEFAULT_CROP,
    workers: int = 1,
    strict: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> StoreInfo:
    """Cut all faces out and write a prepared store.

    Faces that cannot be used are left out and named in the store's problems. A run that was killed is gone on with by
    the next one of the same plan; the result is the same, byte for byte. A whole store of the same plan is left as is.

    Args:
        content: the faces and what they are.
        out: folder of the store; it must not exist, unless it is this very store. <out>.partial and <out>.lock beside
            it are used while writing.
        crop: how faces are cut out.
        workers: processes; 1 works in this one.
        strict: any problem that is not optional, or a count other than the official one, is an error; an optional split
            may be absent as a whole.
        restart: remove an unfinished store that an earlier run left.
        progress: called after each shard.

    Raises:
        DataError: nothing to write, something in the way, another prepare at work, no room on the disk, or strict.
    """
    place = resolve_out(out)
    with locked(place):
        return write_locked(content, place, crop, workers, strict, restart, progress)


def write_locked(
    content: StoreContent,
    out: Path,
    crop: CropPolicy,
    workers: int,
    strict: bool,
    restart: bool,
    progress: Progress | None,
) -> StoreInfo:
    """write_store for a caller that holds the lock of out, which resolve_out gave."""
    content = _checked(content)
    plan = content.settings(crop) | plan_faces(content.faces)
    info = find_whole(out, plan)
    if info is not None:
        return accept_whole(content, info, out, strict)
    if strict:
        _check_strict(content, content.counts(content.faces), content.problems)
    try:
        folder = open_partial(out, plan | {ORIGIN: content.origin} if content.origin else plan, restart)
        info = _find_finished(folder)
        if info is None:
            records = _cut(content, folder, crop, workers, progress)
            _write_annotations(content, folder, crop, records, strict)
        elif strict:
            _check_strict(content, info.counts, [Problem(**p) for p in info.problems])
        publish(folder, out)
    except OSError as error:
        raise DataError(
            f"{partial_folder(out)} cannot be written: {error}. Mend that and run the same command again: it goes "
            "on where it stopped."
        ) from error
    return read_info(out)


def accept_whole(content: StoreContent, info: StoreInfo, out: Path, strict: bool) -> StoreInfo:
    """The store that an earlier run made.

    Raises:
        DataError: strict, and it was made with problems.
    """
    if strict:
        try:
            _check_strict(content, info.counts, [Problem(**p) for p in info.problems])
        except DataError as error:
            raise DataError(f"{error} {out} was made with these problems: remove it to try again.") from error
    return info


def _find_finished(folder: Path) -> StoreInfo | None:
    """Of a store that an earlier run was killed just before renaming; None if a photograph may be readable by now."""
    if not (folder / INFO_FILE).exists():
        return None
    info = read_info(folder)
    return None if any(problem["kind"] == UNREADABLE_IMAGE for problem in info.problems) else info


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
    records = {task.number: record for task in tasks if (record := find_record(task)) is not None}
    missing = [task for task in tasks if task.number not in records]
    total, sizes = len(content.faces), {task.number: len(task.faces) for task in tasks}
    _check_room(folder, crop, sum(sizes[task.number] for task in missing))
    done = total - sum(sizes[task.number] for task in missing)
    if progress is not None:
        progress(CUTTING, done, total)
    for record in write_shards(missing, workers):
        records[record.number] = record
        done += sizes[record.number]
        if progress is not None:
            progress(CUTTING, done, total)
    return [records[task.number] for task in tasks]


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
    frame = annotation_frame(faces, rows, shards, content.scheme, content.attributes)
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
        source=to_storable(content.source),
        facegraph=facegraph.__version__,
        problems=tuple(asdict(p) for p in problems),
        photographs=_photographs(records),
    )
    write_whole(folder / INFO_FILE, info.to_json())


def _photographs(records: Sequence[ShardRecord]) -> dict[str, int]:
    traits = {name: found for record in records for name, found in record.traits.items()}
    read = {name for record in records for name in record.read}
    return {"read": len(read), **Counter(trait for found in traits.values() for trait in found)}
