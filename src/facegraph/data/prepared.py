"""A benchmark from a prepared store: which of its splits are trained on and scored, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from facegraph.data.source import LandmarkDataset, Thresholds, measured
from facegraph.data.splits import find_shared, find_validation, tell_shared
from facegraph.data.store.layout import EXIF_APPLIED, INFO_FILE, read_info
from facegraph.data.store.photograph import ROTATED
from facegraph.data.store.reader import FaceStore, StoreSource
from facegraph.errors import DataError
from facegraph.landmarks import BOX, LandmarkScheme


class PreparedDataset(LandmarkDataset):
    """A store written by `facegraph prepare`.

    Args:
        root: folder of the store.
        name: of the data set, as results print it and as `facegraph prepare` knows it, which a benchmark's store must
            agree with; None for the store's own.
        scheme: numbering of the landmarks, which the store's must agree with; None for the store's own.
        train_split: split to train on; None for a data set that is only scored.
        test_split: split to score.
        val_split: split that validates; None for val, where the store has it, else validation is cut from train.
        test_subset: attribute; only the faces of the test split that have it are scored. None for all.
        attributes: subsets to report, none if empty; None for all that some scored face belongs to.
        normalisers: see LandmarkDataset; None for all of the scheme, then the box.
        thresholds: see LandmarkDataset; None for its own.
        allow_shared_photographs: of a set of one's own, which has no official counts: warn of photographs that more
            than one of these splits shows, instead of refusing to train. Official sets are trained on as they are.

    Raises (when a split is opened, or at once where name or scheme are the store's own):
        DataError: no store there, or without that split or attribute, or of another scheme.
    """

    def __init__(
        self,
        root: str | Path,
        name: str | None = None,
        scheme: LandmarkScheme | None = None,
        train_split: str | None = "train",
        test_split: str = "test",
        val_split: str | None = None,
        test_subset: str | None = None,
        attributes: Sequence[str] | None = None,
        normalisers: Sequence[str] | None = None,
        thresholds: Thresholds | None = None,
        allow_shared_photographs: bool = False,
    ) -> None:
        self.root = Path(root).expanduser()
        if name is None or scheme is None:
            info = read_info(self.root)
            name, scheme = name or info.dataset, scheme or info.scheme
        self.name = name
        self.scheme = scheme
        self.train_split = train_split
        self.test_split = test_split
        self.val_split = val_split
        self.allow_shared_photographs = allow_shared_photographs
        self.test_subset = test_subset
        self.attributes = None if attributes is None else tuple(attributes)
        self.normalisers = (*scheme.normalisers, BOX) if normalisers is None else tuple(normalisers)
        if thresholds is not None:
            self.thresholds = thresholds
        self.check_protocol()
        self.test_name = test_split if test_subset is None else f"{test_split}/{test_subset}"

    @property
    def exists(self) -> bool:
        return (self.root / INFO_FILE).is_file()

    @cached_property
    def store(self) -> FaceStore:
        if not self.exists:
            raise DataError(
                f"there is no prepared store of '{self.name}' at {self.root.absolute()}. Make it once from the "
                f"publisher's files: facegraph prepare {self.name} --source <folder as downloaded> --out {self.root}. "
                "If it lies elsewhere, set dataset.root=<store>."
            )
        store = FaceStore(self.root)
        if store.info.dataset != self.name and store.info.official_counts:
            raise DataError(
                f"{self.root} holds {store.info.dataset}, but results would be named '{self.name}'. Choose dataset="
                f"{store.info.dataset}, or set dataset.root to a store of {self.name}."
            )
        if store.info.scheme.flip != self.scheme.flip:
            raise DataError(
                f"{self.root} holds {store.info.dataset} in scheme '{store.info.scheme.name}' "
                f"({store.info.scheme.num_landmarks} landmarks), but the configuration says '{self.scheme.name}' "
                f"({self.scheme.num_landmarks}). Set dataset.root to a store of {self.scheme.name}, or dataset.scheme."
                "name_or_path to the store's scheme."
            )
        store.check()
        return store

    @property
    def exif_applied(self) -> bool:
        info = self.store.info
        return info.crop.exif == EXIF_APPLIED and bool(info.photographs.get(ROTATED))

    def images_fingerprint(self, ids: Sequence[str]) -> str:
        return self.store.info.content_hash[:12]

    def train(self) -> StoreSource:
        if self.train_split is None:
            raise DataError(
                f"data set '{self.name}' has no faces to train on; it scores runs of others: "
                "python eval.py run=<run> dataset=" + self.name
            )
        self._tell_shared(self.allow_shared_photographs)
        return self._open(self.train_split, None)

    def val(self) -> StoreSource | None:
        return None if self.val_name is None else self._open(self.val_name, None)

    @property
    def val_name(self) -> str | None:
        present = set(self.store.frame["split"])
        return find_validation(self.val_split, present, self.train_split, self.test_split, str(self.root))

    @property
    def shared_photographs(self) -> int:
        return len(self._shared)

    def _tell_shared(self, allowed: bool) -> None:
        names = self.store.frame["image"].to_numpy(dtype=object)
        tell_shared(self._shared, str(self.root), lambda row: f"'{names[row]}'", allowed)

    @cached_property
    def _shared(self) -> list[dict[str, int]]:
        if self.store.info.official_counts or self.train_split is None:
            return []
        photos, splits = (self.store.frame[name].to_numpy(dtype=object) for name in ("photo", "split"))
        return find_shared(photos, splits, [s for s in (self.train_split, self.val_name, self.test_split) if s])

    def test(self) -> StoreSource:
        self._tell_shared(allowed=True)
        return self._open(self.test_split, self.test_subset)

    def wider_pictures(self, factor: float) -> str:
        """See LandmarkDataset."""
        scale = math.ceil(10 * self.store.info.crop.scale * factor - 0.01) / 10
        return f", or prepare the set again with --scale {scale:g}"

    def _open(self, split: str, subset: str | None) -> StoreSource:
        attributes = self._occurring if self.attributes is None else self.attributes
        rows = self.store.rows(split, subset)
        rows = rows[measured(self, self.store.landmarks[rows], self.store.frame["id"].iloc[rows].tolist())]
        return self.store.source(rows, attributes)

    @cached_property
    def _occurring(self) -> tuple[str, ...]:
        flags = self.store.attributes[self.store.rows(self.test_split, self.test_subset)].any(axis=0)
        return tuple(name for name, occurs in zip(self.store.info.attributes, flags, strict=True) if occurs)
