"""The splits of one's own faces: which names there may be, which one validates, and what is cut by photograph."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from facegraph.errors import ConfigError, DataError

TRAIN, VAL, TEST = "train", "val", "test"
USUAL = (TRAIN, VAL, TEST)


def check_splits(found: Iterable[str], allowed: Collection[str], places: Sequence[str], advice: str) -> None:
    """Raise if a split is none of those that are allowed: a mistyped name would take its faces away.

    Args:
        found: M names. places: M texts that name the row, for the message. advice: what to do if the name is meant.

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
        present: splits of the data set. place: file or store, for messages.

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
