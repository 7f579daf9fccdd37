"""WFLW: 98 points, 7,500 train and 2,500 test faces, six overlapping subsets of test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress
from facegraph.data.benchmarks.source_tree import SourceTree, relative_name
from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.formats.wflw import FLAGS, WflwRow, read_wflw_list
from facegraph.errors import DataError
from facegraph.landmarks import WFLW98

_FULL = "list_98pt_rect_attr_{}.txt"
_SUBSETS = {flag: f"list_98pt_test_{'largepose' if flag == 'pose' else flag}.txt" for flag in FLAGS}
_FULL_FOLDERS = ("list_98pt_rect_attr_train_test/", "")
_SUBSET_FOLDERS = ("list_98pt_test/", "")
_IMAGES = "WFLW_images"

_Key = tuple[str, bytes]


class WflwBenchmark(Benchmark):
    """WFLW as its authors ship it (Wu et al., Look at Boundary, CVPR 2018).

    The two full lists give box and flags of every face; a line that cannot be used costs its face only. Where the full
    test list is absent, the union of the six subset
    lists takes its place: a face is a test face with the flags of the lists that name it, it has no box, and a face
    without any flag is not known. Faces are told apart by image and coordinates (to 0.01 px). Lists of other names are
    not read, because their rectangles need not be the published ones.
    """

    name = "wflw"
    version = "WFLW v1 (2018)"
    scheme = WFLW98
    attributes: tuple[str, ...] = FLAGS
    official_counts: Mapping[str, int] = {
        "train": 7500,
        "test": 2500,
        "test/pose": 326,
        "test/expression": 314,
        "test/illumination": 698,
        "test/makeup": 206,
        "test/occlusion": 736,
        "test/blur": 773,
    }
    layout = (
        "  WFLW_images/0--Parade/*.jpg ...\n"
        "  WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt and ..._test.txt\n"
        "  WFLW_annotations/list_98pt_test/list_98pt_test_largepose.txt ... (six subsets, optional)\n"
        "  or WFLW_images.tar.gz and WFLW_annotations.tar.gz as downloaded"
    )
    archives: tuple[str, ...] = ("WFLW_images", "WFLW_annotations", "WFLW")

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Images are named below WFLW_images. A face is named image@x,y, the middle of its box.

        Raises:
            DataError: there is neither a list nor a usable face.
        """
        tree = found.tree
        full = {split: _find(tree, _FULL_FOLDERS, _FULL.format(split)) for split in ("train", "test")}
        subsets = {flag: _find(tree, _SUBSET_FOLDERS, name) for flag, name in _SUBSETS.items()}
        if not any(full.values()) and not any(subsets.values()):
            raise found.nothing((_FULL.format("{train,test}"), "list_98pt_test_*.txt"))
        lists = {split: _read(path, split, found) for split, path in full.items()}
        members = {flag: _read(path, "test", found) for flag, path in subsets.items()}
        photos = tree.search(_IMAGES)
        if photos is None:
            message = f"{tree.root} has no folder {_IMAGES}. Unpack {_IMAGES}.tar.gz there."
            found.missing_part("", _IMAGES, message)
        if lists["train"] is not None:
            _add(lists["train"].rows, "train", photos, found)
        elif full["train"] is None:
            name = _FULL.format("train")
            message = f"{name} is not there, so there are no faces to train on. Unpack WFLW_annotations.tar.gz."
            found.missing_part("train", name, message)
        if lists["test"] is not None:
            _add(lists["test"].rows, "test", photos, found)
            _compare(lists["test"], members, found)
        elif full["test"] is None:
            self._add_union(members, photos, found)
        if progress is not None:
            progress(len(found.faces), len(found.faces))

    def _add_union(self, members: Mapping[str, _List | None], photos: Path | None, found: Gathering) -> None:
        """Test faces from the subset lists; a row that one list holds twice stays two faces."""
        flags: dict[_Key, frozenset[str]] = {}
        rows: dict[tuple[_Key, int], _Row] = {}
        for flag, listed in members.items():
            seen = Counter[_Key]()
            for row in listed.rows if listed is not None else ():
                seen[row.key] += 1
                flags[row.key] = flags.get(row.key, frozenset()) | {flag}
                rows.setdefault((row.key, seen[row.key]), row)
        absent = [_SUBSETS[flag] for flag, listed in members.items() if listed is None]
        for name in absent:
            message = f"{name} is not there or not readable; no face carries its flag. Add the list."
            found.missing_part("test", name, message)
        name = _FULL.format("test")
        message = (
            f"{name} is not there. The test faces are the {len(rows)} of {len(_SUBSETS) - len(absent)} "
            f"subset lists instead of {self.official_counts['test']}; they have no official box. Add the list."
        )
        found.missing_part("test", name, message)
        _add((replace(row, flags=flags[row.key]) for row in rows.values()), "test", photos, found)


