"""COFW as published: COFW_train_color.mat and COFW_test_color.mat, MATLAB 7.3 (HDF5), photographs inside.

Variables: IsTr, phisTr and bboxesTr in the train file; IsT, phisT and bboxesT in the test file. HDF5 has the axes of
MATLAB in reverse: phis (87, n) holds for each face 29 x, 29 y and 29 occlusion flags; bboxes (4, n) holds x, y, w, h;
Is (1, n) holds references to uint8 images, (3, W, H) or, where grey, (W, H). Coordinates are MATLAB's, 1-based.

COFW-68 annotates the test photographs again with the 68 points of iBUG (github.com/golnazghiasi/cofw68-benchmark):
test_annotations/<n>_points.mat with Points (68, 2) and Occ (68 flags), n from 1 in the order of COFW's test images, and
cofw68_test_bboxes.mat with bboxes (507, 4) as x, y, w, h. The release's own script draws both on the image without a
shift, so both are 1-based, as MATLAB's pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from facegraph.data.formats.bounds import COORDINATE_LIMIT, boxes_of_corners, check_coordinates, out_of_range
from facegraph.data.formats.files import Unusable, all_unusable
from facegraph.data.formats.matlab import numbers, read_variables
from facegraph.errors import DataError

_NEXT = "Copy the file again from its source."


def open_hdf5(path: Path) -> h5py.File:
    """The file, for reading; nothing is locked, as a disk that is mounted read-only may refuse that.

    Raises:
        DataError: not there, no HDF5 file, cut short or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file. Correct the path, or copy the file from its source.")
    try:
        return h5py.File(path, "r", locking=False)
    # h5py maps the library's errors to OSError, KeyError, RuntimeError and more, depending on what it met.
    except Exception as error:
        raise DataError(
            f"{path} is no readable HDF5 file of {path.stat().st_size} bytes, as MATLAB 7.3 writes ({error}). {_NEXT}"
        ) from error


def find_dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """A dataset that lies in the file itself, by its name.

    Raises:
        DataError: not there, or no dataset, or a link to another file.
    """
    try:
        # A link could name any file of this computer.
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{path} has no variable {name}; it has {sorted(map(str, file))[:10]}. {_NEXT}")
        found = file[name]
    except DataError:
        raise
    except Exception as error:  # see open_hdf5
        raise DataError(f"{path}, variable {name}: cannot be read ({error}). {_NEXT}") from error
    return found


