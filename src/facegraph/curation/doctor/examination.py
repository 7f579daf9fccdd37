"""A store under examination: what several checks need, computed once and when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from facegraph.curation.doctor.crop_prints import CropPrints, Pairs, crop_prints, similar_pairs
from facegraph.curation.doctor.findings import Finding, Level
from facegraph.curation.shape_residual import FEWEST_FACES, ShapeResiduals, shape_residuals
from facegraph.data.store.hashing import stored_hash
from facegraph.data.store.reader import FaceStore, StoreSource
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import INTER_OCULAR


class Examination:
    """A store and what was computed from it.

    Args:
        store: the store.
        workers: threads that read crops.
        quick: leave the content hash out.
        advance: called with the number of crops read since the last call, and with 0 before the first is read.
    """

    def __init__(
        self, store: FaceStore, workers: int = 1, quick: bool = False, advance: Callable[[int], None] | None = None
    ) -> None:
        self.store = store
        self.quick = quick
        self.workers = workers
        self._advance = advance or (lambda count: None)

    @property
    def frame(self) -> pd.DataFrame:
        return self.store.frame

    @cached_property
    def source(self) -> StoreSource:
        """All faces with their crops."""
        return self.store.source(np.arange(len(self.store)))

    @cached_property
    def ids(self) -> np.ndarray:
        """(M,) names of the faces."""
        return self.frame["id"].to_numpy(dtype=object)

    @cached_property
    def splits(self) -> np.ndarray:
        """(M,) names of splits."""
        return self.frame["split"].to_numpy(dtype=object)

    @cached_property
    def in_train(self) -> np.ndarray:
        """(M,) bool. A split whose name begins with "train" is trained on; all others are scored."""
        return np.array([str(name).lower().startswith("train") for name in self.splits], dtype=bool)

    @cached_property
    def usable(self) -> np.ndarray:
        """(M,) bool: landmarks are finite and do not all coincide."""
        finite = np.isfinite(self.store.landmarks).all(axis=(1, 2))
        extent = np.ptp(np.where(finite[:, None, None], self.store.landmarks, 0.0), axis=1).max(axis=-1)
        return finite & (extent > 0)

    @cached_property
    def landmark_boxes(self) -> np.ndarray:
        """(M, 4) tight boxes of the landmarks, px of the photograph."""
        return landmark_box(self.store.landmarks)

    @cached_property
    def normaliser(self) -> str:
        """Name of the distance that errors are divided by first: inter-ocular where the scheme has it."""
        names = self.store.info.scheme.normalisers
        return INTER_OCULAR if INTER_OCULAR in names else next(iter(names), "")

    def finding(
        self,
        level: Level,
        check: str,
        message: str,
        rows: np.ndarray,
        measured: np.ndarray | None = None,
        values: Mapping[str, object] | None = None,
    ) -> Finding:
        """A finding about some faces.

        Args:
            level: see Finding.
            check: name of the check.
            message: see Finding.
            rows: (K,) of the store, the clearest case first.
            measured: (K,) numbers; None for none.
            values: see Finding.
        """
        numbers = () if measured is None else tuple(round(float(value), 4) for value in measured)
        return Finding(level, check, message, self.names(rows), values or {}, numbers)

    def names(self, rows: np.ndarray) -> tuple[str, ...]:
        """Ids of rows (K,)."""
        return tuple(str(name) for name in self.ids[rows])

    @cached_property
    def prints(self) -> CropPrints:
        self._advance(0)
        return crop_prints(self.store, self.workers, self._advance, hash_shards=not self.quick)

    @cached_property
    def content_hash(self) -> str:
        """Recomputed from annotations and shards."""
        return stored_hash(self.store.path, self.frame, self.prints.shard_hashes)

    @cached_property
    def pairs(self) -> Pairs:
        """Pairs of faces that look alike."""
        return similar_pairs(self.prints)

    @cached_property
    def residuals(self) -> ShapeResiduals | None:
        """Shape residuals of all faces; None for too few faces."""
        if self.usable.sum() < FEWEST_FACES:
            return None
        return shape_residuals(self.store.landmarks)
