"""Which files show one photograph, and which photographs lie in more than one split."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from facegraph.data.store.hashing import file_hash
from facegraph.errors import DataError

_SAMPLE = 4096


def name_photographs(files: Sequence[Path | None], photos: Iterable[str]) -> np.ndarray:
    """Names (M,) of photographs in which the same photograph has one name, the first in the alphabet.

    Photographs are the same where they have one name, where their files are one (by a link, or by another way to write
    its path), and where files have the same bytes. Only files of equal size are read. A picture that was saved again in
    another size or format is another photograph here; facegraph doctor looks for such.

    Args:
        files: M image files; None where there is none.
        photos: M names.
    """
    photos = list(photos)
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    names: dict[Path, set[str]] = {}
    for file, photo in zip(files, photos, strict=True):
        if file is not None:
            names.setdefault(file, set()).add(photo)
    for same in _same_files(names):
        first, *others = sorted({root(photo) for file in same for photo in names[file]})
        parent |= dict.fromkeys(others, first)
    return np.array([root(photo) for photo in photos], dtype=object)


def _same_files(files: Iterable[Path]) -> list[list[Path]]:
    """Groups of files of the same content; every file is in one."""
    stated: dict[Hashable, list[Path]] = {}
    for file in files:
        stated.setdefault(_identity(file), []).append(file)
    groups = [[same[0] for same in stated.values()]]
    for key in (_size, _sample, file_hash):
        groups = [part for group in groups for part in (_parted(group, key) if len(group) > 1 else [group])]
    others = {same[0]: same for same in stated.values()}
    return [[file for first in group for file in others[first]] for group in groups]


def _parted(group: Sequence[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """A group parted by a key; a file that cannot be read is a part of its own."""
    parts: dict[Hashable, list[Path]] = {}
    for file in group:
        try:
            parts.setdefault(key(file), []).append(file)
        except OSError:
            parts[file] = [file]
    return list(parts.values())


def _identity(file: Path) -> Hashable:
    try:
        state = file.stat()
    except OSError:
        return file
    return state.st_dev, state.st_ino


def _size(file: Path) -> int:
    return file.stat().st_size


def _sample(file: Path) -> bytes:
    """Bytes from the middle: where two pictures of one size and format differ, if they do."""
    with file.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _SAMPLE) // 2)
        return stream.read(_SAMPLE)


def find_shared(photos: np.ndarray, splits: np.ndarray, used: Sequence[str]) -> list[dict[str, int]]:
    """Of each photograph that more than one of the used splits shows: split -> the first row of it.

    Args:
        photos, splits: (M,) names.
    """
    rows: dict[str, dict[str, int]] = {}
    for row in np.flatnonzero(np.isin(splits.astype(str), list(used))):
        rows.setdefault(photos[row], {}).setdefault(splits[row], int(row))
    return [found for found in rows.values() if len(found) > 1]


def tell_shared(shared: Sequence[dict[str, int]], place: str, describe: Callable[[int], str], allowed: bool) -> None:
    """Refuse photographs that several splits show; a warning if that is allowed.

    Args:
        shared: as find_shared gives it. place: file or store. describe: a row in words.

    Raises:
        DataError: there are some, and they are not allowed.
    """
    if not shared:
        return
    told = "; ".join(" and ".join(f"{split}: {describe(row)}" for split, row in rows.items()) for rows in shared[:3])
    more = "; ..." if len(shared) > 3 else ""
    message = (
        f"{place}: {len(shared)} photograph(s) are in more than one split ({told}{more}), so that scores on them are "
        "too good."
    )
    if not allowed:
        raise DataError(
            f"{message} Keep all faces of a photograph in one split. To train all the same, and have the protocol card "
            "count them: dataset.allow_shared_photographs=true"
        )
    warnings.warn(message, stacklevel=1)  # of one place, so that train and test tell it once
