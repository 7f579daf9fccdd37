"""The synthetic faces as a data set: endless, exact, drawn on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from facegraph.data.boxes import LandmarkBox
from facegraph.data.source import FaceSource, FaceTable, LandmarkDataset, Thresholds
from facegraph.data.synthetic.camera import FaceGeometry, view_faces
from facegraph.data.synthetic.look import Look, sample_look
from facegraph.data.synthetic.parameters import ATTRIBUTES, FaceParameters, sample_parameters
from facegraph.data.synthetic.renderer import render
from facegraph.data.synthetic.shape import face_points, scheme_weights
from facegraph.errors import ConfigError
from facegraph.geometry.affine import transform_points
from facegraph.landmarks import SCHEMES, WFLW98, LandmarkScheme
from facegraph.structures import REFERENCE_SIZE


class CachedSource:
    """Remembers every image of a source; for sets that are small or slow to draw.

    Memory: all images of the source, once per loader process. Pickled without its images.
    """

    def __init__(self, source: FaceSource) -> None:
        self._source = source
        self._images: dict[int, np.ndarray] = {}

    @property
    def table(self) -> FaceTable:
        return self._source.table

    def image(self, index: int) -> np.ndarray:
        if index not in self._images:
            self._images[index] = self._source.image(index)
        return self._images[index]

    def image_to_stored(self, index: int) -> np.ndarray:
        return self._source.image_to_stored(index)

    def __getstate__(self) -> dict[str, object]:
        return {"_source": self._source, "_images": {}}


# Faces are computed in whole blocks, so that the last bit of a face cannot depend on the size of the data set.
_BLOCK = 256
_TRAIN_STREAM, _TEST_STREAM = 0, 1

_Rows = TypeVar("_Rows", FaceParameters, FaceGeometry)


@dataclass(frozen=True)
class _Faces:
    """Parameters and geometry of the faces of one source."""

    parameters: FaceParameters
    geometry: FaceGeometry


@dataclass(frozen=True)
class SyntheticSource(FaceSource):
    """Faces 0 .. size - 1 of one stream. Landmarks are computed on first use, images whenever they are asked for.

    Face i depends on (seed, stream, i, image_size) only; the scheme chooses its landmarks, not its picture.
    """

    split: str
    scheme: LandmarkScheme
    size: int
    image_size: int
    seed: int
    stream: int

    def __getstate__(self) -> dict[str, object]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def _faces(self) -> _Faces:
        blocks = []
        for first in range(0, self.size, _BLOCK):
            parameters = sample_parameters(self.seed, self.stream, first, _BLOCK)
            blocks.append((parameters, view_faces(face_points(parameters), parameters, self.image_size)))
        return _Faces(_join([p for p, _ in blocks], self.size), _join([g for _, g in blocks], self.size))

    @cached_property
    def table(self) -> FaceTable:
        faces = self._faces
        ids = tuple(f"{self.split}-{i:06d}" for i in range(self.size))
        landmarks = np.einsum("np,mpd->mnd", scheme_weights(self.scheme), faces.geometry.points)
        return FaceTable(ids, ids, landmarks, np.full((self.size, 4), np.nan), faces.parameters.flags, ATTRIBUTES)

    def image_to_stored(self, index: int) -> np.ndarray:
        """The identity: a face is drawn in the px of its table."""
        return np.eye(3)

    def look(self, index: int) -> Look:
        """What face index wears and how it is lit."""
        rng = np.random.default_rng([self.seed, self.stream, index, 1])
        flags = self._faces.parameters.flags[index]
        return sample_look(rng, flags)

    def image(self, index: int) -> np.ndarray:
        """(image_size, image_size, 3) uint8 RGB.

        Raises:
            IndexError: index outside 0 .. size - 1.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"face {index} of {self.size} synthetic {self.split} faces; use 0 .. {self.size - 1}")
        faces = self._faces
        return render(
            faces.geometry.points[index],
            faces.geometry.camera(index),
            self.look(index),
            self.image_size,
            float(faces.parameters.face_width[index]),
            float(faces.parameters.face_height[index]),
        )


def _join(blocks: list[_Rows], size: int) -> _Rows:
    """One dataclass of arrays from several of the same kind, cut to size rows."""
    kind = type(blocks[0])
    return kind(**{f.name: np.concatenate([getattr(b, f.name) for b in blocks])[:size] for f in fields(kind)})


class SyntheticDataset(LandmarkDataset):
    """Drawn faces with exact landmarks in any of the three schemes, flagged as WFLW flags its test faces.

    The six attributes occur about as often as in the WFLW test set and are true of the picture: "pose" means a yaw of
    at least 35 or a pitch of at least 18 degrees, "occlusion" that something covers landmarks, and so on.

    Args:
        scheme: wflw98, ibug68 or cofw29; the pictures are the same for all three.
        train_size, test_size: numbers of faces; the two splits draw from different random streams.
        image_size: side of the square images in px; the longer side of the landmark box takes 50-65 % of it.
        seed: another seed draws other faces.
        normalisers, thresholds: how errors are scored, see LandmarkDataset.
        keep_images: draw each face once and keep it in memory, in every loader process.

    Raises:
        ConfigError: a size or seed out of range, or a scheme with another number of landmarks.
    """

    def __init__(
        self,
        scheme: LandmarkScheme = WFLW98,
        *,
        train_size: int,
        test_size: int,
        image_size: int = 128,
        seed: int = 0,
        name: str = "synthetic",
        normalisers: Sequence[str] = ("inter_ocular", "inter_pupil", "box"),
        thresholds: Thresholds = (0.08, 0.10),
        keep_images: bool = False,
    ) -> None:
        for what, value, least in (
            ("train_size", train_size, 1),
            ("test_size", test_size, 1),
            ("image_size", image_size, 32),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ConfigError(f"{what} is {value}; it must be at least {least}. Set dataset.{what} accordingly.")
        scheme_weights(scheme)
        self.name = name
        self.scheme = scheme
        self.normalisers = tuple(normalisers)
        self.thresholds = thresholds
        self.check_protocol()
        sources = (
            SyntheticSource("train", scheme, train_size, image_size, seed, _TRAIN_STREAM),
            SyntheticSource("test", scheme, test_size, image_size, seed, _TEST_STREAM),
        )
        self._train, self._test = (CachedSource(s) if keep_images else s for s in sources)

    def train(self) -> FaceSource:
        return self._train

    def test(self) -> FaceSource:
        return self._test


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
