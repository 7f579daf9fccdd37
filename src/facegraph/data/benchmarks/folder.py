"""A folder of photographs with one csv: faces of your own, prepared like a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from facegraph.data.annotations import Annotations, read_usable_annotations
from facegraph.data.benchmarks.gathering import Gathering, nothing_found
from facegraph.data.benchmarks.source_tree import SourceTree, relative_name
from facegraph.data.entries import FaceEntry, FaceIndex, FileImage
from facegraph.landmarks import LandmarkScheme

_CSV = "annotations.csv"


class FolderBenchmark:
    """annotations.csv and the images it names, below images/ or the folder itself; columns as in crops.CropsDataset.

    Args:
        scheme: numbering of the landmarks.
        attributes: columns of 0 and 1 that mark subsets.
        photo_pattern: regular expression whose group 1 on the image name names the photograph; None for the column
            photo, or each image for itself.
        name: as results print it.
    """

    version = "own"
    official_counts: Mapping[str, int] = {}
    optional_splits: frozenset[str] = frozenset()
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
    ) -> None:
        self.scheme = scheme
        self.attributes = tuple(attributes)
        self.photo_pattern = photo_pattern
        self.name = name

    def index(self, source: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None) -> FaceIndex:
        """See entries.Benchmark; ids are image names, with #1, #2, ... where several rows share an image.

        Raises:
            DataError: no csv, one that cannot be read or has no usable row, or no image is there.
            ConfigError: photo_pattern is no regular expression with a group.
        """
        tree = SourceTree(source)
        path = tree.child(tree.root, _CSV)
        if path is None:
            raise nothing_found(tree, (_CSV,), self.layout)
        found = Gathering(tree, self.layout)
        rows, unusable = read_usable_annotations(path, self.scheme, self.attributes, self.photo_pattern)
        found.unusable("", path, unusable)
        for row, face_id in enumerate(rows.ids):
            self._add(rows, row, face_id, found)
        if progress is not None:
            progress(len(rows.images), len(rows.images))
        return found.index()

    def _add(self, rows: Annotations, row: int, face_id: str, found: Gathering) -> None:
        image, split, where = str(rows.images[row]), str(rows.splits[row]), rows.where(row)
        name = relative_name(image)
        if name is None or not split:
            wrong = f"image '{image}' leads out of the folder" if split else "split is empty"
            found.bad_annotation(split, image, f"{where}: {wrong}. Correct or delete the row.")
            return
        tree = found.tree
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
            box=rows.boxes[row] if rows.boxes_given else None,
            attributes={a: bool(flag) for a, flag in zip(self.attributes, rows.attributes[row], strict=True)},
            marked_size=rows.marked_size(row),
        )
        found.faces.append(entry)
