"""Pictures of faces under two models, side by side.

Convention: as facegraph.viz.faces. Both halves show the same part of the image at the same scale, so that only the
predictions differ; truth is green, prediction red.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop, transform_points
from facegraph.landmarks import LandmarkScheme
from facegraph.viz.faces import GREEN, RED, contact_sheet, cut_tile, draw_landmarks, write_png

_GROUND = (24, 24, 28)
_GAP = 2
_REACH = 1.0  # predictions farther than this many face sizes from the true box do not shrink the face further


def write_pair_sheet(
    image_of: Callable[[int], np.ndarray] | None,
    first: np.ndarray,
    second: np.ndarray,
    truths: np.ndarray,
    captions: Sequence[str],
    scheme: LandmarkScheme,
    path: Path,
    columns: int = 4,
    tile: int = 240,
) -> Path:
    """Write a sheet of faces as a PNG: the first model's prediction on the left, the second's on the right.

    Args:
        image_of: position in the arrays -> (H, W, 3) uint8 RGB; None draws the points on blank ground.
        first, second, truths: (M, N, 2) px of image_of's images.
        captions: M texts, lines split at newlines.
        columns: pairs in a row.
        tile: side of half a pair, px.
        path: an existing file is replaced.

    Returns:
        path.

    Raises:
        DataError: no face, lengths that differ, points that do not fit the scheme.
    """
    lengths = {"first": len(first), "second": len(second), "truths": len(truths), "captions": len(captions)}
    if len(set(lengths.values())) != 1 or not len(truths):
        raise DataError(f"pairs of faces need at least one face and equal lengths, got {lengths}.")
    pairs = [
        pair_tile(None if image_of is None else image_of(i), first[i], second[i], truths[i], scheme, tile)
        for i in range(len(truths))
    ]
    write_png(path, contact_sheet(pairs, columns, captions))
    return Path(path)


def pair_tile(
    image: np.ndarray | None,
    first: np.ndarray,
    second: np.ndarray,
    truth: np.ndarray,
    scheme: LandmarkScheme,
    size: int,
) -> np.ndarray:
    """One face twice: (size, 2 * size + 2, 3) uint8 RGB.

    Args:
        image: (H, W, 3) uint8 RGB, None for blank ground.
        first, second, truth: (N, 2) image px; predictions that are not finite are left out.
        size: side of a half, px.
    """
    box = landmark_box(truth)
    side = max(box[2] - box[0], box[3] - box[1], 1.0)
    low, high = box[:2] - _REACH * side, box[2:] + _REACH * side
    seen = [p[np.isfinite(p).all(axis=-1)].clip(low, high) for p in (first, second)]
    image_to_tile = square_crop(landmark_box(np.concatenate([truth, *seen])), margin=1.15, size=size)
    if image is None:
        ground = np.full((size, size, 3), _GROUND, dtype=np.uint8)
    else:
        ground = cut_tile(image, image_to_tile, size, _GROUND)
    with_truth = draw_landmarks(ground, transform_points(image_to_tile, truth), scheme, GREEN)
    halves = [draw_landmarks(with_truth, transform_points(image_to_tile, p), scheme, RED) for p in (first, second)]
    line = np.full((size, _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([halves[0], line, halves[1]], axis=1)
