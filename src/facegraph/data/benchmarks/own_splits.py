"""What holds for the splits of one's own faces alone: a test set held out, photographs that two splits show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facegraph.data.entries import SHARED_PHOTOGRAPH, FaceEntry, FaceIndex, Problem
from facegraph.data.photographs import find_shared, name_photographs
from facegraph.data.splits import TEST, TRAIN, split_by_photo
from facegraph.errors import ConfigError, DataError


@dataclass(frozen=True)
class HeldOut:
    """A test set that is cut from the train faces, by photograph.

    fraction: share of the faces, in (0, 1). seed: of the choice.

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
