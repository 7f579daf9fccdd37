"""The faces of one split of a store, as a recipe would cut them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facegraph.data.augment import Augmentation
from facegraph.data.boxes import BoxPolicy
from facegraph.data.faces import FaceSubset
from facegraph.data.pipeline import FaceCrop, FacePipeline, Placement
from facegraph.data.source import sample_at
from facegraph.data.store.reader import FaceStore
from facegraph.data.warp import warp
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import transform_points
from facegraph.geometry.procrustes import procrustes
from facegraph.landmarks import LandmarkScheme
from facegraph.viz.numbers import landmark_sides, side_colours


@dataclass(frozen=True)
class StoreView:
    """Faces of a split, numbered from 0, and the two ways they are cut out: as trained on and as scored.

    Faces whose landmarks are not all finite or all coincide are left out: there is nothing to cut out around.

    Args:
        store: the prepared store.
        split: whose faces.
        box: which box they are cut out around.
        augmentation: random changes in training.
        input_size: side of the crop, px.
        seed: of all draws.

    Raises:
        ConfigError: input_size below 16, or seed below 0.
        DataError: the store has no such split or no usable face in it, or a face lacks the box that the policy needs.
    """

    store: FaceStore
    split: str
    box: BoxPolicy
    augmentation: Augmentation
    input_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.input_size < 16:
            raise ConfigError(f"input size is {self.input_size} px; 16 or more are needed. 256 is usual.")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; 0 or more is needed.")
        _ = self.scored  # a missing split or box is told now, not halfway through the sheets

    @property
    def scheme(self) -> LandmarkScheme:
        return self.store.info.scheme

    @cached_property
    def rows(self) -> np.ndarray:
        """(M,) rows of the split's usable faces in the store."""
        rows = self.store.rows(self.split)
        landmarks = self.store.landmarks[rows]
        usable = np.isfinite(landmarks).all(axis=(1, 2))
        usable[usable] = (np.ptp(landmarks[usable], axis=1) > 0).any(axis=-1)
        if not usable.any():
            raise DataError(
                f"{self.store.path}: none of the {len(rows)} faces of '{self.split}' has finite landmarks that differ. "
                "Look at the annotations: facegraph doctor " + str(self.store.path)
            )
        return rows[usable]

    @property
    def left_out(self) -> int:
        """Number of the split's faces that are not usable."""
        return len(self.store.rows(self.split)) - len(self.rows)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(M, N, 2) float64 px of the photograph."""
        return self.store.landmarks[self.rows]

    @cached_property
    def mean_shape(self) -> np.ndarray:
        """(N, 2) Procrustes mean: centred, unit norm, upright if the faces are."""
        return procrustes(self.landmarks)[1]

    @cached_property
    def colours(self) -> np.ndarray:
        """(N, 3) RGB of the landmarks by their side of the face."""
        return side_colours(landmark_sides(self.scheme, self.mean_shape))

    @cached_property
    def trained_on(self) -> FaceSubset:
        """The faces with the boxes that training starts from."""
        return self._subset(scored=False)

    @cached_property
    def scored(self) -> FaceSubset:
        """The faces with the boxes that validation and test use."""
        return self._subset(scored=True)

    def _subset(self, scored: bool) -> FaceSubset:
        source = self.store.source(self.rows)
        return FaceSubset(source, np.arange(len(self.rows)), self.box, scored=scored)

    @cached_property
    def _plain_pipeline(self) -> FacePipeline:
        return FacePipeline(self.scheme, self.input_size, self.box)

    @cached_property
    def _augmenting_pipeline(self) -> FacePipeline:
        return FacePipeline(self.scheme, self.input_size, self.box, self.augmentation)

    def plain(self, face: int) -> FaceCrop:
        """The crop of a face as the network sees it when it is scored, before normalisation."""
        return self._plain_pipeline.crop(sample_at(self.scored, face))

    def plain_place(self, face: int) -> Placement:
        """Where plain(face) lies, without its pixels."""
        return self._plain_pipeline.place(self.scored.table.boxes[face], self.landmarks[face])

    def augmented(self, face: int, draw: int) -> FaceCrop:
        """One draw of a face as the network sees it in training; the same (seed, face, draw) gives the same crop."""
        return self._augmenting_pipeline.crop(sample_at(self.trained_on, face), self._rng(face, draw))

    def augmented_place(self, face: int, draw: int) -> Placement:
        """Where augmented(face, draw) lies, without its pixels."""
        boxes = self.trained_on.table.boxes
        return self._augmenting_pipeline.place(boxes[face], self.landmarks[face], self._rng(face, draw))

    def _rng(self, face: int, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, draw, face])

    def stored(self, face: int, stored_to_tile: np.ndarray, size: int) -> FaceCrop:
        """The stored crop of a face under a matrix (3, 3) from its px to those of a tile of side size."""
        image_to_tile = stored_to_tile @ self.scored.image_to_stored(face)
        image = warp(self.scored.image(face), stored_to_tile, size)
        return FaceCrop(image, transform_points(image_to_tile, self.landmarks[face]), image_to_tile)

    def around(self, face: int, image_to_tile: np.ndarray, size: int) -> FaceCrop:
        """The stored crop of a face under a matrix (3, 3) from px of the photograph to those of a tile."""
        return self.stored(face, image_to_tile @ np.linalg.inv(self.scored.image_to_stored(face)), size)

    def hidden(self, face: int) -> np.ndarray:
        """(N,) bool, landmarks marked as occluded; all False where that is not annotated."""
        marks = self.store.frame["hidden"].iloc[self.rows[face]] if "hidden" in self.store.frame else None
        unknown = marks is None or np.ndim(marks) == 0
        return np.zeros(self.scheme.num_landmarks, dtype=bool) if unknown else np.asarray(marks, dtype=bool)

    def caption(self, face: int, first_line: str | None = None) -> str:
        """Two lines: a text of the caller's or the subsets that the face belongs to, then its id."""
        table = self.scored.table
        names = [n for n, has in zip(table.attribute_names, table.attributes[face], strict=True) if has]
        return f"{', '.join(names) or '-' if first_line is None else first_line}\n{table.ids[face]}"

    def choose(self, count: int, among: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Up to count faces drawn at random, the same ones for the same seed, in their order.

        Raises:
            ConfigError: count below 1.
        """
        if count < 1:
            raise ConfigError(f"count is {count}; at least 1 face is needed.")
        faces = np.arange(len(self.rows)) if among is None else np.asarray(among)
        rng = np.random.default_rng(self.seed)
        return np.sort(rng.choice(faces, size=min(count, len(faces)), replace=False))
