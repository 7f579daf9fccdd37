"""A folder of images with an annotation csv: the data set for faces of your own."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from facegraph.data.annotations import Annotations, read_annotations
from facegraph.data.benchmarks.source_tree import leads_out, relative_name
from facegraph.data.exif import APPLY, IGNORE, SIZE_ADVICE, MarkedFace, decide_upright, size_fault
from facegraph.data.faults import (
    LEAVE_OUT,
    MASK,
    OWN_OUTSIDE,
    REFUSE,
    lacking,
    landmark_fault,
    missing_text,
    picture_fault,
)
from facegraph.data.images import UPRIGHT, ImageHeader, check_image, read_image
from facegraph.data.source import FaceTable, LandmarkDataset, Thresholds, measured
from facegraph.data.splits import USUAL, check_splits, find_shared, find_validation, name_photographs, tell_shared
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
        image: file, relative to root/images or to root, or an absolute name in it. Several rows may share an image;
            their ids get #1, #2, ...
        split: name of the split: train, val, test, or one that a setting names; any other is an error. Where there are
            rows of split val, they are the validation set and nothing is cut from train.
        x0, y0, x1, y1, ...: landmarks in px of the image, 0-based, integers at pixel centres; see exif and missing.
        width, height: optional size in px of the image that was marked; one of another size is refused.
        box_x0, box_y0, box_x1, box_y1: optional face box in the same px, for box=official; empty where a face has none.
        photo: optional name of the photograph that the image was cut from; faces of one photograph stay on one side
            when validation is cut from train.
        one column per attribute: 0 or 1.

    Args:
        root: folder of the data set.
        scheme: numbering of the landmarks.
        annotations: csv file, relative to root.
        name: as results print it.
        train_split, test_split: values of the column split.
        val_split: the same; None for val, where there are such rows, else validation is cut from train.
        other_splits: further values, whose rows are left out.
        photo_pattern: regular expression whose group 1 on the image name names the photograph; by default the column
            photo, and without one each image is its own photograph.
        exif: "ignore": landmarks are px of the images as stored. "apply": images are turned upright as their EXIF
            orientation says, and landmarks are px of the upright ones. None: as columns width and height say of all
            images that ask to be turned; where they do not, that is an error.
        attributes: columns that mark subsets of the faces.
        normalisers: see LandmarkDataset; None for all of the scheme and the box.
        thresholds: see LandmarkDataset.
        missing: what becomes of faces with landmarks that are marked as missing, both cells empty, 0 or -1: "refuse",
            "leave_out", or "mask", which trains on and scores those that are there.
        allow_shared_photographs: warn of photographs that more than one of the splits in use shows, instead of refusing
            to train. The same photograph is also the same file under two names, or two files of the same bytes.

    Raises (when a split is opened):
        DataError: anything in the folder or the csv that would stop a training.
    """

    def __init__(
        self,
        root: str | Path,
        scheme: LandmarkScheme,
        annotations: str = "annotations.csv",
        name: str = "crops",
        train_split: str = "train",
        test_split: str = "test",
        val_split: str | None = None,
        other_splits: Sequence[str] = (),
        photo_pattern: str | None = None,
        exif: str | None = None,
        attributes: Sequence[str] = (),
        normalisers: Sequence[str] | None = None,
        thresholds: Thresholds = (0.08, 0.10),
        missing: str = REFUSE,
        allow_shared_photographs: bool = False,
    ) -> None:
        self.root = Path(root).expanduser()
        self.scheme = scheme
        self.annotations = annotations
        self.name = name
        self.train_split = train_split
        self.test_split = test_split
        self.val_split = val_split
        self.other_splits = tuple(other_splits)
        self.allow_shared_photographs = allow_shared_photographs
        self.photo_pattern = photo_pattern
        if exif not in (None, IGNORE, APPLY):
            raise ConfigError(f"exif is {exif!r}; '{IGNORE}', '{APPLY}' and null are known.")
        self.exif = exif
        self.attributes = tuple(attributes)
        self.normalisers = (*scheme.normalisers, BOX) if normalisers is None else tuple(normalisers)
        self.test_name = test_split
        self.thresholds = thresholds
        self.check_protocol()
        self.missing = missing
        if missing not in (REFUSE, LEAVE_OUT, MASK):
            raise ConfigError(
                f"dataset.missing is '{missing}'; {REFUSE}, {LEAVE_OUT} or {MASK} (faces without some landmarks) are "
                "known."
            )

    def train(self) -> ImageFolderSource:
        self._tell_shared(self.allow_shared_photographs)
        return self._open(self.train_split)

    def val(self) -> ImageFolderSource | None:
        return None if self.val_name is None else self._open(self.val_name)

    def test(self) -> ImageFolderSource:
        self._tell_shared(allowed=True)
        return self._open(self.test_split)

    @property
    def val_name(self) -> str | None:
        present = set(self._rows.splits) - set(self.other_splits)
        return find_validation(self.val_split, present, self.train_split, self.test_split, str(self._rows.path))

    @property
    def shared_photographs(self) -> int:
        return len(self._shared)

    def _tell_shared(self, allowed: bool) -> None:
        rows = self._rows
        tell_shared(self._shared, str(rows.path), lambda row: f"'{rows.images[row]}', line {rows.lines[row]}", allowed)

    @cached_property
    def _shared(self) -> list[dict[str, int]]:
        used = [name for name in (self.train_split, self.val_name, self.test_split) if name is not None]
        return find_shared(self._photos, self._rows.splits, used)

    @cached_property
    def _photos(self) -> np.ndarray:
        return name_photographs(self._files, self._rows.photos)

    @cached_property
    def _files(self) -> list[Path | None]:
        """The image of each row, where there is one."""
        folders = (self.root / "images", self.root)
        names = {image: relative_name(image) for image in set(self._rows.images)}
        files = {i: next((p for f in folders if (p := f / (n or i)).is_file()), None) for i, n in names.items()}
        return [files[image] for image in self._rows.images]

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
        csv = self.root / self.annotations
        rows = read_annotations(csv, self.scheme, self.attributes, self.photo_pattern, self.root)
        named = (self.train_split, self.test_split, self.val_split, *self.other_splits)
        advice = "If its rows are to be left out, say so: dataset.other_splits=[{name}]"
        check_splits(rows.splits, [*USUAL, *(name for name in named if name)], rows.places, advice)
        for row, name in enumerate(rows.images):
            if relative_name(name) is None:
                wrong = leads_out(name, self.root, csv.parent)
                raise DataError(f"{rows.where(row)}: {wrong}. Copy it into the folder, or set dataset.root higher up.")
        if (boxless := rows.tell_boxless()) is not None:
            warnings.warn(boxless, stacklevel=2)
        return self._usable(rows)

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
        self._check_sizes(rows, chosen, files)
        table = FaceTable(
            ids=tuple(rows.ids[chosen]),
            photos=tuple(self._photos[chosen]),
            landmarks=rows.landmarks[chosen],
            boxes=rows.boxes[chosen] if rows.boxes_given else np.full((len(chosen), 4), np.nan),
            attributes=rows.attributes[chosen],
            attribute_names=self.attributes,
            seen=np.concatenate([np.full_like(sizes, -0.5), sizes - 0.5], axis=1),
        )
        return ImageFolderSource(table, files, [rows.where(row) for row in chosen], self._upright)

    def _find_files(self, rows: Annotations, chosen: np.ndarray) -> list[Path]:
        files = [self._files[row] for row in chosen]
        missing = [f"'{rows.images[row]}' (line {rows.lines[row]})" for row in chosen if self._files[row] is None]
        if missing:
            raise DataError(
                f"{rows.path}: {len(missing)} of {len(chosen)} images do not exist under {self.root / 'images'} or "
                f"{self.root}: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}. Copy the images there, "
                "or correct column 'image'."
            )
        return [file for file in files if file is not None]

    @cached_property
    def _headers(self) -> dict[Path, ImageHeader]:
        """Of all images that can be read, whatever their split: one rule holds for all."""
        found: dict[Path, ImageHeader] = {}
        for row, file in enumerate(self._files):
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
            for row, (name, file) in enumerate(zip(rows.images, self._files, strict=True))
            if file in self._headers
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

    def _check_images(self, rows: Annotations, chosen: np.ndarray, files: Sequence[Path]) -> np.ndarray:
        """(K, 2) float64 width and height of the image of each chosen row."""
        sizes = []
        for row, file in zip(chosen, files, strict=True):
            header = self._headers.get(file) or self._headers.setdefault(file, check_image(file, rows.where(row)))
            width, height = header.size(self._upright)
            sizes.append((width, height))
            fault = picture_fault(rows.landmarks[row], width, height, OWN_OUTSIDE)
            if fault is not None:
                raise DataError(
                    f"{rows.where(row)}: {fault} Coordinates must be px of the stored image '{rows.images[row]}'; "
                    "correct or delete the row."
                )
        return np.array(sizes, dtype=np.float64)