def read_dataset(dataset: object, where: str, kinds: str, max_elements: int) -> np.ndarray:
    """All data of a dataset.

    Args:
        dataset: what a file or reference gave.
        where: file and variable, for the message.
        kinds: letters of the numpy dtypes that are allowed ("f", "u", "O" for references).
        max_elements: how many numbers it may have.

    Raises:
        DataError: no dataset, another type, more than max_elements, data that lie in other files or are damaged.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{where} is no dataset but {type(dataset).__name__}. {_NEXT}")
    try:
        shape, dtype, chunks = dataset.shape, dataset.dtype, dataset.chunks
        outside = dataset.is_virtual or dataset.external
        # A chunk is unpacked as a whole, so a damaged size of it counts as well.
        count = max(math.prod(shape or (0,)), math.prod(chunks or (0,)))
    except Exception as error:  # see open_hdf5
        raise DataError(f"{where}: cannot be read ({error}). {_NEXT}") from error
    if dtype.kind not in kinds or dtype.itemsize > 8 or not 0 < count <= max_elements or outside:
        raise DataError(
            f"{where}: type {dtype}, shape {shape}, chunks of {chunks}; at most {max_elements} values of kind "
            f"'{kinds}' within the file are read. {_NEXT}"
        )
    try:
        return np.asarray(dataset[()])
    except Exception as error:  # see open_hdf5
        raise DataError(f"{where}: damaged or cut short ({error}). {_NEXT}") from error


NUM_LANDMARKS, POINTS_68 = 29, 68
_SUFFIXES = {"train": "Tr", "test": "T"}
_MOST_FACES = 100_000
_MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class CofwAnnotations:
    """The n faces of a file, in its order; each has a photograph of its own.

    Attributes:
        landmarks: (n, 29, 2) float64 px, 0-based.
        hidden: (n, 29) bool.
        boxes: (n, 4) float64 x0, y0, x1, y1, px, 0-based, as written, not checked.
        split: "train" or "test".
        unusable: index -> why landmarks and hidden of a face are none.
    """

    landmarks: np.ndarray
    hidden: np.ndarray
    boxes: np.ndarray
    split: str
    unusable: Mapping[int, Unusable]


@dataclass(frozen=True)
class CofwImage:
    """A photograph within a COFW file, an entries.ImageRef.

    Attributes:
        index: 0-based, as in CofwAnnotations.
    """

    path: Path
    split: str
    index: int
    name: str

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB; grey ones are repeated.

        The file is opened on first use in each process and stays open there.

        Raises:
            DataError: not there or damaged, or no image of a size that can be.
        """
        variable = f"Is{_suffix(self.split)}"
        where = f"{self.path}, variable {variable}, image {self.index + 1}"
        file = _shared(self.path)
        references = _references(file, self.path, variable)
        if not 0 <= self.index < len(references):
            raise DataError(f"{where}: the file has {len(references)} images. {_NEXT}")
        try:
            found = file[references[self.index]]
        except Exception as error:  # h5py raises whatever the library met in damaged bytes
            raise DataError(f"{where}: cannot be found in the file ({error}). {_NEXT}") from error
        stored = read_dataset(found, where, "u", _MOST_PIXELS).T
        if stored.ndim == 2:
            stored = stored[:, :, None]
        if stored.dtype != np.uint8 or stored.ndim != 3 or stored.shape[2] not in (1, 3):
            raise DataError(
                f"{where}: type {stored.dtype}, shape {stored.shape}; 8 bits and 1 or 3 channels are read. {_NEXT}"
            )
        return np.ascontiguousarray(np.broadcast_to(stored, (*stored.shape[:2], 3)))


def read_cofw(path: Path) -> CofwAnnotations:
    """Annotations of a train or test file; no image is read.

    A face is unusable whose coordinates are not finite or beyond 1e6 px, or whose flags are other than 0 and 1.

    Raises:
        DataError: not there or not readable, no COFW file, another shape or count, or no face can be used.
    """
    with open_hdf5(path) as file:
        split = _split(file, path)
        suffix = _SUFFIXES[split]
        points = _table(file, path, f"phis{suffix}", 3 * NUM_LANDMARKS)
        boxes = _table(file, path, f"bboxes{suffix}", 4)
        images = len(_references(file, path, f"Is{suffix}"))
    if not len(points) == len(boxes) == images:
        raise DataError(f"{path}: {len(points)} faces, {len(boxes)} boxes, {images} images; all must agree. {_NEXT}")
    unusable = _unusable(points, f"{path}, variable phis{suffix}")
    if len(unusable) == len(points):
        raise DataError(all_unusable(list(unusable.values())))
    x, y, flags = np.split(points, 3, axis=1)
    boxes[:, :2] -= 1.0
    return CofwAnnotations(
        landmarks=np.stack([x, y], axis=-1) - 1.0,
        hidden=flags == 1,
        boxes=boxes_of_corners(boxes),
        split=split,
        unusable=unusable,
    )


def _unusable(points: np.ndarray, variable: str) -> dict[int, Unusable]:
    """Index of a face -> what is wrong first in its row of (n, 87)."""
    found: dict[int, Unusable] = {}
    for row, column in out_of_range(points).tolist():
        reason = (
            f"number {column + 1} is {points[row, column]:g}; finite numbers within {COORDINATE_LIMIT:g} are needed. "
            f"{_NEXT}"
        )
        found.setdefault(row, Unusable(f"{variable}, face {row + 1}", reason))
    flags = points[:, 2 * NUM_LANDMARKS :]
    for row, column in np.argwhere(~np.isin(flags, (0, 1))).tolist():
        reason = f"landmark {column + 1} has occlusion flag {flags[row, column]:g}; 0 or 1 is needed. {_NEXT}"
        found.setdefault(row, Unusable(f"{variable}, face {row + 1}", reason))
    return found


