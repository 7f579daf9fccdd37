"""Files of torch.save and numpy.save that anybody may have written: tensors and plain values, never code.

What cannot be read raises an OSError (not there, no file) or a ValueError (anything else).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facegraph.files.plain_files import check_file


def load(path: Path) -> Any:
    """What torch.save wrote, on the CPU. Tensors are dense, and have no more numbers than the file holds.

    Raises:
        OSError: not there, not readable, no file. ValueError: anything but plain values and tensors, damaged, or a file
            that unpacks to more than its size.
    """
    check_file(path)
    try:
        _check_unpacked(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError):
        raise
    except Exception as error:  # the reader is a machine for any program of pickle: a damaged one fails in any way
        first = next(iter(str(error).strip().splitlines()), "")
        raise ValueError(f"{type(error).__name__}: {first[:300]}") from error
    _check_tensors(found)
    return found


def load_array(path: Path, max_bytes: int) -> np.ndarray:
    """An array of real numbers that numpy.save wrote.

    Raises:
        OSError: not there, not readable, no file. ValueError: larger than max_bytes, damaged, or other than numbers.
    """
    check_file(path, max_bytes)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header may state more than there is
    except (OSError, ValueError):
        raise
    except Exception as error:  # the header is Python's text of a dictionary, and fails as such
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        what = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        raise ValueError(f"{path} holds {what}, no array of real numbers")
    return np.array(found)


def _check_unpacked(path: Path) -> None:
    """torch stores its parts as they are; packed or overlapping ones could hold any amount."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except Exception as error:  # of damaged archives
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if size > path.stat().st_size:
        raise ValueError(f"its parts unpack to {size} bytes, more than the {path.stat().st_size} of the file")


def _check_tensors(found: Any) -> None:
    """Raises ValueError for a tensor that is sparse or repeats its numbers, so that a copy could have any size."""
    pending, seen = [found], set()
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            dense = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
            if not dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of shape {tuple(value.shape)} that is not stored number by number")
        elif isinstance(value, Mapping | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))
            pending += [*value, *value.values()] if isinstance(value, Mapping) else [*value]
