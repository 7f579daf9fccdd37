"""A folder of images with an annotation csv: the data set for faces of your own."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from facegraph.data.annotations import Annotations, read_annotations
from facegraph.data.exif import APPLY, IGNORE, SIZE_ADVICE, MarkedFace, decide_upright, size_fault
from facegraph.data.images import ImageHeader, check_image, read_image
from facegraph.data.orientation import UPRIGHT
from facegraph.data.source import FaceTable, LandmarkDataset, Thresholds
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import BOX, LandmarkScheme


class ImageFolderSource:
    """Faces whose images are files.

    Args:
        table: the annotations.
        files: M image files, one per face.
        places: M texts that name file and row of the annotation, for messages.
        upright: turn images as their EXIF orientation says; landmarks are px of the upright ones.
    """

    def __init__(self, table: FaceTable, files: Sequence[Path], places: Sequence[str], upright: bool = False) -> None:
        self._table = table
        self._files = tuple(files)
        self._places = tuple(places)
        self._upright = upright

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return read_image(self._files[index], self._places[index], self._upright)

    def image_to_stored(self, index: int) -> np.ndarray:
        return np.eye(3)


class CropsDataset(LandmarkDataset):
    """Images under root and one csv that annotates them, one face per row; checked when a split is opened.

    Columns of the csv (others are ignored):
        image: file, relative to root/images or to root. Several rows may share an image; their ids get #1, #2, ...
        split: name of the split.
        x0, y0, x1, y1, ...: landmarks in px of the image, 0-based, integers at pixel centres; see exif.
        width, height: optional size in px of the image that was marked; one of another size is refused.
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
        exif: "ignore": landmarks are px of the images as stored. "apply": images are turned upright as their EXIF
            orientation says, and landmarks are px of the upright ones. None: as columns width and height say of all
            images that ask to be turned; where they do not, that is an error.
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
        exif: str | None = None,
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
        if exif not in (None, IGNORE, APPLY):
            raise ConfigError(f"exif is {exif!r}; '{IGNORE}', '{APPLY}' and null are known.")
        self.exif = exif
        self.attributes = tuple(attributes)
        self.normalisers = (*scheme.normalisers, BOX) if normalisers is None else tuple(normalisers)
        self.test_name = test_split
        self.thresholds = thresholds

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
        self._check_sizes(rows, chosen, files)
        table = FaceTable(
            ids=tuple(rows.ids[chosen]),
            photos=tuple(rows.photos[chosen]),
            landmarks=rows.landmarks[chosen],
            boxes=rows.boxes[chosen] if rows.boxes_given else np.full((len(chosen), 4), np.nan),
            attributes=rows.attributes[chosen],
            attribute_names=self.attributes,
        )
        return ImageFolderSource(table, files, [rows.where(row) for row in chosen], self._upright)

    def _find_files(self, rows: Annotations, chosen: np.ndarray) -> list[Path]:
        files, missing = [], []
        for row in chosen:
            name = rows.images[row]
            file = self._find_file(name)
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

    def _find_file(self, name: str) -> Path | None:
        return next((f for f in (self.root / "images" / name, self.root / name) if name and f.is_file()), None)

    @cached_property
    def _headers(self) -> dict[Path, ImageHeader]:
        """Of all images that can be read, whatever their split: one rule holds for all."""
        found: dict[Path, ImageHeader] = {}
        for row, name in enumerate(self._rows.images):
            file = self._find_file(name)
            if file is not None and file not in found:
                with suppress(DataError):  # told when its split is opened
                    found[file] = check_image(file, self._rows.where(row))
        several = [file.name for file, header in found.items() if header.frames]
        if several:
            warnings.warn(
                f"{self._rows.path}: {len(several)} image(s) hold several frames or pages; the first is taken: "
                f"{', '.join(several[:3])}{', ...' if len(several) > 3 else ''}.",
                stacklevel=1,
            )
        return found

    @property
    def exif_applied(self) -> bool:
        return self._upright and any(header.orientation != UPRIGHT for header in self._headers.values())

    @cached_property
    def _upright(self) -> bool:
        if self.exif is not None:
            return self.exif == APPLY
        rows = self._rows
        faces = [
            MarkedFace(name, self._headers[file], rows.marked_size(row), rows.landmarks[row])
            for row, name in enumerate(rows.images)
            if (file := self._find_file(name)) in self._headers
        ]
        upright = decide_upright(faces, str(rows.path), "dataset.exif=")
        turned = len({face.image for face in faces if face.turned})
        if turned:
            how = "turned upright" if upright else "taken as stored"
            warnings.warn(
                f"{rows.path}: {turned} image(s) ask to be shown turned (EXIF orientation); they are {how}, as columns "
                "width and height say.",
                stacklevel=1,
            )
        return upright

    def _check_sizes(self, rows: Annotations, chosen: np.ndarray, files: Sequence[Path]) -> None:
        faults = [
            (row, fault)
            for row, file in zip(chosen, files, strict=True)
            if (fault := size_fault(rows.marked_size(row), self._headers[file].size(self._upright))) is not None
        ]
        if faults:
            row, fault = faults[0]
            raise DataError(
                f"{rows.where(row)}: of image '{rows.images[row]}', {fault} ({len(faults)} of {len(chosen)} rows "
                f"like this). {SIZE_ADVICE}"
            )

    def _check_images(self, rows: Annotations, chosen: np.ndarray, files: Sequence[Path]) -> None:
        for row, file in zip(chosen, files, strict=True):
            header = self._headers.get(file) or self._headers.setdefault(file, check_image(file, rows.where(row)))
            size = np.array(header.size(self._upright))
            landmarks = rows.landmarks[row]
            outside = np.flatnonzero(((landmarks < -size) | (landmarks > 2 * size)).any(axis=1))
            if len(outside):
                x, y = landmarks[outside[0]]
                raise DataError(
                    f"{rows.where(row)}: landmark {outside[0]} at ({x:g}, {y:g}) lies more than one image side outside "
                    f"image '{rows.images[row]}' of {size[0]} x {size[1]} px. Coordinates must be px of the stored "
                    "image; correct or delete the row."
                )
