"""A folder of images with an annotation csv: the data set for faces of your own."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from facegraph.data.annotations import Annotations, read_annotations
from facegraph.data.faults import OWN_OUTSIDE, landmark_fault, picture_fault
from facegraph.data.images import check_image, read_image
from facegraph.data.missing import LEAVE_OUT, MASK, REFUSE, lacking, missing_text
from facegraph.data.source import FaceTable, LandmarkDataset, Thresholds, measured
from facegraph.errors import ConfigError, DataError
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
        missing: what becomes of faces with landmarks that are marked as missing, both cells empty, 0 or -1: "refuse",
            "leave_out", or "mask", which trains on and scores those that are there.

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
        missing: str = REFUSE,
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
        self.missing = missing
        if missing not in (REFUSE, LEAVE_OUT, MASK):
            raise ConfigError(
                f"dataset.missing is '{missing}'; {REFUSE}, {LEAVE_OUT} or {MASK} (faces without some landmarks) are "
                "known."
            )

    def train(self) -> ImageFolderSource:
        return self._open(self.train_split)

    def test(self) -> ImageFolderSource:
        return self._open(self.test_split)

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
        return self._usable(rows)

    def _check_photos(self, rows: Annotations) -> None:
        train = set(rows.photos[rows.splits == self.train_split])
        both = sorted(train & set(rows.photos[rows.splits == self.test_split]))
        if both and self.train_split != self.test_split:
            warnings.warn(
                f"{rows.path}: {len(both)} photograph(s) occur in split '{self.train_split}' and in "
                f"'{self.test_split}', first '{both[0]}'; scores on them are too good. Move them to one side.",
                stacklevel=2,
            )

    def _usable(self, rows: Annotations) -> Annotations:
        """Faces as the setting `missing` wants them, whose errors can be measured."""
        faulty = [row for row in range(len(rows.ids)) if self._fault(rows, row)]
        if faulty:
            row = faulty[0]
            raise DataError(
                f"{rows.where(row)}: {self._fault(rows, row)} ({len(faulty)} row(s) like this). Correct these "
                "landmarks, or delete the row."
            )
        partial = lacking(rows.landmarks)
        if self.missing == MASK or not partial.any():
            return rows
        first, count = int(np.flatnonzero(partial)[0]), int(partial.sum())
        what = f"{rows.where(first)}: {missing_text(rows.landmarks[first])} ({count} of {len(partial)} rows like this)"
        if self.missing == REFUSE:
            raise DataError(
                f"{what}. Write their positions, or choose dataset.missing={LEAVE_OUT} (without these faces) or "
                f"dataset.missing={MASK} (trains on and scores the landmarks that are there)."
            )
        warnings.warn(f"{what}; these faces are left out.", stacklevel=2)
        return rows.keep(~partial)

    def _fault(self, rows: Annotations, row: int) -> str | None:
        return landmark_fault(rows.landmarks[row], self.scheme, self.normalisers)

    def _open(self, split: str) -> ImageFolderSource:
        rows = self._rows
        chosen = np.flatnonzero(rows.splits == split)
        if not len(chosen):
            raise DataError(
                f"{rows.path} has no rows of split '{split}'; its splits are {dict(Counter(rows.splits))}. Set dataset."
                "train_split and dataset.test_split to two of them, or add rows."
            )
        chosen = chosen[measured(self, rows.landmarks[chosen], rows.ids[chosen].tolist())]
        files = self._find_files(rows, chosen)
        sizes = self._check_images(rows, chosen, files)
        table = FaceTable(
            ids=tuple(rows.ids[chosen]),
            photos=tuple(rows.photos[chosen]),
            landmarks=rows.landmarks[chosen],
            boxes=rows.boxes[chosen] if rows.boxes_given else np.full((len(chosen), 4), np.nan),
            attributes=rows.attributes[chosen],
            attribute_names=self.attributes,
            seen=np.concatenate([np.full_like(sizes, -0.5), sizes - 0.5], axis=1),
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

    def _check_images(self, rows: Annotations, chosen: np.ndarray, files: Sequence[Path]) -> np.ndarray:
        """(K, 2) float64 width and height of the image of each chosen row."""
        sizes: dict[Path, tuple[int, int]] = {}
        for row, file in zip(chosen, files, strict=True):
            if file not in sizes:
                sizes[file] = check_image(file, rows.where(row))
            width, height = sizes[file]
            fault = picture_fault(rows.landmarks[row], width, height, OWN_OUTSIDE)
            if fault is not None:
                raise DataError(
                    f"{rows.where(row)}: {fault} Coordinates must be px of the stored image '{rows.images[row]}'; "
                    "correct or delete the row."
                )
        return np.array([sizes[file] for file in files], dtype=np.float64)
