"""From a face in a photograph to a network input: one matrix, one interpolation, points through the same matrix."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from facegraph.data.augment import Augmentation
from facegraph.data.normalise import Normalise
from facegraph.errors import DataError
from facegraph.geometry.affine import square_crop, transform_points
from facegraph.landmarks import LandmarkScheme
from facegraph.structures import FaceBatch, FaceSample

FILL = (127, 127, 127)


class FaceCrop(NamedTuple):
    """image: (S, S, 3) uint8 RGB. landmarks: (N, 2) float64 crop px. image_to_crop: (3, 3) float64."""

    image: np.ndarray
    landmarks: np.ndarray
    image_to_crop: np.ndarray


class FacePipeline:
    """Cut a face out, augment it and normalise it.

    image_to_crop = augmentation @ square around the box; the image is interpolated once (bilinear, grey 127 outside).
    Landmarks may leave the crop. Mirrored faces have their landmarks renumbered by the scheme.

    Args:
        scheme: numbering of the landmarks.
        input_size: side S of the crop, px.
        margin: side of the square over the longer side of the face's box.
        normalise: from the uint8 crop to the network's input.
        augmentation: random changes; None for evaluation.
    """

    def __init__(
        self,
        scheme: LandmarkScheme,
        input_size: int,
        margin: float,
        normalise: Normalise,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.scheme = scheme
        self.input_size = input_size
        self.margin = margin
        self.normalise = normalise
        self.augmentation = augmentation
        self._flip = np.array(scheme.flip)

    def image_to_crop(self, box: np.ndarray) -> np.ndarray:
        """Matrix (3, 3) of the crop around a box (4,) image px, without augmentation."""
        return square_crop(box, self.margin, self.input_size)

    @property
    def mirrors(self) -> bool:
        """Whether some faces are mirrored, so that the scheme's mirror list matters."""
        return self.augmentation is not None and self.augmentation.geometric.flip_probability > 0

    def crop(self, sample: FaceSample, rng: np.random.Generator | None = None) -> FaceCrop:
        """The crop before normalisation. rng is needed where there is an augmentation.

        Raises:
            DataError: a box without size.
        """
        if not (sample.box[2:] > sample.box[:2]).all():
            raise DataError(
                f"face '{sample.id}': its box {sample.box.tolist()} has no size; x1 > x0 and y1 > y0 are needed. "
                "Correct the box in the annotations."
            )
        image_to_crop = self.image_to_crop(sample.box)
        flipped = False
        if self.augmentation is not None and rng is not None:
            crop_to_augmented, flipped = self.augmentation.geometric.sample(rng, self.input_size)
            image_to_crop = crop_to_augmented @ image_to_crop
        image = warp(sample.image, image_to_crop, self.input_size)
        landmarks = transform_points(image_to_crop, sample.landmarks)
        if flipped:
            landmarks = landmarks[self._flip]
        if self.augmentation is not None and rng is not None:
            image = self.augmentation.paint(image, rng)
        return FaceCrop(image, landmarks, image_to_crop)

    def item(
        self, sample: FaceSample, index: int, norm_distances: np.ndarray, rng: np.random.Generator | None = None
    ) -> FaceBatch:
        """One item of a batch, without the batch dimension. norm_distances: (M,) image px."""
        crop = self.crop(sample, rng)
        crop_to_image = np.linalg.inv(crop.image_to_crop)[:2]
        return FaceBatch(
            image=torch.from_numpy(self.normalise(crop.image)),
            landmarks=torch.from_numpy(crop.landmarks.astype(np.float32)),
            crop_to_image=torch.from_numpy(crop_to_image.astype(np.float32)),
            norm_distances=torch.from_numpy(norm_distances.astype(np.float32)),
            attributes=torch.from_numpy(sample.attributes.astype(bool)),
            index=torch.tensor(index, dtype=torch.int64),
        )


def warp(image: np.ndarray, image_to_crop: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) uint8 crop of an image (H, W, 3) uint8 under image_to_crop (3, 3); grey 127 outside the image.

    Convention: integer coordinates are pixel centres in both frames. Bilinear; an image that shrinks to less than half
    is averaged over k x k blocks first (k the whole part of the shrinkage) so that fine texture does not alias. Block
    j covers the pixels k j ... k j + k - 1 and has its centre at k j + (k - 1) / 2, which the matrix accounts for.
    """
    factor = float(np.sqrt(abs(np.linalg.det(image_to_crop[:2, :2]))))
    if factor < 0.5:
        image, small_to_image = _reduce(image, image_to_crop, size, int(1 / factor))
        image_to_crop = image_to_crop @ small_to_image
    return cv2.warpAffine(
        image,
        image_to_crop[:2],
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL,
    )


def _reduce(image: np.ndarray, image_to_crop: np.ndarray, size: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the crop shows, averaged over k x k blocks, and small_to_image (3, 3)."""
    height, width = image.shape[:2]
    corners = np.array([[-1, -1], [size, -1], [size, size], [-1, size]], dtype=np.float64)
    seen = transform_points(np.linalg.inv(image_to_crop), corners)
    x0, y0 = np.clip(np.floor(seen.min(axis=0)).astype(int) - k, 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(seen.max(axis=0)).astype(int) + k + 1, [x0 + 1, y0 + 1], [width, height])
    part = image[y0:y1, x0:x1]
    pad_x, pad_y = -part.shape[1] % k, -part.shape[0] % k
    if pad_x or pad_y:  # the last block must be whole, or its centre would not be where the matrix says
        part = cv2.copyMakeBorder(part, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    small = cv2.resize(part, (part.shape[1] // k, part.shape[0] // k), interpolation=cv2.INTER_AREA)
    offset = (k - 1) / 2
    return small, np.array([[k, 0.0, x0 + offset], [0.0, k, y0 + offset], [0.0, 0.0, 1.0]])
