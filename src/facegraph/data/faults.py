"""Landmarks that an annotation lacks, and those that cannot be of a face in its picture, in words that name them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facegraph.data.source import box_size
from facegraph.geometry.completion import labelled_points
from facegraph.landmarks import BOX, LandmarkScheme

REFUSE, LEAVE_OUT, MASK = "refuse", "leave_out", "mask"
"""What may become of a face that lacks landmarks: it is an error, it is left out, or the others count without them."""
_NAMED = 4


def without_marked(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (..., N, 2) with NaN for those that are marked as missing, as annotation tools do.

    The marks: exactly (0, 0), one negative number twice such as (-1, -1), or no number twice. Half a mark is none: it
    stays and is refused as a coordinate.
    """
    x, y = landmarks[..., 0], landmarks[..., 1]
    marked = (np.isnan(x) & np.isnan(y)) | ((x == y) & (x <= 0))
    return np.where(marked[..., None], np.nan, landmarks)


def lacking(landmarks: np.ndarray) -> np.ndarray:
    """(M,) bool, which faces (M, N, 2) lack a landmark."""
    return np.asarray(~labelled_points(landmarks).all(axis=-1))


def missing_text(landmarks: np.ndarray) -> str:
    """Which landmarks a face (N, 2) lacks, in words."""
    numbers = np.flatnonzero(~labelled_points(landmarks))
    named = ", ".join(str(number) for number in numbers[:_NAMED])
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{len(numbers)} of {len(landmarks)} landmarks are marked as missing ({named}{more})"


SMALLEST_FACE = 2.0
"""px; coordinates of a smaller face are no px, but fractions of a side or damaged."""
SMALLEST_SHARE = 0.02
"""Of sqrt(w h) of the landmark box, for a distance that errors are divided by. The shortest of 2,566 faces of 300-W and
1,966 hard ones of WFLW has 0.076 (pupils in profile)."""
OWN_OUTSIDE = 0.5
"""Share of the landmarks of a face of somebody's own data that may lie outside its picture."""
_STRAY = 0.1  # of the points on either side: a few stray ones do not make a face of a speck


def landmark_fault(
    landmarks: np.ndarray, scheme: LandmarkScheme, normalisers: Sequence[str], smallest_share: float = SMALLEST_SHARE
) -> str | None:
    """Why landmarks (N, 2) cannot be trained on or scored, in words; None if they can. NaN is a missing landmark.

    Args:
        normalisers: distances that errors are divided by; one that lacks a landmark is no fault.
        smallest_share: see SMALLEST_SHARE; 0 takes any distance above 0.
    """
    if landmarks.shape != (scheme.num_landmarks, 2):
        return f"it has landmarks of shape {landmarks.shape}; scheme '{scheme.name}' has ({scheme.num_landmarks}, 2)"
    known = labelled_points(landmarks)
    bad = np.flatnonzero(~known & ~np.isnan(landmarks).all(axis=1))
    if len(bad):
        return f"landmark {bad[0]} is {landmarks[bad[0]].tolist()}; finite numbers are needed"
    if known.sum() < 2:
        return f"it has {known.sum()} of {scheme.num_landmarks} landmarks; two at least make a face"
    return span_fault(landmarks[known]) or _distance_fault(landmarks, scheme, normalisers, smallest_share)


def span_fault(points: np.ndarray) -> str | None:
    """Why points (n, 2), without NaN, are no face of some px, in words; None if they are one."""
    width, height = np.ptp(points, axis=0)
    if not (width > 0 and height > 0):
        return f"the landmarks span {width:g} x {height:g} px; width and height must be positive"
    stray, ordered = int(_STRAY * len(points)), np.sort(points, axis=0)
    if (ordered[-1 - stray] - ordered[stray]).max() >= SMALLEST_FACE:
        return None
    cause = ""
    if np.abs(points).max() <= 1:
        kind = "fractions of the picture's sides" if points.min() >= 0 else "numbers from -1 to 1"
        cause = f": they look like {kind}, which have to be multiplied by width and height"
    return f"the landmarks span {width:.3g} x {height:.3g} px, nearly all of them within {SMALLEST_FACE:g} px{cause}"


def _distance_fault(
    landmarks: np.ndarray, scheme: LandmarkScheme, normalisers: Sequence[str], smallest_share: float
) -> str | None:
    size = float(box_size(landmarks))
    for name in normalisers:
        distance = size if name == BOX else float(scheme.distance(name, landmarks))
        if not (distance > smallest_share * size or np.isnan(distance)):
            return (
                f"the distance '{name}' (landmarks {scheme.normalisers[name]}) is {distance:.3g} px on a face of "
                f"{size:.3g} px, so no error can be divided by it"
            )
    return None


def picture_fault(landmarks: np.ndarray, width: int, height: int, most_outside: float) -> str | None:
    """Why landmarks (N, 2) cannot be px of a picture of width x height px, in words; None if they can.

    Args:
        most_outside: share of them that may lie outside of it, as where a face is cut off by the border.
    """
    points, size = landmarks[labelled_points(landmarks)], np.array([width, height])
    outside = ((points < -0.5) | (points > size - 0.5)).any(axis=1)
    if outside.mean() > most_outside:
        return (
            f"{outside.sum()} of {len(points)} landmarks lie outside the picture of {width} x {height} px, in the "
            f"middle at ({np.median(points[:, 0]):.5g}, {np.median(points[:, 1]):.5g}). Was it resized or turned after "
            "they were marked?"
        )
    far = np.flatnonzero(((landmarks < -size) | (landmarks > 2 * size)).any(axis=1))
    if len(far) and most_outside < 1:
        x, y = landmarks[far[0]]
        return (
            f"landmark {far[0]} at ({x:g}, {y:g}) lies more than one image side outside the picture of {width} x "
            f"{height} px."
        )
    return None
