"""What a data set is to the rest of the suite: a table of faces, images by row, and the protocol that scores them."""

from __future__ import annotations

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import BOX, INTER_OCULAR, LandmarkScheme
from facegraph.structures import FaceSample

_MISSING = -(10.0**9)  # no coordinate that a face may have


@dataclass(frozen=True)
class FaceTable:
    """All annotations of one split, without the images.

    Attributes:
        ids: M unique names.
        photos: M names of the photograph each face was cut from; faces of one photograph never fall on both sides of a
            split.
        landmarks: (M, N, 2) float64 image px, NaN where the annotation has none.
        boxes: (M, 4) float64 x0, y0, x1, y1 image px: as annotated, NaN where there is none, until a box policy (see
            data.boxes) puts the box to cut around in their place.
        attributes: (M, K) bool, columns named by attribute_names.
        seen: (M, 4) float64 x0, y0, x1, y1 image px, the part of the plane that the image of each face shows; None
            where it is not known.
    """

    ids: tuple[str, ...]
    photos: tuple[str, ...]
    landmarks: np.ndarray
    boxes: np.ndarray
    attributes: np.ndarray
    attribute_names: tuple[str, ...] = ()
    seen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


class FaceSource(Protocol):
    """Faces of one split. Sources are cheap to pickle: images are read or drawn on demand."""

    @property
    def table(self) -> FaceTable: ...

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB image of row index of the table."""
        ...

    def image_to_stored(self, index: int) -> np.ndarray:
        """(3, 3) float64, px of the photograph that the table speaks of -> px of image(index)."""
        ...


def sample_at(source: FaceSource, index: int) -> FaceSample:
    table = source.table
    return FaceSample(
        image=source.image(index),
        landmarks=table.landmarks[index],
        box=table.boxes[index],
        attributes=table.attributes[index],
        id=table.ids[index],
        image_to_stored=source.image_to_stored(index),
    )


def fingerprint(table: FaceTable) -> str:
    """12 hex digits that tell which faces a table holds, from ids and landmarks (to 1/1000 px), not from the images."""
    digest = hashlib.sha256("\n".join(table.ids).encode())
    digest.update(np.rint(1000 * np.nan_to_num(table.landmarks, nan=_MISSING)).astype("<i8").tobytes())
    return digest.hexdigest()[:12]


Thresholds = Sequence[float] | Mapping[str, Sequence[float]]


class LandmarkDataset(ABC):
    """A data set with its scheme and scoring protocol; sources are opened on demand.

    Attributes:
        name: as results print it.
        normalisers: names of the distances that errors are divided by, the first one is the data set's own.
        thresholds: failure and AUC thresholds as fractions of the normaliser: a list for all of them, or normaliser ->
            list.
        test_name: of the split that is scored.
        val_name: of the split that validates, None where validation is cut from train.
        shared_photographs: how many photographs of one's own more than one of these splits shows.
    """

    name: str
    scheme: LandmarkScheme
    normalisers: tuple[str, ...] = (INTER_OCULAR,)
    thresholds: Thresholds = (0.08, 0.10)
    test_name: str = "test"

    @property
    def exif_applied(self) -> bool:
        """Whether some picture was turned upright as its EXIF orientation says; otherwise all are as stored."""
        return False

    @abstractmethod
    def train(self) -> FaceSource:
        """Faces to train on; validation is cut from these where val gives none."""

    def val(self) -> FaceSource | None:
        """Faces that choose a checkpoint, where the data set has a split for that; None where it has not."""
        return None

    @property
    def val_name(self) -> str | None:
        return None

    @property
    def shared_photographs(self) -> int:
        return 0

    @abstractmethod
    def test(self) -> FaceSource:
        """Faces that are only ever scored."""

    def wider_pictures(self, factor: float) -> str:
        """How to get pictures that show so many times as much, for the end of a message that names another way."""
        return ""

    def images_fingerprint(self, ids: Sequence[str]) -> str:
        """Hex digits that change where the stored images of some faces do; empty where the settings make the images."""
        return ""

    def thresholds_of(self, normaliser: str) -> tuple[float, ...]:
        """Thresholds of FR and AUC by one normaliser; none where only others were given some."""
        if isinstance(self.thresholds, Mapping):
            return tuple(float(t) for t in self.thresholds.get(normaliser, ()))
        return tuple(float(t) for t in self.thresholds)

    def check_protocol(self) -> None:
        """Whether faces could be scored, before any is opened.

        Raises:
            ConfigError: no normaliser, one that the scheme does not have or that is named twice, or a threshold that is
                no number above zero or of an unknown normaliser.
        """
        known = [*self.scheme.normalisers, BOX]
        by_name: Mapping[str, Sequence[float]] = (
            self.thresholds if isinstance(self.thresholds, Mapping) else {BOX: self.thresholds}
        )
        named = [*self.normalisers, *by_name]
        if not self.normalisers or len(set(self.normalisers)) < len(self.normalisers) or not set(named) <= set(known):
            raise ConfigError(
                f"dataset.normalisers={list(self.normalisers)} with dataset.thresholds={self.thresholds}: give one or "
                f"more of {known}, each once; thresholds are a list for all of them, or a list for each by its name."
            )
        for threshold in (t for some in by_name.values() for t in some):
            if isinstance(threshold, str) or not 0 < threshold < math.inf:
                raise ConfigError(
                    f"dataset.thresholds={self.thresholds} has {threshold}; each must be a number above zero, a "
                    "fraction of the normaliser: 0.08 is 8 %."
                )

    def norm_distances(self, landmarks: np.ndarray) -> np.ndarray:
        """(..., M) distances, one per normaliser, of landmarks (..., N, 2), in their unit.

        'box' is sqrt(w * h) of the tight box around the true landmarks (the FAN protocol), those that the annotation
        has; every other name is a pair of the scheme, NaN where one of its landmarks is missing.
        """
        columns = [
            box_size(landmarks) if name == BOX else self.scheme.distance(name, landmarks) for name in self.normalisers
        ]
        return np.stack(columns, axis=-1)


def measured(dataset: LandmarkDataset, landmarks: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """(M,) bool, the faces (M, N, 2) whose errors can be divided by every normaliser of a data set.

    Of a face with missing landmarks a normaliser may be unknown; such faces are told in a warning that names some.

    Raises:
        DataError: none can.
    """
    known = np.isfinite(dataset.norm_distances(landmarks)).all(axis=-1)
    if known.all():
        return known
    without = np.flatnonzero(~known)
    what = (
        f"{len(without)} of {len(known)} faces of '{dataset.name}' lack a landmark of a normaliser "
        f"({', '.join(dataset.normalisers)}), first '{ids[without[0]]}'"
    )
    advice = f"dataset.normalisers=[{BOX}] is known of every face"
    if not known.any():
        raise DataError(f"{what}; none is left. {advice}.")
    warnings.warn(f"{what}; they are left out. {advice}.", stacklevel=3)
    return known


def check_scored(table: FaceTable, dataset: LandmarkDataset) -> None:
    """What scoring the faces of a split would stumble over at its end.

    Raises:
        DataError: an id twice, or a face with a normalising distance that is not above zero.
    """
    counts = Counter(table.ids)
    twice = [name for name in table.ids if counts[name] > 1]
    if twice:
        raise DataError(
            f"'{dataset.name}': id '{twice[0]}' stands for {counts[twice[0]]} of {len(table)} faces that are scored; "
            "each needs its own. Prepare the set again, or correct the ids."
        )
    if not len(table):
        return
    distances = dataset.norm_distances(table.landmarks)
    rows, columns = np.nonzero(~((distances > 0) & np.isfinite(distances)))
    if len(rows):
        raise DataError(
            f"'{dataset.name}': of face '{table.ids[rows[0]]}' the distance {dataset.normalisers[columns[0]]} is "
            f"{distances[rows[0], columns[0]]} ({len(set(rows))} of {len(table)} faces like this); errors cannot be "
            "divided by it. Correct its landmarks, or choose other dataset.normalisers."
        )


def box_size(landmarks: np.ndarray) -> np.ndarray:
    """sqrt(w * h) (...,) of the tight box around landmarks (..., N, 2)."""
    box = landmark_box(landmarks)
    return np.sqrt((box[..., 2:] - box[..., :2]).prod(axis=-1))
