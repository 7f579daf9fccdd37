"""A benchmark from a prepared store: which of its splits are trained on and scored, and how."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from facegraph.data.source import LandmarkDataset, Thresholds
from facegraph.data.store.layout import INFO_FILE, read_info
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
        test_subset: attribute; only the faces of the test split that have it are scored. None for all.
        attributes: subsets to report, none if empty; None for all that some scored face belongs to.
        normalisers: see LandmarkDataset; None for all of the scheme, then the box. thresholds: see LandmarkDataset.

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
        test_subset: str | None = None,
        attributes: Sequence[str] | None = None,
        normalisers: Sequence[str] | None = None,
        thresholds: Thresholds = (0.08, 0.10),
    ) -> None:
        self.root = Path(root).expanduser()
        if name is None or scheme is None:
            info = read_info(self.root)
            name, scheme = name or info.dataset, scheme or info.scheme
        self.name = name
        self.scheme = scheme
        self.train_split = train_split
        self.test_split = test_split
        self.test_subset = test_subset
        self.attributes = None if attributes is None else tuple(attributes)
        self.normalisers = (*scheme.normalisers, BOX) if normalisers is None else tuple(normalisers)
        self.thresholds = thresholds
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
        return store

    def images_fingerprint(self, ids: Sequence[str]) -> str:
        return self.store.info.content_hash[:12]

    def train(self) -> StoreSource:
        if self.train_split is None:
            raise DataError(
                f"data set '{self.name}' has no faces to train on; it scores runs of others: "
                "python eval.py run=<run> dataset=" + self.name
            )
        return self._open(self.train_split, None)

    def test(self) -> StoreSource:
        return self._open(self.test_split, self.test_subset)

    def _open(self, split: str, subset: str | None) -> StoreSource:
        attributes = self._occurring if self.attributes is None else self.attributes
        return self.store.source(self.store.rows(split, subset), attributes)

    @cached_property
    def _occurring(self) -> tuple[str, ...]:
        flags = self.store.attributes[self.store.rows(self.test_split, self.test_subset)].any(axis=0)
        return tuple(name for name, occurs in zip(self.store.info.attributes, flags, strict=True) if occurs)
