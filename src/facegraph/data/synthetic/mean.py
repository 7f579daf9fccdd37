"""The mean of drawn faces, where a model needs a face's shape and there are no faces at hand."""

from __future__ import annotations

import numpy as np
import torch

from facegraph.data.boxes import LandmarkBox
from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.geometry.affine import transform_points
from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.structures import REFERENCE_SIZE

_DRAWN = 200


def drawn_mean_shape(scheme: LandmarkScheme) -> torch.Tensor:
    """(N, 2) mean landmarks of drawn faces in their crop, over its side; the crop's middle for an unknown scheme."""
    if SCHEMES.get(scheme.name) != scheme:
        return torch.full((scheme.num_landmarks, 2), 0.5)
    landmarks = SyntheticDataset(scheme, train_size=_DRAWN, test_size=1).train().table.landmarks
    policy, ids = LandmarkBox(), tuple(str(i) for i in range(_DRAWN))
    boxes = policy.boxes(landmarks, np.full((_DRAWN, 4), np.nan), ids)
    size = int(REFERENCE_SIZE)
    crops = [transform_points(policy.square(box, size), points) for box, points in zip(boxes, landmarks, strict=True)]
    return torch.from_numpy(np.mean(crops, axis=0) / size).float()