@dataclass(frozen=True)
class _Row:
    """A row of a list with what tells its face apart: the photograph and the coordinates in 0.01 px."""

    row: WflwRow
    where: str
    key: _Key
    flags: frozenset[str]


@dataclass(frozen=True)
class _List:
    """What was read of a list.

    Attributes:
        rows: the faces of a list.
        whole: every line of it is one.
    """

    rows: tuple[_Row, ...]
    whole: bool


def _add(rows: Iterable[_Row], split: str, photos: Path | None, found: Gathering) -> None:
    """Faces of rows whose photographs lie in a folder, None if it is missing."""
    for row in rows:
        image = row.row.image
        name = relative_name(image)
        if name is None:
            message = f"{row.where}: image '{image}' leads out of {_IMAGES}. Correct the path, or delete the row."
            found.bad_annotation(split, image, message)
            continue
        path = found.tree.inside(photos, name) if photos is not None else None
        if path is None:
            found.missing_image(split, name, row.where)
            continue
        found.faces.append(_entry(row, name, path, split))


def _entry(row: _Row, name: str, path: Path, split: str) -> FaceEntry:
    landmarks = row.row.landmarks
    x, y = np.rint((landmarks.min(axis=0) + landmarks.max(axis=0)) / 2).astype(int)
    return FaceEntry(
        id=f"{name}@{x},{y}",
        image=FileImage(path, name, row.where),
        photo=name,
        split=split,
        landmarks=landmarks,
        where=row.where,
        box=row.row.box,
        attributes={flag: flag in row.flags for flag in FLAGS},
    )


def _find(tree: SourceTree, folders: tuple[str, ...], name: str) -> Path | None:
    return tree.search(*(folder + name for folder in folders))


def _read(path: Path | None, split: str, found: Gathering) -> _List | None:
    """A list; None where there is none, or no line of it can be used. What is damaged becomes a problem."""
    if path is None:
        return None
    try:
        listed = read_wflw_list(path)
    except DataError as error:
        found.bad_annotation(split, path.name, error)
        return None
    found.unusable(split, path, listed.unusable)
    return _List(tuple(_row(path, row) for row in listed.rows), not listed.unusable)


def _row(path: Path, row: WflwRow) -> _Row:
    key = (row.image, np.rint(row.landmarks * 100).astype(np.int64).tobytes())
    on = () if row.flags is None else (flag for flag, is_on in zip(FLAGS, row.flags, strict=True) if is_on)
    return _Row(row, f"{path}, line {row.line}", key, frozenset(on))


def _compare(full: _List, members: Mapping[str, _List | None], found: Gathering) -> None:
    """A problem for each subset list that names other faces than the flags of the full test list, if both are whole."""
    for flag, listed in members.items():
        if listed is None or not listed.whole or not full.whole:
            continue
        flagged = {row.key for row in full.rows if flag in row.flags}
        named = {row.key for row in listed.rows}
        if flagged != named:
            found.bad_annotation(
                "test",
                _SUBSETS[flag],
                f"{_SUBSETS[flag]} and the column '{flag}' of {_FULL.format('test')} disagree: {len(named - flagged)} "
                f"faces are in the list only, {len(flagged - named)} in the column only. The column is used; unpack "
                "both from the same WFLW_annotations.tar.gz.",
            )
