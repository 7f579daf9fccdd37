"""A folder of photographs with one csv: faces of your own, prepared like a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facegraph.data.annotations import Annotations, read_annotations
from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress
from facegraph.data.benchmarks.source_tree import leads_out, relative_name
from facegraph.data.entries import BAD_BOX, FaceEntry, FaceIndex, FileImage
from facegraph.data.formats.files import Unusable
from facegraph.data.splits import TRAIN, USUAL, HeldOut, check_no_test, check_splits, finish_own
from facegraph.landmarks import LandmarkScheme

_CSV = "annotations.csv"


class FolderBenchmark(Benchmark):
    """annotations.csv and the images it names, below images/ or the folder itself; columns as in crops.CropsDataset.

    Args:
        scheme: numbering of the landmarks.
        attributes: columns of 0 and 1 that mark subsets.
        photo_pattern: regular expression whose group 1 on the image name names the photograph; None for the column
            photo, or each image for itself.
        name: as results print it.
        other_splits: values of the column split besides train, val and test; any other value is an error.
        held_out: test set to cut from the train rows, which are all rows of a csv without a column split.
    """

    layout = (
        f"  {_CSV}          columns image, split, x0, y0, x1, y1, ...\n  images/...               the images it names"
    )
    archives: tuple[str, ...] = ()

    def __init__(
        self,
        scheme: LandmarkScheme,
        attributes: Sequence[str] = (),
        photo_pattern: str | None = None,
        name: str = "crops",
        other_splits: Sequence[str] = (),
        held_out: HeldOut | None = None,
    ) -> None:
        self.scheme = scheme
        self.attributes = tuple(attributes)
        self.photo_pattern = photo_pattern
        self.name = name
        self.other_splits = tuple(other_splits)
        self.held_out = held_out
        self.version = "own" if held_out is None else f"own, {held_out.description}"

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids are image names, with #1, #2, ... where several rows share an image.

        Raises:
            DataError: no csv, one that cannot be read or has no usable row or an unknown split, or no image is there.
            ConfigError: photo_pattern is no regular expression with a group, or a test set is to be held out, but there
                is one.
        """
        tree = found.tree
        path = tree.child(tree.root, _CSV)
        if path is None:
            raise found.nothing((_CSV,))
        split = None if self.held_out is None else TRAIN
        unusable: list[Unusable] = []
        rows = read_annotations(
            path, self.scheme, self.attributes, self.photo_pattern, tree.root, split, report=unusable
        )
        found.unusable("", path, unusable)
        advice = "If it is meant, name it: --other-splits {name}"
        check_splits(rows.splits, (*USUAL, *self.other_splits), rows.places, advice)
        if self.held_out is not None:
            check_no_test(set(rows.splits), str(path))
        if rows.boxes_given and (boxless := rows.tell_boxless()) is not None:
            found.problem(BAD_BOX, "", f"{path.name}, rows without a box", boxless, optional=True)
        for row, face_id in enumerate(rows.ids):
            self._add(rows, row, face_id, found)
        if progress is not None:
            progress(len(rows.images), len(rows.images))

    def index(self, source: Path, workers: int = 1, progress: Progress | None = None) -> FaceIndex:
        """See Benchmark; a test set is held out."""
        return finish_own(super().index(source, workers, progress), self.held_out)

    def _add(self, rows: Annotations, row: int, face_id: str, found: Gathering) -> None:
        image, split, where = str(rows.images[row]), str(rows.splits[row]), rows.where(row)
        name = relative_name(image)
        tree = found.tree
        if name is None:
            wrong = leads_out(image, tree.root, rows.path.parent)
            found.bad_annotation(split, image, f"{where}: {wrong}. Copy it into the folder, or delete the row.")
            return
        path = tree.inside(tree.root, f"images/{name}") or tree.inside(tree.root, name)
        if path is None:
            found.missing_image(split, name, where)
            return
        entry = FaceEntry(
            id=face_id,
            image=FileImage(path, name, where),
            photo=str(rows.photos[row]),
            split=split,
            landmarks=rows.landmarks[row],
            where=where,
            box=None if not rows.boxes_given or np.isnan(rows.boxes[row]).all() else rows.boxes[row],
            attributes={a: bool(flag) for a, flag in zip(self.attributes, rows.attributes[row], strict=True)},
            marked_size=rows.marked_size(row),
        )
        found.faces.append(entry)
