"""COFW-68: the 507 test faces of COFW with the 68 points of 300-W, to test what was trained on 300-W."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from facegraph.data.benchmarks.cofw import OCCLUDED_SHARE, TEST_FILE
from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress, read_each
from facegraph.data.benchmarks.source_tree import SourceTree
from facegraph.data.entries import FaceEntry
from facegraph.data.formats.cofw import CofwImage, read_cofw, read_cofw68_boxes, read_cofw68_points
from facegraph.errors import DataError
from facegraph.landmarks import IBUG68

_FOLDERS = ("COFW68_Data/test_annotations", "test_annotations", "cofw68_test_annotations")
_BOXES = "cofw68_test_bboxes.mat"


class Cofw68Benchmark(Benchmark):
    """COFW-68 (Ghiasi and Fowlkes, Occlusion Coherence, 2015): golnazghiasi/cofw68-benchmark beside the COFW file.

    Annotation n belongs to picture n of COFW_test_color.mat, counted from 1. The published boxes come from a detector
    like the one of 300-W. values: occluded_share.
    """

    name = "cofw68"
    version = "COFW-68 (2015)"
    scheme = IBUG68
    official_counts: Mapping[str, int] = {"test": 507}
    layout = (
        f"  {TEST_FILE}                                  (from COFW_color.zip)\n"
        f"  COFW68_Data/test_annotations/1_points.mat ... 507_points.mat\n"
        f"  COFW68_Data/{_BOXES}                 (optional)"
    )
    archives: tuple[str, ...] = ("COFW*", "cofw68*")

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids are test/number, the same as those of COFW.

        Raises:
            DataError: the pictures or the 68-point annotations are not there, or no usable face.
        """
        tree = found.tree
        pictures, folder = tree.search(TEST_FILE), tree.search(*_FOLDERS)
        if pictures is None or folder is None:
            absent = [TEST_FILE] * (pictures is None) + [_FOLDERS[0]] * (folder is None)
            raise found.nothing(absent)
        count = len(read_cofw(pictures).landmarks)
        boxes = _boxes(tree, count, found)
        paths = [tree.child(folder, f"{i + 1}_points.mat") for i in range(count)]
        present = [(i, path) for i, path in enumerate(paths) if path is not None]
        if len(present) < count:
            first = next(i for i, path in enumerate(paths) if path is None)
            message = (
                f"{count - len(present)} of {count} annotations are not in {folder}, first {first + 1}_points.mat. "
                "Copy the folder again from its source."
            )
            found.missing_part("test", f"{first + 1}_points.mat", message)
        results = read_each(read_cofw68_points, [path for _, path in present], workers, progress)
        for (i, path), result in zip(present, results, strict=True):
            if isinstance(result, DataError):
                found.bad_annotation("test", path.name, result)
            else:
                found.faces.append(_entry(i, pictures, path, *result, None if boxes is None else boxes[i]))


def _entry(
    number: int, pictures: Path, path: Path, landmarks: np.ndarray, hidden: np.ndarray, box: np.ndarray | None
) -> FaceEntry:
    name = f"test/{number + 1:04d}"
    return FaceEntry(
        id=name,
        image=CofwImage(pictures, "test", number, name),
        photo=name,
        split="test",
        landmarks=landmarks,
        where=str(path),
        box=box,
        values={OCCLUDED_SHARE: float(hidden.mean())},
        hidden=hidden,
    )


def _boxes(tree: SourceTree, count: int, found: Gathering) -> np.ndarray | None:
    path = tree.search(f"COFW68_Data/{_BOXES}", _BOXES)
    if path is None:
        message = f"{_BOXES} is not there, so faces have no official box. Copy it beside the annotations."
        found.missing_part("test", _BOXES, message, optional=True)
        return None
    try:
        boxes = read_cofw68_boxes(path)
        if len(boxes) != count:
            raise DataError(f"{path} holds {len(boxes)} boxes for {count} pictures. Copy it again from its source.")
    except DataError as error:
        found.bad_annotation("test", path.name, error)
        return None
    return boxes
