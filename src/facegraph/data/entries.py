"""A face as its publisher's files describe it, before any pixel was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from facegraph.data.images import read_image

MISSING_IMAGE, UNREADABLE_IMAGE, DOUBTFUL_IMAGE = "missing image", "unreadable image", "doubtful image"
BAD_ANNOTATION, BAD_BOX, MISSING_LANDMARKS = "bad annotation", "bad box", "missing landmarks"
MISSING_PART, UNREADABLE_FOLDER = "missing part", "unreadable folder"
SHARED_PHOTOGRAPH, OTHER_CATEGORY, NOTE = "shared photograph", "other category", "note"


def to_storable(text: str) -> str:
    r"""A text for files: bytes of a name that are no UTF-8 become \udcff and the like, which parquet and json take."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class ImageRef(Protocol):
    """A photograph that can be read later, perhaps in another process; cheap to pickle."""

    @property
    def name(self) -> str:
        """Names the photograph within its data set, the same on every machine; '/' between folders."""
        ...

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as stored (no EXIF rotation).

        Raises:
            DataError: not there or not readable.
        """
        ...


@dataclass(frozen=True)
class FileImage:
    """A photograph in a file of its own.

    Attributes:
        where: file and line that name it, for messages.
    """

    path: Path
    name: str
    where: str

    def __post_init__(self) -> None:
        _make_storable(self, "name", "where")

    def read(self) -> np.ndarray:
        return read_image(self.path, self.where)


@dataclass(frozen=True)
class FaceEntry:
    """One annotated face of a benchmark.

    Attributes:
        id: unique within the data set.
        image: the photograph.
        photo: its name; faces of one photo stay on one side of a split.
        split: as the publisher names it ("train", "test", ...).
        landmarks: (N, 2) float64 px of the photograph as it was marked, which is as stored, or upright where a store
            applies EXIF; 0-based, integers at pixel centres; NaN where the annotation has none.
        where: file and line of the annotation.
        box: (4,) float64 x0, y0, x1, y1 in the same px as the publisher gives it, None where there is none.
        attributes: name -> flag.
        values: name -> number, such as the yaw in degrees.
        hidden: (N,) bool, landmarks marked as occluded; None where that is not annotated.
        marked_size: width and height in px of the photograph as it was marked, which prepare compares with the file;
            None where the publisher does not state it.
    """

    id: str
    image: ImageRef
    photo: str
    split: str
    landmarks: np.ndarray
    where: str
    box: np.ndarray | None = None
    attributes: Mapping[str, bool] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    hidden: np.ndarray | None = None
    marked_size: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _make_storable(self, "id", "photo", "split", "where")


@dataclass(frozen=True)
class Problem:
    """Something in the source that cannot be used; the rest of the set can.

    Attributes:
        kind: one of the kinds at the top of this module; a missing part is a whole list, folder or archive, a note says
            how something was read.
        split: that it belongs to, "" where unknown.
        name: file or image.
        message: what is wrong and what to do.
        optional: the benchmark is complete without it, so that --strict passes over it.
    """

    kind: str
    split: str
    name: str
    message: str
    optional: bool = False

    def __post_init__(self) -> None:
        _make_storable(self, "split", "name", "message")


def _make_storable(entry: object, *names: str) -> None:
    for name in names:
        text = getattr(entry, name)
        if not text.isascii():
            object.__setattr__(entry, name, to_storable(text))


@dataclass(frozen=True)
class FaceIndex:
    """All faces that a source describes, in the publisher's order, and what was wrong with the others."""

    faces: tuple[FaceEntry, ...]
    problems: tuple[Problem, ...] = ()
