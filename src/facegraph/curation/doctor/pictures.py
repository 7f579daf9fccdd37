"""Pictures of what was found: the most unusual shapes, pairs side by side, faces of a finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from facegraph.curation.doctor import checks_pictures, checks_points, checks_shape
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import INFO, Finding
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop, transform_points
from facegraph.viz.faces import RED, contact_sheet, cut_tile, draw_landmarks, write_png

WORST_SHAPES = "worst_shapes.png"
_TILE = 256
_GREY = (90, 90, 90)
_MOST_FACES = 20
_MOST_PAIRS = 24


def draw_findings(examination: Examination, findings: Sequence[Finding], folder: Path) -> list[str]:
    """Write a PNG for each finding that has one into an existing folder; returns their names."""
    row_of = {str(name): row for row, name in enumerate(examination.ids)}
    names: list[str] = []
    for finding in findings:
        draw = _DRAWN.get(finding.check)
        if draw is None or not finding.ids:
            continue
        worst_shapes = finding.check == checks_shape.SHAPES
        if worst_shapes and finding.level != INFO:
            continue  # the info finding lists the same faces first
        stem = f"{finding.level}_{finding.check}".replace(" ", "_")
        name = WORST_SHAPES if worst_shapes else f"{stem}.png"
        if name in names:
            name = f"{stem}_{sum(n.startswith(stem) for n in names) + 1}.png"
        write_png(folder / name, draw(examination, finding, [row_of[i] for i in finding.ids]))
        names.append(name)
    return names


def _faces(examination: Examination, finding: Finding, rows: Sequence[int]) -> np.ndarray:
    captions = [str(examination.ids[row]) for row in rows[:_MOST_FACES]]
    if finding.measured:
        captions = [f"{value:g}\n{name}" for value, name in zip(finding.measured, captions, strict=False)]
    return contact_sheet([_tile(examination, row) for row in rows[:_MOST_FACES]], columns=5, captions=captions)


def _shapes(examination: Examination, finding: Finding, rows: Sequence[int]) -> np.ndarray:
    marked = finding.values["landmarks"]
    shown = list(zip(rows, marked, finding.measured, strict=True))[:_MOST_FACES]
    tiles = [_tile(examination, row, landmark) for row, landmark, _ in shown]
    captions = [f"{score:.3g}  landmark {landmark}\n{examination.ids[row]}" for row, landmark, score in shown]
    return contact_sheet(tiles, columns=5, captions=captions)


def _pairs(examination: Examination, finding: Finding, rows: Sequence[int]) -> np.ndarray:
    tiles, captions = [], []
    for k in range(0, min(len(rows), 2 * _MOST_PAIRS), 2):
        sides = [cv2.resize(_tile(examination, row, draw=False), (_TILE // 2, _TILE // 2)) for row in rows[k : k + 2]]
        tiles.append(np.concatenate(sides, axis=1))
        alike = f"{finding.measured[k]:.3f}\n" if finding.measured else ""
        captions.append(f"{alike}{examination.ids[rows[k]]}\n{examination.ids[rows[k + 1]]}")
    return contact_sheet(tiles, columns=6, captions=captions)


def _tile(examination: Examination, row: int, marked: int | None = None, draw: bool = True) -> np.ndarray:
    """(_TILE, _TILE, 3) picture of a face and what surrounds it; grey where the crop cannot be read."""
    source = examination.source
    try:
        image = source.image(row)
    except DataError:
        return np.full((_TILE, _TILE, 3), _GREY, dtype=np.uint8)
    with np.errstate(invalid="ignore"):  # checks_store.consistency names faces that are not finite
        points = transform_points(source.image_to_stored(row), source.table.landmarks[row])
    side = len(image)
    seen = points[np.isfinite(points).all(axis=-1)].clip(-0.2 * side, 1.2 * side)
    box = landmark_box(seen) if len(seen) and np.ptp(seen, axis=0).max() > 0 else np.array([0.0, 0.0, side, side])
    stored_to_tile = square_crop(box, margin=1.3, size=_TILE)
    tile = cut_tile(image, stored_to_tile, _TILE, _GREY)
    if not draw:
        return tile
    with np.errstate(invalid="ignore"):
        placed = transform_points(stored_to_tile, points)
    tile = draw_landmarks(tile, placed, examination.store.info.scheme)
    if marked is not None and np.isfinite(placed[marked]).all():
        x, y = np.rint(placed[marked].clip(-_TILE, 2 * _TILE)).astype(int)
        cv2.circle(tile, (int(x), int(y)), 6, RED, 2, cv2.LINE_AA)
    return tile


_DRAWN: dict[str, Callable[[Examination, Finding, Sequence[int]], np.ndarray]] = {
    checks_shape.SHAPES: _shapes,
    checks_shape.EXCHANGED: _faces,
    checks_shape.EXCHANGED_PAIRS: _shapes,
    checks_pictures.SIMILAR: _pairs,
    checks_pictures.IDENTICAL: _pairs,
    checks_points.OUTSIDE_PHOTO: _faces,
    checks_points.OUTSIDE_BOX: _faces,
    checks_points.OUTSIDE_CROP: _faces,
    checks_points.EYES: _faces,
    checks_points.TWICE: _faces,
    checks_points.SMALL: _faces,
}
