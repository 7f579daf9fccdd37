"""Faces as a torch data set: a source of faces, a pipeline, and randomness that depends on the draw alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from facegraph.data.boxes import BoxPolicy
from facegraph.data.pipeline import FacePipeline
from facegraph.data.sampler import Draw
from facegraph.data.source import FaceSource, FaceTable, sample_at
from facegraph.geometry.completion import labelled_points
from facegraph.structures import FaceBatch


class FaceSubset:
    """Some rows of a source, renumbered from 0, with the boxes that a policy cuts them out around.

    Args:
        source: the faces.
        rows: which of them.
        policy: their boxes; None keeps those of the source.
        scored: whether they are validated or tested on, where a policy may use another box than in training.

    still_boxes: (M, 4) the boxes before a policy moved them for scoring.

    Raises:
        DataError: a face without the box that the policy needs.
    """

    def __init__(
        self, source: FaceSource, rows: np.ndarray, policy: BoxPolicy | None = None, scored: bool = False
    ) -> None:
        self._source = source
        self._rows = np.asarray(rows, dtype=np.int64)
        table = select_rows(source.table, self._rows)
        self.still_boxes = table.boxes
        if policy is not None and len(table):
            boxes = policy.boxes(table.landmarks, table.boxes, table.ids)
            self.still_boxes = boxes
            table = replace(table, boxes=policy.scored(boxes, table.ids) if scored else boxes)
        self._table = table

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return self._source.image(int(self._rows[index]))

    def image_to_stored(self, index: int) -> np.ndarray:
        return self._source.image_to_stored(int(self._rows[index]))


def select_rows(table: FaceTable, rows: np.ndarray) -> FaceTable:
    return FaceTable(
        ids=tuple(table.ids[row] for row in rows),
        photos=tuple(table.photos[row] for row in rows),
        landmarks=table.landmarks[rows],
        boxes=table.boxes[rows],
        attributes=table.attributes[rows],
        attribute_names=table.attribute_names,
        seen=None if table.seen is None else table.seen[rows],
    )


class Faces(Dataset[FaceBatch]):
    """Items of a batch by draw, and whole batches: a loader over it needs collate_fn=loaded.

    Args:
        source: the faces.
        pipeline: from a sample to an item; with an augmentation for training.
        landmarks: (len(source), N, 2) image px, those of the source with stand-ins for what is missing there.
        norm_distances: (len(source), M) image px.
        seed: the augmentation of a draw is a pure function of (seed, draw number, row): workers, ranks and a resume
            change nothing. None for evaluation, where the draw number is ignored.
    """

    def __init__(
        self,
        source: FaceSource,
        pipeline: FacePipeline,
        landmarks: np.ndarray,
        norm_distances: np.ndarray,
        seed: int | None = None,
    ) -> None:
        self.source = source
        self.pipeline = pipeline
        self.landmarks = landmarks
        self.labelled = labelled_points(source.table.landmarks)
        self.norm_distances = norm_distances.astype(np.float32)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source.table)

    def __getitem__(self, draw: Draw | int) -> FaceBatch:
        """One item without the batch dimension; a bare row (Lightning's overfit_batches) is its draw number 0."""
        return self._item(draw, None)

    def __getitems__(self, draws: Sequence[Draw | int]) -> FaceBatch:
        """A batch. Every image is written into its place, which spares the copy that stacking them would be."""
        size = self.pipeline.input_size
        images = _batch_memory((len(draws), size, size, 3))
        items = [self._item(draw, out) for draw, out in zip(draws, images.numpy(), strict=True)]
        others = list(zip(*items, strict=True))[1:]
        return FaceBatch(images.permute(0, 3, 1, 2), *(torch.stack(column) for column in others))

    def _item(self, draw: Draw | int, out: np.ndarray | None) -> FaceBatch:
        index, number = draw if isinstance(draw, Draw) else Draw(draw, 0)
        rng = None if self.seed is None else np.random.default_rng([self.seed, number, index])
        sample = replace(sample_at(self.source, index), landmarks=self.landmarks[index], labelled=self.labelled[index])
        return self.pipeline.item(sample, index, self.norm_distances[index], rng, out)


def loaded(batch: Any) -> FaceBatch:
    """The collate_fn of loaders over Faces, which has put the batch together already."""
    return batch


def _batch_memory(shape: tuple[int, ...]) -> Tensor:
    """Memory for the bytes of a batch, not initialised.

    In a loader process it is shared with the training process, as torch's own collate function does it; otherwise the
    batch would be copied on its way there.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
