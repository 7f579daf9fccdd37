"""300W-LP: the faces of 300-W turned to large poses, 61,225 synthetic pictures with 68 points and pose angles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress, read_each
from facegraph.data.benchmarks.source_tree import SourceTree
from facegraph.data.entries import MISSING_IMAGE, FaceEntry, FileImage
from facegraph.data.formats.lp300w import LpFace, read_300wlp, read_300wlp_points
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import IBUG68

PT2D, PTS_2D, PTS_3D = "pt2d", "pts_2d", "pts_3d"
YAW_GROUPS = {"yaw_0_30": (0.0, 30.0), "yaw_30_60": (30.0, 60.0), "yaw_60_90": (60.0, math.inf)}
"""Attribute -> range of |yaw| in degrees, the upper end excluded; the last one takes the few beyond 90 as well."""

_COUNTS = {"AFW": 5207, "HELEN": 37676, "IBUG": 1786, "LFPW": 16556}
_FLIP = "_Flip"
_POINTS_FOLDER = "landmarks"
_FACES_NUMBERED = ("AFW", "HELEN")
_FIRST_HELEN_TEST = "296814969"
_HELEN_FACES, _HELEN_TEST_FACES = 2330, 330


class Lp300wBenchmark(Benchmark):
    """300W-LP (Zhu et al., Face Alignment Across Large Poses, CVPR 2016). There is no official split and no box.

    test: pictures made from test photographs of 300-W, so that a model trained here can be tested on 300-W: LFPW's by
    their name (LFPW_image_test_*), all of iBUG, and Helen's from photograph 296814969 on in the order of text. Evidence
    for the latter: in a copy of 300-W, the names of all 330 Helen test faces follow, and those of 870 train faces
    precede it; trainset/2960256451_1 and 2965035072_1 in public lists precede it by little. In a complete set the rule
    is expected to give 330 of 2,330 Helen faces, the numbers of 300-W; another number is told, but is no mistake of the
    source that --strict refuses. Everything else is train.

    photo: the 300-W photograph, so that all poses of it stay on one side. values: yaw, pitch, roll in degrees, and aug,
    the number of the pose within its photograph.

    Args:
        points: "pts_2d" or "pts_3d" of landmarks/<SET>/<name>_pts.mat, or "pt2d" of the .mat beside the picture. Where
            the folder landmarks is missing, pt2d is taken and a problem says so.
        flipped: take the mirrored *_Flip folders as well; training mirrors faces itself.

    Raises:
        ConfigError: other points.
    """

    name = "300wlp"
    version = "300W-LP (2016)"
    scheme = IBUG68
    attributes: tuple[str, ...] = tuple(YAW_GROUPS)
    layout = (
        "  AFW/  HELEN/  IBUG/  LFPW/                 (each with .jpg and .mat)\n"
        "  landmarks/AFW/<name>_pts.mat ...           (landmarks of these pictures)\n"
        "  or 300W-LP.zip as downloaded"
    )
    archives: tuple[str, ...] = ("300W*LP*",)

    def __init__(self, points: str = PTS_2D, flipped: bool = False) -> None:
        if points not in (PTS_2D, PTS_3D, PT2D):
            raise ConfigError(f"points of 300W-LP is '{points}'; {PTS_2D}, {PTS_3D} and {PT2D} are known.")
        self.points = points
        self.flipped = flipped
        # By what the publisher says; how many fall to train and test is our split and not published.
        self.official_counts: Mapping[str, int] = {"all": sum(_COUNTS.values()) * (1 + flipped)}

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids are folder/file, such as HELEN/HELEN_1629243_1_0.jpg.

        Raises:
            DataError: none of the folders is there, or none of them holds a usable face.
        """
        tree = found.tree
        base = _base(tree)
        if base is None:
            raise found.nothing(tuple(_COUNTS))
        points = self._points(tree, base, found)
        tasks: list[_Task] = []
        for part, count in _COUNTS.items():
            for folder_name in (part, part + _FLIP) if self.flipped else (part,):
                folder = tree.child(base, folder_name)
                if folder is None:
                    split = "test" if part == "IBUG" else "train" if part == "AFW" else ""
                    message = f"folder {folder_name} is not there ({count} faces). Unpack it below {base}."
                    found.missing_part(split, folder_name, message)
                else:
                    tasks += _tasks(part, folder, tree.inside(base, f"{_POINTS_FOLDER}/{folder_name}"), points, found)
        for task, face in zip(tasks, read_each(partial(_read, key=points), tasks, workers, progress), strict=True):
            if isinstance(face, DataError):
                found.bad_annotation(task.split, task.name, face)
            else:
                found.faces.append(_entry(task, face))
        _check_helen(tasks, found)

    def _points(self, tree: SourceTree, base: Path, found: Gathering) -> str:
        if self.points == PT2D or tree.child(base, _POINTS_FOLDER) is not None:
            return self.points
        message = (
            f"{base} has no folder {_POINTS_FOLDER}, so the landmarks are {PT2D} of the .mat beside each picture "
            f"instead of {self.points}. Unpack {_POINTS_FOLDER}/ there."
        )
        found.missing_part("", _POINTS_FOLDER, message)
        return PT2D


