"""What is timed against each other: our training pipeline, one made of albumentations, and the bare warp."""

from __future__ import annotations

from collections.abc import Iterator

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.normalise import PerImage
from facegraph.data.occlusion import RectangleOcclusion
from facegraph.data.source import FaceSource, LandmarkDataset
from facegraph.data.warp import FILL
from facegraph.geometry.affine import landmark_box, transform_points
from facegraph.landmarks import BOX, LandmarkScheme
from facegraph.structures import FaceBatch

MARGIN = 1.25
_ROTATION, _SCALE, _SHIFT = 40.0, (0.9, 1.1), 0.1171875
"""The augmentation of the SCC paper, as in augment=paper; a test compares them."""
_ROOM = 1.6
"""What albumentations is given over the side of the crop, so that it too finds pixels when it turns: a whole store."""

# other parts work this many batches behind, so that none finds its crops in the cache because another one was there
_BEHIND = 7


class OneSource(LandmarkDataset):
    """A source as a data set to train on."""

    def __init__(self, name: str, scheme: LandmarkScheme, source: FaceSource) -> None:
        self.name = name
        self.scheme = scheme
        self.normalisers = (next(iter(scheme.normalisers), BOX),)
        self._source = source

    def train(self) -> FaceSource:
        return self._source

    def test(self) -> FaceSource:
        return self._source


def training_module(dataset: LandmarkDataset, input_size: int, batch_size: int, workers: int) -> FaceDataModule:
    """The data module of a training with the paper's augmentation, set up; no faces are kept for validation."""
    module = FaceDataModule(
        dataset,
        paper_augmentation(),
        PerImage(),
        input_size=input_size,
        box=LandmarkBox(MARGIN),
        batch_size=batch_size,
        eval_batch_size=batch_size,
        num_workers=workers,
        val_fraction=0.0,
        seed=0,
    )
    module.setup("fit")
    return module


def paper_augmentation() -> Augmentation:
    """That of augment=paper."""
    return Augmentation(GeometricAugmentation(_ROTATION, *_SCALE, _SHIFT, flip_probability=0.5), [RectangleOcclusion()])


class Training:
    """Batches of the loader that a training iterates over, loaded and normalised in this process."""

    def __init__(self, name: str, dataset: LandmarkDataset, input_size: int, batch_size: int) -> None:
        self.name = name
        self.batch_size = batch_size
        self._module = training_module(dataset, input_size, batch_size, workers=0)
        self._loader = self._module.train_dataloader()
        self._batches: Iterator[FaceBatch] = iter(())

    def step(self, number: int) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._loader)
            batch = next(self._batches)
        self._module.on_after_batch_transfer(batch, 0)

    def batches(self) -> list[FaceBatch]:
        """What all batches of an epoch are, without their images."""
        return [batch._replace(image=torch.empty(0)) for batch in self._loader]


class BareWarp:
    """cv2.warpAffine and nothing else, on the same stored crops and with the same matrices as the training.

    cached: warp the first crop over and over, which the processor then has at hand.
    """

    def __init__(
        self, name: str, source: FaceSource, batches: list[FaceBatch], input_size: int, cached: bool = False
    ) -> None:
        self.name = name
        self.batch_size = len(batches[0].index)
        self._size = (input_size, input_size)
        self._rows = [batch.index.tolist() for batch in batches]
        self._source = source
        self._matrices = [_stored_to_crop(batch, source) for batch in batches]
        self._same = source.image(self._rows[0][0]) if cached else None

    def step(self, number: int) -> None:
        place = (number + _BEHIND) % len(self._rows)
        for row, matrix in zip(self._rows[place], self._matrices[place], strict=True):
            cv2.warpAffine(
                self._source.image(row) if self._same is None else self._same,
                matrix,
                self._size,
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=FILL,
            )


def _stored_to_crop(batch: FaceBatch, source: FaceSource) -> list[np.ndarray]:
    matrices = []
    for row, crop_to_image in zip(batch.index.tolist(), batch.crop_to_image.numpy(), strict=True):
        square = np.vstack([crop_to_image, [0, 0, 1]]).astype(np.float64)
        matrices.append((np.linalg.inv(square) @ np.linalg.inv(source.image_to_stored(row)))[:2])
    return matrices


class Albumentations:
    """The same changes as a user would write them with albumentations: cut out with surroundings, resize, transform.

    Its rectangle is a square inside the crop, which is the nearest that albumentations has.
    """

    def __init__(self, name: str, source: FaceSource, batches: list[FaceBatch], input_size: int) -> None:
        self.name = name
        self.batch_size = len(batches[0].index)
        self._source = source
        self._rows = [batch.index.tolist() for batch in batches]
        hole = (float(np.sqrt(0.2)),) * 2
        wide = round(_ROOM * input_size)
        shift = _SHIFT * input_size / wide
        self._transform = A.Compose(
            [
                A.Resize(wide, wide),
                A.HorizontalFlip(p=0.5),
                A.Affine(
                    scale=_SCALE,
                    keep_ratio=True,
                    translate_percent=(-shift, shift),
                    rotate=(-_ROTATION, _ROTATION),
                    fill=FILL[0],
                    p=1.0,
                ),
                A.CenterCrop(input_size, input_size),
                A.CoarseDropout((1, 1), hole, hole, fill="random_uniform", p=0.5),
                A.Normalize(normalization="image_per_channel", p=1.0),
                ToTensorV2(),
            ],
            keypoint_params=A.KeypointParams("xy", remove_invisible=False),
        )

    def step(self, number: int) -> None:
        items = [self._item(row) for row in self._rows[(number + 2 * _BEHIND) % len(self._rows)]]
        torch.stack([image for image, _ in items])
        torch.stack([points for _, points in items])

    def _item(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self._source.image(row)
        points = transform_points(self._source.image_to_stored(row), self._source.table.landmarks[row])
        x0, y0, x1, y1 = landmark_box(points)
        side = min(round(_ROOM * MARGIN * max(x1 - x0, y1 - y0)), *image.shape[:2])
        left, top = (
            min(max(0, round(centre - (side - 1) / 2)), length - side)
            for centre, length in zip(((x0 + x1) / 2, (y0 + y1) / 2), image.shape[1::-1], strict=True)
        )
        cut = image[top : top + side, left : left + side]
        done = self._transform(image=cut, keypoints=points - (left, top))
        return done["image"], torch.from_numpy(np.asarray(done["keypoints"], dtype=np.float32))