def _suffix(split: str) -> str:
    if split not in _SUFFIXES:
        raise DataError(f"split '{split}' is unknown to COFW; it has {list(_SUFFIXES)}.")
    return _SUFFIXES[split]


def _split(file: h5py.File, path: Path) -> str:
    try:
        found = [split for split, suffix in _SUFFIXES.items() if f"phis{suffix}" in file]
        names = sorted(map(str, file))[:10]
    except Exception as error:  # h5py raises whatever the library met in damaged bytes
        raise DataError(f"{path}: its list of variables cannot be read ({error}). {_NEXT}") from error
    if len(found) != 1:
        raise DataError(
            f"{path} has the variables {names}; one of phisTr (train) and phisT (test) is needed. Take "
            "COFW_train_color.mat or COFW_test_color.mat."
        )
    return found[0]


def _table(file: h5py.File, path: Path, name: str, columns: int) -> np.ndarray:
    """(n, columns) float64 of a variable that is stored as (columns, n)."""
    values = read_dataset(find_dataset(file, path, name), f"{path}, variable {name}", "fiu", _MOST_FACES * columns)
    if values.ndim != 2 or len(values) != columns:
        raise DataError(f"{path}, variable {name}: shape {values.shape}; ({columns}, faces) is needed. {_NEXT}")
    return values.T.astype(np.float64)


def _references(file: h5py.File, path: Path, name: str) -> np.ndarray:
    """(n,) references to the images."""
    dataset = find_dataset(file, path, name)
    where = f"{path}, variable {name}"
    references = read_dataset(dataset, where, "O", _MOST_FACES)
    if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference or references.ndim != 2 or 1 not in references.shape:
        raise DataError(
            f"{where}: type {dataset.dtype}, shape {references.shape}; references (1, n) are needed. {_NEXT}"
        )
    return references.reshape(-1)


_handles: dict[Path, tuple[tuple[int, int, int], h5py.File]] = {}


def _shared(path: Path) -> h5py.File:
    """The one file that this process holds open. A handle does not pass a fork, and does not outlive a new file."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error}. Copy it back to its place.") from error
    key = (os.getpid(), state.st_mtime_ns, state.st_size)
    held = _handles.get(path)
    if held is not None and held[0] == key:
        return held[1]
    # Before the new one is opened: HDF5 takes a file that was overwritten in place for the one it still holds.
    del held
    _handles.clear()
    _handles[path] = key, open_hdf5(path)
    return _handles[path][1]


def read_cofw68_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (68, 2) float64 px, 0-based, and which of them are hidden, (68,) bool.

    Raises:
        DataError: not there or not readable, a variable is missing or has another shape, coordinates that are not
            finite or beyond 1e6 px, flags other than 0 and 1.
    """
    variables = read_variables(path, ("Points", "Occ"))
    points = numbers(path, variables, "Points")
    if points.shape != (POINTS_68, 2):
        raise DataError(f"{path}, variable Points: shape {points.shape}; ({POINTS_68}, 2) is needed. {_NEXT}")
    check_coordinates(points, f"{path}, variable Points", "point")
    flags = numbers(path, variables, "Occ")
    if flags.size != POINTS_68 or not np.isin(flags, (0, 1)).all():
        raise DataError(
            f"{path}, variable Occ: shape {flags.shape}, values {np.unique(flags)[:5].tolist()}; {POINTS_68} flags "
            f"0 or 1 are needed. {_NEXT}"
        )
    return points - 1.0, flags.reshape(-1) == 1


def read_cofw68_boxes(path: Path) -> np.ndarray:
    """(n, 4) float64 face boxes x0, y0, x1, y1, px, 0-based, in the order of COFW's test images; as written, unchecked.

    Raises:
        DataError: not there or not readable, or another shape.
    """
    where = f"{path}, variable bboxes"
    boxes = numbers(path, read_variables(path, ("bboxes",)), "bboxes")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise DataError(f"{where}: shape {boxes.shape}; (number of images, 4) is needed. {_NEXT}")
    return boxes_of_corners(boxes - np.array([1.0, 1.0, 0.0, 0.0]))
