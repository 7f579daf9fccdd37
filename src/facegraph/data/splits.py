"""The splits of one's own faces: their names, what is cut by photograph, photographs that more than one shows."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facegraph.data.entries import SHARED_PHOTOGRAPH, FaceEntry, FaceIndex, Problem
from facegraph.data.store.hashing import file_hash
from facegraph.errors import ConfigError, DataError

TRAIN, VAL, TEST = "train", "val", "test"
USUAL = (TRAIN, VAL, TEST)


def check_splits(found: Iterable[str], allowed: Collection[str], places: Sequence[str], advice: str) -> None:
    """Raise if a split is none of those that are allowed: a mistyped name would take its faces away.

    Args:
        found: M names.
        places: M texts that name the row, for the message.
        advice: what to do if the name is meant.

    Raises:
        DataError: names the first such row and what was probably meant.
    """
    found = list(found)
    strange = [row for row, name in enumerate(found) if name not in allowed]
    if not strange:
        return
    name = found[strange[0]]
    near = difflib.get_close_matches(name.strip().lower(), allowed, n=1)
    raise DataError(
        f"{places[strange[0]]}: split '{name}' is none of {', '.join(dict.fromkeys(allowed))} "
        f"({sum(other == name for other in found)} row(s) like this). "
        + (f"Did you mean '{near[0]}'? " if near else "")
        + f"Correct column 'split'. {advice.format(name=name)}"
    )


def find_validation(
    asked: str | None, present: Collection[str], train_split: str | None, test_split: str, place: str
) -> str | None:
    """The split that validates; None where there is none, so that validation is cut from train.

    Args:
        asked: its name; None for "val" where it is present and has no other part.
        present: splits of the data set.
        place: file or store, for messages.

    Raises:
        ConfigError: the split that trains or is scored is asked for.
        DataError: there is no such split.
    """
    if asked is None:
        return VAL if VAL in present and VAL not in (train_split, test_split) else None
    if asked in (train_split, test_split):
        raise ConfigError(
            f"dataset.val_split={asked} is the split that {'trains' if asked == train_split else 'is scored'}. Name "
            "another one, or leave it out: validation is then cut from train."
        )
    if asked not in present:
        raise DataError(
            f"{place} has no faces of split '{asked}' for validation; its splits are {', '.join(sorted(present))}. Set "
            "dataset.val_split to one of them, or leave it out: validation is then cut from train."
        )
    return asked


def split_by_photo(photos: Sequence[str], val_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train_rows, val_rows), both sorted: whole photographs on one side, val as near to val_fraction as they allow.

    Each side gets at least one photograph, except that a val_fraction of 0 leaves val empty. The photographs that go
    to val depend on the set of names and the seed, not on the order of the rows.

    Args:
        photos: M names of photographs, one per face.
        val_fraction: share of faces for val, in [0, 1).
        seed: of the choice.

    Raises:
        ConfigError: a fraction out of range, or fewer than two photographs to split.
    """
    if not 0 <= val_fraction < 1:
        raise ConfigError(f"val_fraction is {val_fraction}; it must lie in [0, 1). 0 trains on all faces.")
    everything = np.arange(len(photos))
    if val_fraction == 0:
        return everything, everything[:0]
    names, group, counts = np.unique(np.asarray(photos, dtype=object), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ConfigError(
            f"val_fraction is {val_fraction} but the training set shows {len(names)} photograph(s); faces of one "
            "photograph stay together, so two are needed. Set val_fraction to 0, or check photo_pattern."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    reached = np.cumsum(counts[order])[:-1]
    cut = 1 + int(np.argmin(np.abs(reached - val_fraction * len(photos))))
    in_val = np.isin(group, order[:cut])
    return everything[~in_val], everything[in_val]


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
        shared: as find_shared gives it.
        place: file or store.
        describe: a row in words.

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


@dataclass(frozen=True)
class HeldOut:
    """A test set that is cut from the train faces, by photograph.

    Attributes:
        fraction: share of the faces, in (0, 1).
        seed: of the choice.

    Raises:
        ConfigError: a fraction out of range.
    """

    fraction: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ConfigError(f"--test-fraction {self.fraction:g} must lie between 0 and 1. 0.1 is usual.")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed} must be 0 or more.")

    @property
    def description(self) -> str:
        return f"test set cut by photograph, fraction {self.fraction:g}, seed {self.seed}"


def check_no_test(present: Collection[str], where: str) -> None:
    """Raise if there is a test set besides the one that is to be held out, or nothing to cut it from.

    Raises:
        ConfigError: there is a test set, or no train faces.
    """
    if TEST in present:
        raise ConfigError(f"{where}: there is a test set. Leave --test-fraction out to use it.")
    if TRAIN not in present:
        raise ConfigError(f"{where}: there are no train faces that --test-fraction could cut a test set from.")


def finish_own(index: FaceIndex, held_out: HeldOut | None) -> FaceIndex:
    """An index in which each photograph has one name, with a test set held out; photographs of two splits are problems.

    Raises:
        DataError: a test set is to be cut from fewer than two photographs.
    """
    files: list[Path | None] = [getattr(face.image, "path", None) for face in index.faces]
    photos = name_photographs(files, [face.photo for face in index.faces])
    faces = [replace(face, photo=photo) for face, photo in zip(index.faces, photos, strict=True)]
    if held_out is not None:
        faces = _hold_out(faces, held_out)
    splits = np.array([face.split for face in faces], dtype=object)
    problems = [
        Problem(
            SHARED_PHOTOGRAPH,
            ", ".join(rows),
            faces[next(iter(rows.values()))].image.name,
            "; ".join(
                f"{faces[row].where}: image '{faces[row].image.name}' in '{split}'" for split, row in rows.items()
            )
            + ". They show the same photograph. Keep all faces of a photograph in one split.",
        )
        for rows in find_shared(photos, splits, sorted(set(splits)))
    ]
    return FaceIndex(tuple(faces), (*index.problems, *problems))


def _hold_out(faces: list[FaceEntry], held_out: HeldOut) -> list[FaceEntry]:
    train = [row for row, face in enumerate(faces) if face.split == TRAIN]
    photos = [faces[row].photo for row in train]
    if len(set(photos)) < 2:
        raise DataError(
            f"--test-fraction {held_out.fraction:g}: the train faces show {len(set(photos))} photograph(s), and all "
            "faces of one stay together. Two are needed."
        )
    for chosen in split_by_photo(photos, held_out.fraction, held_out.seed)[1]:
        faces[train[chosen]] = replace(faces[train[chosen]], split=TEST)
    return faces
