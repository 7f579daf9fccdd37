"""Validation cut from the training set by photograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facegraph.errors import ConfigError


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
