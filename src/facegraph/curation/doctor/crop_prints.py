"""Fingerprints of stored crops and the search for pairs that show the same picture.

A crop has two: a digest of its pixels, equal for the same face of the same file; and a perceptual print of the face,
which stays alike when a picture was scaled, compressed or recoloured. The print is 64 signs of low frequencies of a
32 x 32 grey picture of the face, found fast by their Hamming distance, and that picture itself, which decides.

Thresholds, measured on 2,566 face crops of 300-W stored at 256 px and by looking: of the 3.3 million pairs 648 have a
distance of at most 12, and 154 of these correlate by at least 0.90. The pairs between 0.90 and 0.93 were all looked at:
13 show one picture twice or one sitting, 1 (0.901) two people. Between 0.85 and 0.90 most show two people. Copies in
greyscale or with other colours mostly stay above 0.9; mirrored copies are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from facegraph.data.store.hashing import file_hash
from facegraph.data.store.layout import shard_name
from facegraph.data.store.reader import FaceStore, StoreSource
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, transform_points

LARGEST_DISTANCE = 12
SMALLEST_CORRELATION = 0.90
_SIDE = 32
_MARGIN = 1.25  # of the square around the landmarks: enough hair and background to tell people apart
_BLOCK = 1024
_FREQUENCIES = tuple(
    zip(*sorted(((i, j) for i in range(12) for j in range(12)), key=lambda p: (sum(p), p))[1:65], strict=True)
)


@dataclass(frozen=True)
class CropPrints:
    """Fingerprints of M crops; rows that are damaged hold zeros.

    Attributes:
        digests: (M, 16) uint8.
        signs: (M, 64) bool.
        faces: (M, 32, 32) uint8 grey.
        damaged: row -> what is wrong.
        shard_hashes: name of a shard's file -> sha256 in hex, of the shards whose crops were read, if asked for.
    """

    digests: np.ndarray
    signs: np.ndarray
    faces: np.ndarray
    damaged: dict[int, str]
    shard_hashes: dict[str, str] = field(default_factory=dict)


class Pairs(NamedTuple):
    """Pairs of rows, first < second, the most alike first.

    Attributes:
        distance: bits.
        correlation: of the grey pictures.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    correlation: np.ndarray


def crop_prints(
    store: FaceStore, workers: int, advance: Callable[[int], None], hash_shards: bool = False
) -> CropPrints:
    """Prints of all crops of a store, shard by shard.

    Args:
        workers: threads.
        advance: called with the number of crops done since the last call.
        hash_shards: hash the shards as well. Done here, the crops that follow come out of memory: a store larger than
            that is read from the disk once and not twice.
    """
    source, shard = store.source(np.arange(len(store))), store.frame["shard"].to_numpy()
    tasks = [(number, np.flatnonzero(shard == number)) for number in np.unique(shard)]
    prints = CropPrints(
        digests=np.zeros((len(store), 16), dtype=np.uint8),
        signs=np.zeros((len(store), 64), dtype=bool),
        faces=np.zeros((len(store), _SIDE, _SIDE), dtype=np.uint8),
        damaged={},
    )

    def read(number: int, rows: np.ndarray) -> int:
        path = store.path / shard_name(number)
        if hash_shards and path.is_file():
            prints.shard_hashes[path.name] = file_hash(path)
        _fill(prints, source, rows)
        return len(rows)

    # threads: decoding, scaling and hashing let the others run, and a process would first import torch for seconds
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done in as_completed([pool.submit(read, int(number), rows) for number, rows in tasks]):
            advance(done.result())
    return prints


def _fill(prints: CropPrints, source: StoreSource, rows: np.ndarray) -> None:
    for row in (int(r) for r in rows):
        try:
            image = source.image(row)
        except DataError as error:
            prints.damaged[row] = str(error)
            continue
        with np.errstate(invalid="ignore"):  # checks_store.consistency names faces that are not finite
            stored = transform_points(source.image_to_stored(row), source.table.landmarks[row])
        digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()[:16]
        prints.digests[row] = np.frombuffer(digest, dtype=np.uint8)
        prints.faces[row] = face_picture(image, stored)
        prints.signs[row] = perceptual_signs(prints.faces[row])


def face_picture(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(32, 32) uint8 grey picture of the square around landmarks (N, 2) px in an image (H, W, 3) uint8 RGB.

    Where the square leaves the image it is cut off; landmarks that name no square give the whole image.
    """
    box = np.nan_to_num(landmark_box(np.where(np.isfinite(landmarks), landmarks, np.nan).clip(-1e6, 1e6)))
    centre, half = (box[:2] + box[2:]) / 2, _MARGIN * (box[2:] - box[:2]).max() / 2
    left, top = np.maximum(np.rint(centre - half), 0).astype(int)
    right, bottom = np.rint(centre + half).astype(int) + 1
    region = image[top : max(bottom, 0), left : max(right, 0)]
    if min(region.shape[:2]) < 4:
        region = image
    return cv2.resize(cv2.cvtColor(region, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def perceptual_signs(face: np.ndarray) -> np.ndarray:
    """(64,) bool signs of the lowest cosine frequencies of a (32, 32) picture, without the mean."""
    return cv2.dct(face.astype(np.float32))[_FREQUENCIES] > 0


def similar_pairs(prints: CropPrints) -> Pairs:
    """All pairs of faces within LARGEST_DISTANCE bits that correlate by at least SMALLEST_CORRELATION.

    Signs as +1 and -1 make the distance of all pairs a matrix product: exact, and faster than counting bits.
    """
    signs = np.where(prints.signs, np.float32(1), np.float32(-1))
    agreement = signs.shape[1] - 2 * LARGEST_DISTANCE
    found: list[np.ndarray] = []
    unit_of = partial(_unit_rows, prints.faces)
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK] @ signs[start:].T
        first, second = np.nonzero(block >= agreement)
        later = second > first
        first, second = first[later], second[later]
        distance = (signs.shape[1] - block[first, second]) / 2
        first, second = first + start, second + start
        correlation = np.empty(len(first), dtype=np.float32)
        for i in range(0, len(first), _BLOCK):
            part = slice(i, i + _BLOCK)
            correlation[part] = (unit_of(first[part]) * unit_of(second[part])).sum(axis=-1)
        alike = correlation >= SMALLEST_CORRELATION
        found.append(np.stack([first, second, distance, correlation])[:, alike])
    pairs = np.concatenate(found, axis=1) if found else np.empty((4, 0))
    first, second, distance, correlation = pairs[:, np.argsort(-pairs[3], kind="stable")]
    return Pairs(first.astype(np.int64), second.astype(np.int64), distance.astype(np.int64), correlation)


def _unit_rows(faces: np.ndarray, rows: np.ndarray) -> np.ndarray:
    values = faces[rows].reshape(len(rows), -1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
