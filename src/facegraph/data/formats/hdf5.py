"""HDF5 files (MATLAB 7.3 among them): opened for reading, and datasets whose sizes were checked before their data."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

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
