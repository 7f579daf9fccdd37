"""Contact sheets of a store's faces.

Every function returns a sheet (H, W, 3) uint8 RGB. Landmarks of the left half of a face are blue, of the right half
orange, those in the middle green, so that a mirrored face whose landmarks were not renumbered is seen at once.
"""

from __future__ import annotations

import cv2
import numpy as np

from facegraph.curation.inspection.view import StoreView
from facegraph.data.pipeline import FaceCrop
from facegraph.geometry.affine import landmark_box, scaling, square_crop, transform_points, translation
from facegraph.viz.faces import RED, contact_sheet, draw_landmarks
from facegraph.viz.numbers import draw_numbers, draw_pairs

TILE, LARGE_TILE, SHAPE_TILE = 256, 900, 1200
DRAWS = 5
_COLUMNS = 6
_YELLOW, _WHITE = (255, 225, 60), (245, 245, 245)
_MARKED = 3  # landmarks ringed on a sheet of suspicious faces


def stored_sheet(view: StoreView, faces: np.ndarray) -> np.ndarray:
    """Whole crops as they lie in the store: landmarks (hidden ones red), official box white, network input yellow."""
    side = view.store.info.crop.side
    shrink = TILE / side
    half_pixel = (shrink - 1) / 2  # pixel centres are integers in both frames
    stored_to_tile = translation(half_pixel, half_pixel) @ scaling(shrink, (0.0, 0.0))
    official = view.store.boxes[view.rows]
    tiles = []
    for face in faces:
        crop = view.stored(face, stored_to_tile, TILE)
        colours = np.where(view.hidden(face)[:, None], RED, view.colours)
        tile = draw_landmarks(crop.image, crop.landmarks, view.scheme, colours, thickness=0.8)
        if np.isfinite(official[face]).all():
            tile = _outline(tile, _corners(official[face]), crop.image_to_crop, _WHITE)
        crop_to_image = np.linalg.inv(view.plain_place(face).image_to_crop)
        edge = np.array([-0.5, -0.5, view.input_size - 0.5, view.input_size - 0.5])
        square = transform_points(crop_to_image, _corners(edge))
        tiles.append(_outline(tile, square, crop.image_to_crop, _YELLOW))
    return contact_sheet(tiles, _COLUMNS, [view.caption(face) for face in faces])


def numbered_sheet(view: StoreView, faces: np.ndarray) -> np.ndarray:
    """Large faces with the index of every landmark beside it."""
    tiles = []
    for face in faces:
        crop = view.around(face, square_crop(landmark_box(view.landmarks[face]), 1.2, LARGE_TILE), LARGE_TILE)
        tiles.append(draw_numbers(crop.image, crop.landmarks, view.scheme, view.colours))
    return contact_sheet(tiles, 2, [view.store.frame["id"].iloc[view.rows[face]] for face in faces])


def crop_sheet(view: StoreView, faces: np.ndarray) -> np.ndarray:
    """What the network sees of faces that are scored, with the landmarks it has to find."""
    return contact_sheet(
        [_drawn(view, view.plain(face)) for face in faces], _COLUMNS, [view.caption(face) for face in faces]
    )


def augmented_sheet(view: StoreView, faces: np.ndarray) -> np.ndarray:
    """A row per face: its plain crop, then DRAWS draws of the augmentation."""
    tiles, captions = [], []
    for face in faces:
        tiles += [_drawn(view, view.plain(face)), *(_drawn(view, view.augmented(face, n)) for n in range(DRAWS))]
        captions += [view.caption(face, "plain"), *(f"draw {n}" for n in range(DRAWS))]
    return contact_sheet(tiles, DRAWS + 1, captions)


def face_sheet(view: StoreView, faces: np.ndarray) -> np.ndarray:
    """Faces cut out around their landmarks with some surroundings."""
    tiles = [_drawn(view, _close(view, face)) for face in faces]
    return contact_sheet(tiles, _COLUMNS, [view.caption(face) for face in faces])


def suspicious_sheet(view: StoreView, faces: np.ndarray, scores: np.ndarray, per_landmark: np.ndarray) -> np.ndarray:
    """Faces by shape residual, in the order given; their worst landmarks are ringed red and numbered.

    Args:
        scores: (M,).
        per_landmark: (M, N), of all faces of the view; see data.shape_residual.
    """
    tiles, captions = [], []
    for face in faces:
        crop = _close(view, face)
        tile = _drawn(view, crop)
        worst = np.argsort(-per_landmark[face], kind="stable")[:_MARKED]
        for landmark in worst:
            x, y = (round(float(v)) for v in crop.landmarks[landmark])
            cv2.circle(tile, (x, y), max(5, TILE // 36), RED, 1, cv2.LINE_AA)
        tiles.append(tile)
        numbers = ", ".join(str(int(i)) for i in worst)
        captions.append(view.caption(face, f"{scores[face]:.1f}   worst: {numbers}"))
    return contact_sheet(tiles, _COLUMNS, captions)


def mean_shape_picture(view: StoreView) -> np.ndarray:
    """The mean shape with numbers; grey lines join mirror pairs and should run parallel."""
    canvas = np.full((SHAPE_TILE, SHAPE_TILE, 3), (24, 24, 28), dtype=np.uint8)
    shape = transform_points(square_crop(landmark_box(view.mean_shape), 1.12, SHAPE_TILE), view.mean_shape)
    paired = draw_pairs(canvas, shape, view.scheme)
    return draw_numbers(paired, shape, view.scheme, view.colours)


def _close(view: StoreView, face: int) -> FaceCrop:
    return view.around(face, square_crop(landmark_box(view.landmarks[face]), 1.4, TILE), TILE)


def _drawn(view: StoreView, crop: FaceCrop) -> np.ndarray:
    """A crop with its landmarks, as a tile; a small network input is shown with its own pixels, enlarged."""
    factor = max(1, round(TILE / len(crop.image)))
    if factor == 1:
        return draw_landmarks(crop.image, crop.landmarks, view.scheme, view.colours, thickness=0.8)
    large = cv2.resize(crop.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    landmarks = crop.landmarks * factor + (factor - 1) / 2
    return draw_landmarks(large, landmarks, view.scheme, view.colours, thickness=0.8)


def _corners(box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _outline(
    tile: np.ndarray, corners: np.ndarray, image_to_tile: np.ndarray, colour: tuple[int, int, int]
) -> np.ndarray:
    points = np.rint(transform_points(image_to_tile, corners).clip(-1e4, 1e4) * 16).astype(np.int32)
    outlined = tile.copy()
    cv2.polylines(outlined, [points], True, colour, 1, cv2.LINE_AA, 4)
    return outlined
