"""Pictures of what was found: the most unusual shapes, pairs side by side, faces of a finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from facegraph.doctor import checks_pictures, checks_points, checks_shape
from facegraph.doctor.examination import Examination
from facegraph.doctor.findings import INFO, Finding
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop, transform_points
from facegraph.viz import RED, contact_sheet, draw_landmarks, write_png

WORST_SHAPES = "worst_shapes.png"
_TILE = 256
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
    tiles = [_tile(examination, row, landmark) for row, landmark in zip(rows, marked, strict=True)]
    captions = [
        f"{score:.1f}  landmark {landmark}\n{examination.ids[row]}"
        for score, landmark, row in zip(finding.measured, marked, rows, strict=True)
    ]
    return contact_sheet(tiles[:_MOST_FACES], columns=5, captions=captions[:_MOST_FACES])


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
        return np.full((_TILE, _TILE, 3), 90, dtype=np.uint8)
    points = transform_points(source.image_to_stored(row), source.table.landmarks[row])
    side = len(image)
    seen = points[np.isfinite(points).all(axis=-1)].clip(-0.2 * side, 1.2 * side)
    box = landmark_box(seen) if len(seen) and np.ptp(seen, axis=0).max() > 0 else np.array([0.0, 0.0, side, side])
    stored_to_tile = square_crop(box, margin=1.3, size=_TILE)
    factor = stored_to_tile[0, 0]
    if factor < 1:  # warpAffine samples single pixels; without the blur a large crop comes out grainy
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=0.4 / factor)
    tile = cv2.warpAffine(image, stored_to_tile[:2], (_TILE, _TILE), flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))
    if not draw:
        return tile
    placed = transform_points(stored_to_tile, points)
    tile = draw_landmarks(tile, placed, examination.store.info.scheme)
    if marked is not None and np.isfinite(placed[marked]).all():
        x, y = np.rint(placed[marked].clip(-_TILE, 2 * _TILE)).astype(int)
        cv2.circle(tile, (int(x), int(y)), 6, RED, 2, cv2.LINE_AA)
    return tile


_DRAWN: dict[str, Callable[[Examination, Finding, Sequence[int]], np.ndarray]] = {
    checks_shape.SHAPES: _shapes,
    checks_shape.EXCHANGED: _faces,
    checks_pictures.SIMILAR: _pairs,
    checks_pictures.IDENTICAL: _pairs,
    checks_points.OUTSIDE_PHOTO: _faces,
    checks_points.OUTSIDE_BOX: _faces,
    checks_points.OUTSIDE_CROP: _faces,
    checks_points.EYES: _faces,
    checks_points.TWICE: _faces,
    checks_points.SMALL: _faces,
}
