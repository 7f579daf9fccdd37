"""From a face in a photograph to a network input: one matrix, one interpolation, points through the same matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from facegraph.data.augment import Augmentation
from facegraph.data.boxes import BoxPolicy
from facegraph.data.corruption import Corruption
from facegraph.data.warp import warp
from facegraph.errors import DataError
from facegraph.geometry.affine import transform_points
from facegraph.landmarks import LandmarkScheme
from facegraph.structures import FaceBatch, FaceSample


class FaceCrop(NamedTuple):
    """A face cut out for the network.

    Args:
        image: (S, S, 3) uint8 RGB.
        landmarks: (N, 2) float64 crop px.
        image_to_crop: (3, 3) float64.
        labelled: (N,) bool, as of the sample; None for all.
    """

    image: np.ndarray
    landmarks: np.ndarray
    image_to_crop: np.ndarray
    labelled: np.ndarray | None = None


class Placement(NamedTuple):
    """Where a crop lies and what its landmarks are, without its pixels.

    Args:
        image_to_crop: (3, 3) float64.
        landmarks: (N, 2) float64 crop px.
        painted: whether the draw of the augmentation changes pixels, see augment.Change; None without one.
        flipped: whether the face is mirrored and renumbered.
    """

    image_to_crop: np.ndarray
    landmarks: np.ndarray
    painted: bool | None = None
    flipped: bool = False


class FacePipeline:
    """Cut a face out and augment it.

    image_to_crop = augmentation @ square around the box; the image is interpolated once (bilinear, grey 127 outside).
    Landmarks may leave the crop. Mirrored faces have their landmarks renumbered by the scheme.

    Args:
        scheme: numbering of the landmarks.
        input_size: side S of the crop, px.
        box: how a face's box becomes a square, and how it moves in training.
        augmentation: random changes; None for evaluation.
        corruption: of faces that are tested on, last; None in training.
    """

    def __init__(
        self,
        scheme: LandmarkScheme,
        input_size: int,
        box: BoxPolicy,
        augmentation: Augmentation | None = None,
        corruption: Corruption | None = None,
    ) -> None:
        self.scheme = scheme
        self.input_size = input_size
        self.box = box
        self.augmentation = augmentation
        self.corruption = corruption
        self._flip = np.array(scheme.flip)

    def image_to_crop(self, box: np.ndarray) -> np.ndarray:
        """Matrix (3, 3) of the crop around a box (4,) image px, without augmentation."""
        return self.box.square(box, self.input_size)

    @property
    def mirrors(self) -> bool:
        """Whether some faces are mirrored, so that the scheme's mirror list matters."""
        return self.augmentation is not None and self.augmentation.geometric.flip_probability > 0

    def place(self, box: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator | None = None) -> Placement:
        """The crop of a face without its pixels.

        Args:
            box: (4,).
            landmarks: (N, 2), image px.
            rng: of one draw of the augmentation; None leaves it out.
        """
        if self.augmentation is None or rng is None:
            image_to_crop = self.image_to_crop(box)
            return Placement(image_to_crop, transform_points(image_to_crop, landmarks))
        image_to_crop = self.image_to_crop(self.box.jittered(box, rng))
        change = self.augmentation.sample(rng, self.input_size)
        image_to_crop = change.crop_to_augmented @ image_to_crop
        placed = transform_points(image_to_crop, landmarks)
        return Placement(
            image_to_crop, placed[self._flip] if change.flipped else placed, change.painted, change.flipped
        )

    def crop(self, sample: FaceSample, rng: np.random.Generator | None = None) -> FaceCrop:
        """The crop, for the eye and for an item. rng is needed where there is an augmentation.

        Raises:
            DataError: a box without size.
        """
        if not (sample.box[2:] > sample.box[:2]).all():
            raise DataError(
                f"face '{sample.id}': its box {sample.box.tolist()} has no size; x1 > x0 and y1 > y0 are needed. "
                "Correct the box in the annotations."
            )
        image_to_crop, landmarks, painted, flipped = self.place(sample.box, sample.landmarks, rng)
        image = warp(sample.image, image_to_crop @ np.linalg.inv(sample.image_to_stored), self.input_size)
        if self.augmentation is not None and rng is not None and painted is not None:
            image = self.augmentation.paint(image, rng, painted)
        if self.corruption is not None:
            image = self.corruption(image, sample.id)
        labelled = sample.labelled[self._flip] if flipped and sample.labelled is not None else sample.labelled
        return FaceCrop(image, landmarks, image_to_crop, labelled)

    def item(
        self,
        sample: FaceSample,
        index: int,
        norm_distances: np.ndarray,
        rng: np.random.Generator | None = None,
        out: np.ndarray | None = None,
    ) -> FaceBatch:
        """One item of a batch, without the batch dimension.

        Args:
            norm_distances: (M,) image px.
            out: (S, S, 3) uint8 that the item's image is written to; None makes one.
        """
        crop = self.crop(sample, rng)
        if out is None:
            out = np.empty_like(crop.image)
        out[:] = crop.image
        crop_to_image = np.linalg.inv(crop.image_to_crop)[:2]
        return FaceBatch(
            image=torch.from_numpy(out).permute(2, 0, 1),
            landmarks=torch.from_numpy(crop.landmarks.astype(np.float32)),
            labelled=torch.from_numpy(np.ones(len(crop.landmarks), bool) if crop.labelled is None else crop.labelled),
            crop_to_image=torch.from_numpy(crop_to_image.astype(np.float32)),
            norm_distances=torch.from_numpy(norm_distances.astype(np.float32)),
            attributes=torch.from_numpy(sample.attributes.astype(bool)),
            index=torch.tensor(index, dtype=torch.int64),
        )
