"""Faces as a torch data set: a source of faces, a pipeline, and randomness that depends on the draw alone."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from facegraph.data.pipeline import FacePipeline
from facegraph.data.sampler import Draw
from facegraph.data.source import FaceSource, FaceTable, sample_at
from facegraph.structures import FaceBatch


class FaceSubset:
    """Some rows of a source, numbered anew from 0."""

    def __init__(self, source: FaceSource, rows: np.ndarray) -> None:
        self._source = source
        self._rows = np.asarray(rows, dtype=np.int64)
        self._table = select_rows(source.table, self._rows)

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return self._source.image(int(self._rows[index]))


def select_rows(table: FaceTable, rows: np.ndarray) -> FaceTable:
    return FaceTable(
        ids=tuple(table.ids[row] for row in rows),
        photos=tuple(table.photos[row] for row in rows),
        landmarks=table.landmarks[rows],
        boxes=table.boxes[rows],
        attributes=table.attributes[rows],
        attribute_names=table.attribute_names,
    )


class Faces(Dataset[FaceBatch]):
    """Items of a batch by draw.

    Args:
        source: the faces.
        pipeline: from a sample to an item; with an augmentation for training.
        norm_distances: (len(source), M) image px.
        seed: the augmentation of a draw is a pure function of (seed, draw number, row): workers, ranks and a resume
            change nothing. None for evaluation, where the draw number is ignored.
    """

    def __init__(
        self, source: FaceSource, pipeline: FacePipeline, norm_distances: np.ndarray, seed: int | None = None
    ) -> None:
        self.source = source
        self.pipeline = pipeline
        self.norm_distances = norm_distances.astype(np.float32)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source.table)

    def __getitem__(self, draw: Draw | int) -> FaceBatch:
        """One item without the batch dimension; a bare row (Lightning's overfit_batches) is its draw number 0."""
        index, number = draw if isinstance(draw, Draw) else Draw(draw, 0)
        rng = None if self.seed is None else np.random.default_rng([self.seed, number, index])
        return self.pipeline.item(sample_at(self.source, index), index, self.norm_distances[index], rng)
