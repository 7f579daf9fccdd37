"""Which landmarks the local stage refines together, and where they lie in a part's frame on a mean face.

Source: the released code's division of 98 points (eyes 18 points each, nose 9, mouth 20) and of 68 (11, 11, 9, 20).
Other schemes are divided by the names of their contours, which gives the same lists for these two.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.geometry.points import map_points
from facegraph.landmarks import LandmarkScheme
from facegraph.models.dpr.transforms import upright_box
from facegraph.structures import ShapeStatistics

FILLED = 5 / 6
"""Longer side of a part's mean points over the side of the part's frame: [1/12, 11/12]. Source: the released means."""
FEWEST = 2
"""Points that a part needs: one point has no size that a patch could be cut by."""

_CONTOURS = {
    "left_eye": lambda name: name in ("left_brow", "left_eye", "left_pupil"),
    "right_eye": lambda name: name in ("right_brow", "right_eye", "right_pupil"),
    "nose": lambda name: name.startswith("nose"),
    "mouth": lambda name: name.endswith("lips"),
}


class Part(NamedTuple):
    """A part of the face.

    Attributes:
        name: left_eye (with brow and pupil), right_eye, nose or mouth.
        indices: its landmarks, ascending.
    """

    name: str
    indices: tuple[int, ...]


def parts_of(scheme: LandmarkScheme) -> tuple[Part, ...]:
    """Up to four parts in the order left_eye, right_eye, nose, mouth.

    A part has the landmarks of all contours that its name stands for; a part with fewer than two landmarks is left out
    and, like jaw and chin, stays with the global stage. "Left" is left in the picture, as in the scheme's names.

    Raises:
        ConfigError: no part remains.
    """
    parts = []
    for name, belongs in _CONTOURS.items():
        indices = sorted({i for contour in scheme.contours if belongs(contour.name) for i in contour.indices})
        if len(indices) >= FEWEST:
            parts.append(Part(name, tuple(indices)))
    if not parts:
        raise ConfigError(
            f"scheme '{scheme.name}' has no contour that model.stages=glsr could refine; it has "
            f"{[contour.name for contour in scheme.contours]}, and contours named left_brow, left_eye, left_pupil, the "
            "same of the right, nose... or ...lips make parts. Name them so, or take model.stages=gsr."
        )
    return tuple(parts)


def mean_face(statistics: ShapeStatistics) -> Tensor:
    """(N, 2) mean shape of the training faces, upright in the unit frame: where the global stage starts from."""
    shape = statistics.mean_shape.float()[None]
    return map_points(upright_box(shape, statistics.scheme), shape)[0]


def part_mean(points: Tensor) -> Tensor:
    """A part's points (n, 2) of the mean face, any unit -> units of the part's frame.

    Longer side of their box from 1/12 to 11/12, box centred at 1/2; no rotation.
    """
    low, high = points.amin(dim=0), points.amax(dim=0)
    return (points - (low + high) / 2) * (FILLED / (high - low).amax().clamp_min(1e-8)) + 0.5


def part_means(face: Tensor, parts: tuple[Part, ...]) -> tuple[Tensor, ...]:
    """P tensors (n_p, 2) in units of the part's frame, of a mean face (N, 2)."""
    return tuple(part_mean(face[list(part.indices)]) for part in parts)
