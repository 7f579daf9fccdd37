"""A folder of images with an annotation csv: the data set for faces of your own."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from facegraph.data.annotations import Annotations, read_annotations
from facegraph.data.images import check_image, read_image
from facegraph.data.source import FaceTable, LandmarkDataset, Thresholds
from facegraph.errors import DataError
from facegraph.landmarks import BOX, LandmarkScheme


class ImageFolderSource:
    """Faces whose images are files.

    Args:
        table: the annotations.
        files: M image files, one per face.
        places: M texts that name file and row of the annotation, for messages.
    """

    def __init__(self, table: FaceTable, files: Sequence[Path], places: Sequence[str]) -> None:
        self._table = table
        self._files = tuple(files)
        self._places = tuple(places)

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return read_image(self._files[index], self._places[index])

    def image_to_stored(self, index: int) -> np.ndarray:
        return np.eye(3)


class CropsDataset(LandmarkDataset):
    """Images under root and one csv that annotates them, one face per row; checked when a split is opened.

    Columns of the csv (others are ignored):
        image: file, relative to root/images or to root. Several rows may share an image; their ids get #1, #2, ...
        split: name of the split.
        x0, y0, x1, y1, ...: landmarks in px of the stored image, 0-based, integers at pixel centres.
        box_x0, box_y0, box_x1, box_y1: optional face box in the same px, for box=official.
        photo: optional name of the photograph that the image was cut from; faces of one photograph stay on one side
            when validation is cut from train.
        one column per attribute: 0 or 1.

    Args:
        root: folder of the data set.
        scheme: numbering of the landmarks.
        annotations: csv file, relative to root.
        name: as results print it.
        train_split, test_split: values of the column split.
        photo_pattern: regular expression whose group 1 on the image name names the photograph; by default the column
            photo, and without one each image is its own photograph.
        attributes: columns that mark subsets of the faces.
        normalisers: see LandmarkDataset; None for all of the scheme and the box. thresholds: see LandmarkDataset.

    Raises (when a split is opened):
        DataError: anything in the folder or the csv that would stop a training. Photographs in both splits warn.
    """

    def __init__(
        self,
        root: str | Path,
        scheme: LandmarkScheme,
        annotations: str = "annotations.csv",
        name: str = "crops",
        train_split: str = "train",
        test_split: str = "test",
        photo_pattern: str | None = None,
        attributes: Sequence[str] = (),
        normalisers: Sequence[str] | None = None,
        thresholds: Thresholds = (0.08, 0.10),
    ) -> None:
        self.root = Path(root).expanduser()
        self.scheme = scheme
        self.annotations = annotations
        self.name = name
        self.train_split = train_split
        self.test_split = test_split
        self.photo_pattern = photo_pattern
        self.attributes = tuple(attributes)
        self.normalisers = (*scheme.normalisers, BOX) if normalisers is None else tuple(normalisers)
        self.test_name = test_split
        self.thresholds = thresholds

    def train(self) -> ImageFolderSource:
        return self._open(self.train_split)

    def test(self) -> ImageFolderSource:
        return self._open(self.test_split)

    def images_fingerprint(self, ids: Sequence[str]) -> str:
        """From the names and sizes in bytes of the files, without reading them."""
        rows = self._rows
        chosen = np.flatnonzero(np.isin(rows.ids.astype(str), list(ids)))
        sizes = {str(file): file.stat().st_size for file in self._find_files(rows, chosen)}
        listing = "\n".join(f"{Path(name).name} {sizes[name]}" for name in sorted(sizes))
        return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()[:12]

    @cached_property
    def _rows(self) -> Annotations:
        """The whole csv: a mistake in the test rows is found before training."""
        if not self.root.is_dir():
            near = next((p for p in self.root.absolute().parents if p.is_dir()), Path("/"))
            raise DataError(
                f"data set '{self.name}': root {self.root} is no folder (the path exists up to {near}). "
                "Set dataset.root to the folder that holds the csv."
            )
        rows = read_annotations(self.root / self.annotations, self.scheme, self.attributes, self.photo_pattern)
        self._check_photos(rows)
        self._check_normalisers(rows)
        return rows

    def _check_photos(self, rows: Annotations) -> None:
        train = set(rows.photos[rows.splits == self.train_split])
        both = sorted(train & set(rows.photos[rows.splits == self.test_split]))
        if both and self.train_split != self.test_split:
            warnings.warn(
                f"{rows.path}: {len(both)} photograph(s) occur in split '{self.train_split}' and in "
                f"'{self.test_split}', first '{both[0]}'; scores on them are too good. Move them to one side.",
                stacklevel=2,
            )

    def _check_normalisers(self, rows: Annotations) -> None:
        distances = self.norm_distances(rows.landmarks)
        bad = np.argwhere(distances <= 0)
        if len(bad):
            row, column = bad[0]
            points = self.scheme.normalisers.get(self.normalisers[column], BOX)
            raise DataError(
                f"{rows.where(row)}: the distance '{self.normalisers[column]}' (landmarks {points}) is 0, so no error "
                f"can be divided by it ({len(bad)} row(s) like this). Correct these landmarks, or delete the row."
            )

    def _open(self, split: str) -> ImageFolderSource:
        rows = self._rows
        chosen = np.flatnonzero(rows.splits == split)
        if not len(chosen):
            raise DataError(
                f"{rows.path} has no rows of split '{split}'; its splits are {dict(Counter(rows.splits))}. Set dataset."
                "train_split and dataset.test_split to two of them, or add rows."
            )
        files = self._find_files(rows, chosen)
        self._check_images(rows, chosen, files)
        table = FaceTable(
            ids=tuple(rows.ids[chosen]),
            photos=tuple(rows.photos[chosen]),
            landmarks=rows.landmarks[chosen],
            boxes=rows.boxes[chosen] if rows.boxes_given else np.full((len(chosen), 4), np.nan),
            attributes=rows.attributes[chosen],
            attribute_names=self.attributes,
        )
        return ImageFolderSource(table, files, [rows.where(row) for row in chosen])

    def _find_files(self, rows: Annotations, chosen: np.ndarray) -> list[Path]:
        files, missing = [], []
        for row in chosen:
            name = rows.images[row]
            file = next((f for f in (self.root / "images" / name, self.root / name) if name and f.is_file()), None)
            files.append(file or self.root / name)
            if file is None:
                missing.append(f"'{name}' (line {rows.lines[row]})")
        if missing:
            raise DataError(
                f"{rows.path}: {len(missing)} of {len(chosen)} images do not exist under {self.root / 'images'} or "
                f"{self.root}: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}. Copy the images there, "
                "or correct column 'image'."
            )
        return files

    def _check_images(self, rows: Annotations, chosen: np.ndarray, files: Sequence[Path]) -> None:
        sizes: dict[Path, tuple[int, int]] = {}
        for row, file in zip(chosen, files, strict=True):
            if file not in sizes:
                sizes[file] = check_image(file, rows.where(row))
            size = np.array(sizes[file])
            landmarks = rows.landmarks[row]
            outside = np.flatnonzero(((landmarks < -size) | (landmarks > 2 * size)).any(axis=1))
            if len(outside):
                x, y = landmarks[outside[0]]
                raise DataError(
                    f"{rows.where(row)}: landmark {outside[0]} at ({x:g}, {y:g}) lies more than one image side outside "
                    f"image '{rows.images[row]}' of {size[0]} x {size[1]} px. Coordinates must be px of the stored "
                    "image; correct or delete the row."
                )
