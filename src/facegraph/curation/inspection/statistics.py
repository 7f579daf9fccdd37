"""Numbers about a split's faces for the figures and tables of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from facegraph.curation.inspection.view import StoreView
from facegraph.geometry.affine import landmark_box, transform_points

_FACES, _DRAWS, _GRID = 250, 4, 24
_SHOWN_PROBLEMS, _SHOWN_NAMES = 40, 3

Row = tuple[str | int | float | None, ...]


def longer_side(boxes: np.ndarray) -> np.ndarray:
    """(M,) longer side of boxes (M, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=-1)


def official_ratios(view: StoreView) -> np.ndarray:
    """(M,) longer side of the official box over that of the landmark box; NaN where there is no official box."""
    return longer_side(view.store.boxes[view.rows]) / longer_side(landmark_box(view.landmarks))


class CropStatistics(NamedTuple):
    """Of faces drawn at random, plain and in several draws of the augmentation.

    Args:
        plain, augmented: (faces or draws, N, 2) landmarks in crop px.
        empty: share of an augmented crop that the store has no pixels for.
        lost: the part of it that the photograph does have, so that a larger stored crop would show it.
    """

    plain: np.ndarray
    augmented: np.ndarray
    empty: float
    lost: float


def crop_statistics(view: StoreView) -> CropStatistics:
    faces = view.choose(_FACES)
    places = (np.indices((_GRID, _GRID)).reshape(2, -1).T + 0.5) / _GRID * view.input_size - 0.5
    extents = view.store.frame[["width", "height"]].to_numpy(float)[view.rows]
    side = view.store.info.crop.side
    landmarks, empty, lost = [], [], []
    for face in faces:
        for number in range(_DRAWS):
            place = view.augmented_place(face, number)
            landmarks.append(place.landmarks)
            seen = transform_points(np.linalg.inv(place.image_to_crop), places)
            stored = transform_points(view.scored.image_to_stored(face), seen)
            beyond = ((stored < -0.5) | (stored > side - 0.5)).any(axis=-1)
            outside = ((seen < -0.5) | (seen > extents[face] - 0.5)).any(axis=-1)
            empty.append(beyond | outside)
            lost.append(beyond & ~outside)
    plain = [view.plain_place(face).landmarks for face in faces]
    return CropStatistics(np.stack(plain), np.stack(landmarks), float(np.mean(empty)), float(np.mean(lost)))


def problem_rows(problems: tuple[Mapping[str, str], ...]) -> list[Row]:
    """kind, split, how many, the first names, the first message; the commonest kinds first."""
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for problem in problems:
        groups.setdefault((problem["kind"], problem["split"]), []).append(problem)
    rows: list[Row] = []
    for (kind, split), members in sorted(groups.items(), key=lambda item: -len(item[1]))[:_SHOWN_PROBLEMS]:
        names = ", ".join(problem["name"] for problem in members[:_SHOWN_NAMES])
        more = ", ..." if len(members) > _SHOWN_NAMES else ""
        rows.append((kind, split or None, len(members), names + more, members[0]["message"]))
    return rows


def box_rows(view: StoreView) -> list[Row]:
    """What is measured, then its median, smallest and largest value over the faces."""
    tight = landmark_box(view.landmarks)
    sides, official = longer_side(tight), view.store.boxes[view.rows]
    known = np.isfinite(official).all(axis=-1)
    measured: dict[str, np.ndarray] = {
        "longer side of the landmark box, px of the photograph": sides,
        "width over height of the landmark box": (tight[:, 2] - tight[:, 0]) / (tight[:, 3] - tight[:, 1]),
        "px of the store per px of the photograph": view.store.frame["scale"].to_numpy(float)[view.rows],
    }
    if known.any():
        offset = (official[:, :2] + official[:, 2:] - tight[:, :2] - tight[:, 2:]) / 2 / sides[:, None]
        measured |= {
            "official box: longer side over that of the landmark box": official_ratios(view)[known],
            "official box: centre right of the landmark box's, in its sides": offset[known, 0],
            "official box: centre below the landmark box's, in its sides": offset[known, 1],
        }
    values = [name for name in view.store.frame.columns if name.startswith("value_")]
    for name in values:
        column = view.store.frame[name].to_numpy(float)[view.rows]
        if np.isfinite(column).any():
            measured[name.removeprefix("value_")] = column[np.isfinite(column)]
    return [(name, *(_rounded(number) for number in (np.median(v), v.min(), v.max()))) for name, v in measured.items()]


def _rounded(number: float) -> float | int:
    """Three decimals below 10, one below 100, none above: enough for shares, angles and px."""
    number = float(number)
    if abs(number) >= 99.95:
        return round(number)
    return round(number, 1 if abs(number) >= 9.9995 else 3) + 0.0  # + 0.0 makes 0 of -0