@dataclass(frozen=True)
class _Task:
    """One picture.

    Attributes:
        name: folder/file.
        face, photo: names in 300-W, see _taken_apart.
        aug: number of the pose.
    """

    image: Path
    mat: Path
    points: Path | None
    name: str
    face: str
    photo: str
    split: str
    aug: float


class _Read(NamedTuple):
    pose: LpFace
    landmarks: np.ndarray


def _read(task: _Task, key: str) -> _Read:
    pose = read_300wlp(task.mat)
    return _Read(pose, pose.landmarks if task.points is None else read_300wlp_points(task.points, key))


def _entry(task: _Task, read: _Read) -> FaceEntry:
    where = str(task.points or task.mat)
    yaw = abs(read.pose.yaw)
    return FaceEntry(
        id=task.name,
        image=FileImage(task.image, task.name, where),
        photo=task.photo,
        split=task.split,
        landmarks=read.landmarks,
        where=where,
        attributes={group: low <= yaw < high for group, (low, high) in YAW_GROUPS.items()},
        values={"yaw": read.pose.yaw, "pitch": read.pose.pitch, "roll": read.pose.roll, "aug": task.aug},
    )


def _base(tree: SourceTree) -> Path | None:
    """The folder that holds the sets; not the folder of their landmarks, which has the same names in it."""
    for part in _COUNTS:
        folder = tree.search(part)
        if folder is not None and folder.parent.name.casefold() != _POINTS_FOLDER:
            return folder.parent
    return None


def _tasks(part: str, folder: Path, points_folder: Path | None, points: str, found: Gathering) -> list[_Task]:
    files = found.tree.files(folder)
    images = {path.stem: path for path in files.values() if path.suffix.lower() in (".jpg", ".jpeg", ".png")}
    mats = {path.stem: path for path in files.values() if path.suffix.lower() == ".mat"}
    if points != PT2D and points_folder is None:
        message = f"folder {_POINTS_FOLDER}/{folder.name} is not there ({len(mats)} faces). Unpack it."
        found.missing_part("", f"{_POINTS_FOLDER}/{folder.name}", message)
        return []
    tasks = []
    for stem, mat in mats.items():
        split = split_of(part, stem)
        image = images.get(stem)
        if image is None:
            message = f"{mat} has no picture {stem}.jpg beside it. Add it, or leave the .mat out."
            found.problem(MISSING_IMAGE, split, f"{folder.name}/{stem}.jpg", message)
            continue
        own = None
        if points_folder is not None and points != PT2D:
            own = found.tree.child(points_folder, f"{stem}_pts.mat")
            if own is None:
                message = f"{points_folder} has no {stem}_pts.mat. Unpack it again, or leave the picture out."
                found.bad_annotation(split, f"{folder.name}/{stem}_pts.mat", message)
                continue
        face, photo, aug = _taken_apart(part, stem)
        tasks.append(_Task(image, mat, own, f"{folder.name}/{image.name}", face, photo, split, aug))
    for stem in sorted(images.keys() - mats.keys()):
        message = f"{images[stem]} has no {stem}.mat beside it. Add it, or leave the picture out."
        found.bad_annotation(split_of(part, stem), f"{folder.name}/{images[stem].name}", message)
    return tasks


def _taken_apart(part: str, stem: str) -> tuple[str, str, float]:
    """HELEN_1629243_1_12 -> face HELEN_1629243_1, photograph HELEN_1629243, pose 12."""
    face, _, aug = stem.rpartition("_")
    if not face or not aug.isascii() or not aug.isdigit():
        return stem, stem, float("nan")
    photo = face.rpartition("_")[0] if part in _FACES_NUMBERED and face.count("_") > 1 else face
    return face, photo, float(aug)


def split_of(part: str, stem: str) -> str:
    """ "train" or "test" of a picture by its name, see Lp300wBenchmark.

    Args:
        part: AFW, HELEN, IBUG or LFPW.
    """
    rules: dict[str, Callable[[str], bool]] = {
        "AFW": lambda name: False,
        "HELEN": lambda name: name.partition("_")[2] >= _FIRST_HELEN_TEST,
        "IBUG": lambda name: True,
        "LFPW": lambda name: name.startswith("LFPW_image_test_"),
    }
    return "test" if rules[part](stem) else "train"


def _check_helen(tasks: list[_Task], found: Gathering) -> None:
    """Told as optional: that a complete 300W-LP has 300-W's 2,330 Helen faces was not checked on one."""
    faces = {task.face: task.split for task in tasks if task.name.startswith("HELEN")}
    tests = sum(split == "test" for split in faces.values())
    if len(faces) >= _HELEN_FACES and tests != _HELEN_TEST_FACES:
        message = (
            f"the names give {tests} of {len(faces)} Helen faces to test, {_HELEN_TEST_FACES} of {_HELEN_FACES} were "
            "expected; some may lie on the wrong side. Compare them with helen/testset of 300-W."
        )
        found.bad_annotation("test", "HELEN", message, optional=True)
