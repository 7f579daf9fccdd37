"""Pictures of faces: landmarks drawn on images, contact sheets, the worst faces of a run.

Convention: images are (H, W, 3) uint8 RGB, points (x, y) in their px with integers at pixel centres. Drawing returns a
copy and is accurate to 1/16 px.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box, square_crop, transform_points
from facegraph.landmarks import LandmarkScheme

GREEN = (60, 220, 90)
RED = (255, 70, 60)
WHITE = (245, 245, 245)
_BACKGROUND = (24, 24, 28)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # fractional bits of a drawn coordinate


def draw_landmarks(
    image: np.ndarray,
    landmarks: np.ndarray,
    scheme: LandmarkScheme,
    colour: tuple[int, int, int] | np.ndarray = GREEN,
    thickness: float = 1.0,
) -> np.ndarray:
    """Draw the scheme's contours as lines and the landmarks as dots.

    Args:
        image: (H, W, 3) uint8 RGB, left untouched.
        landmarks: (N, 2) px; a point that is not finite is left out together with its lines.
        colour: RGB of the dots, one for all or (N, 3) one each; lines have the hue of their ends and are blended with
            the image.
        thickness: factor on the sizes, which follow the image's shorter side.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: image or landmarks do not have the shapes above.
    """
    _check_image(image)
    if landmarks.shape != (scheme.num_landmarks, 2):
        raise DataError(
            f"landmarks have shape {landmarks.shape}; scheme '{scheme.name}' needs ({scheme.num_landmarks}, 2). "
            "Pass the scheme of the data set."
        )
    side = min(image.shape[:2])
    points, drawn = _fixed_point(landmarks, side)
    colours = np.broadcast_to(np.asarray(colour, dtype=float), (scheme.num_landmarks, 3))
    lines = image.copy()
    width = max(1, round(thickness * side / 300))
    for contour in scheme.contours:
        ends = [*contour.indices, contour.indices[0]] if contour.closed else list(contour.indices)
        for a, b in pairwise(ends):
            if drawn[a] and drawn[b]:
                blend = tuple((colours[a] + colours[b]) / 2)
                cv2.line(lines, points[a], points[b], blend, width, cv2.LINE_AA, _SHIFT)
    canvas = cv2.addWeighted(lines, 0.6, image, 0.4, 0.0)
    radius = round(thickness * max(1.1, side / 190) * 2**_SHIFT)
    for i in np.flatnonzero(drawn):
        cv2.circle(canvas, points[i], radius, tuple(colours[i]), cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return canvas


def contact_sheet(images: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Tiles in rows, each above its caption.

    Args:
        images: at least one (H, W, 3) uint8 RGB, all of one size.
        columns: tiles in a row.
        captions: one text per image, lines split at newlines; a line that is too long loses its beginning, because
            file names differ at the end.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        DataError: no image, images of different sizes, or another number of captions than images.
    """
    for image in images:
        _check_image(image)
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) != 1 or columns < 1:
        raise DataError(
            f"a contact sheet of {len(images)} images of sizes {sizes} in {columns} columns cannot be laid out; pass "
            "at least one image, all of one size, and at least one column."
        )
    if captions is not None and len(captions) != len(images):
        raise DataError(f"{len(captions)} captions for {len(images)} images; pass one per image.")
    lines = [caption.split("\n") for caption in captions] if captions is not None else [[] for _ in images]
    height, width = sizes[0]
    strip = _caption_height(width, max(map(len, lines)))
    tiles = [np.concatenate([image, _caption(text, width, strip)]) for image, text in zip(images, lines, strict=True)]
    gap = max(2, width // 64)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.empty((rows * (height + strip + gap) + gap, columns * (width + gap) + gap, 3), dtype=np.uint8)
    sheet[:] = _BACKGROUND
    for i, tile in enumerate(tiles):
        top, left = gap + i // columns * (height + strip + gap), gap + i % columns * (width + gap)
        sheet[top : top + height + strip, left : left + width] = tile
    return sheet


def worst_faces(
    image_of: Callable[[int], np.ndarray],
    predictions: np.ndarray,
    truths: np.ndarray,
    errors: np.ndarray,
    ids: Sequence[str],
    scheme: LandmarkScheme,
    path: Path,
    count: int = 16,
    tile: int = 320,
) -> Path:
    """Write a contact sheet of the faces with the largest errors: truth green, prediction red.

    Args:
        image_of: row -> (H, W, 3) uint8 RGB, called for the drawn rows only; `images.__getitem__` for a list.
        predictions, truths: (M, N, 2) image px.
        errors: (M,) per-face errors as fractions; NaN counts as the worst.
        ids: M names for the captions.
        count: number of faces.
        tile: side of a face's picture in px.

    Returns:
        path of the PNG.

    Raises:
        DataError: no face or lengths that differ.
    """
    lengths = {"predictions": len(predictions), "truths": len(truths), "errors": len(errors), "ids": len(ids)}
    if len(set(lengths.values())) != 1 or not len(errors):
        raise DataError(f"the worst faces need at least one face and equal lengths, got {lengths}.")
    worst_first = np.argsort(-np.nan_to_num(errors, nan=np.inf), kind="stable")[:count]
    tiles = [face_tile(image_of(int(row)), predictions[row], truths[row], scheme, tile) for row in worst_first]
    captions = [f"{100 * errors[row]:.2f} %  green: truth, red: predicted\n{ids[row]}" for row in worst_first]
    write_png(path, contact_sheet(tiles, columns=4, captions=captions))
    return Path(path)


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG; parent folders are made, an existing file is replaced.

    Raises:
        DataError: rgb is no such image.
    """
    _check_image(rgb)
    done, buffer = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise DataError(f"OpenCV cannot encode an image of shape {rgb.shape} as PNG; check that it is not empty.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(buffer.tobytes())


def cut_tile(image: np.ndarray, image_to_tile: np.ndarray, size: int, background: tuple[int, int, int]) -> np.ndarray:
    """What a tile shows of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        image_to_tile: (3, 3) px of the image -> px of the tile, one scale along x and y.
        size: side of the tile, px.
        background: RGB beyond the image.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    factor = image_to_tile[0, 0]
    if factor < 1:  # warpAffine samples single pixels; without the blur a large photograph comes out grainy
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=0.4 / factor)
    return cv2.warpAffine(image, image_to_tile[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=background)


def face_tile(
    image: np.ndarray, prediction: np.ndarray, truth: np.ndarray, scheme: LandmarkScheme, size: int
) -> np.ndarray:
    """One face as contact sheets show it: truth green, prediction red, cut so that both are seen.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction, truth: (N, 2) image px.
        size: side of the tile, px.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        DataError: image is no such image, or the points do not fit the scheme.
    """
    _check_image(image)
    box = landmark_box(truth)
    centre, side = (box[:2] + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1], 1.0)
    # one stray point must not shrink the face to a speck: look at most one face size beyond the true box
    reach = np.array([*(centre - 1.5 * side), *(centre + 1.5 * side)])
    seen = prediction[np.isfinite(prediction).all(axis=-1)].clip(reach[:2], reach[2:])
    image_to_tile = square_crop(landmark_box(np.concatenate([truth, seen])), margin=1.15, size=size)
    crop = cut_tile(image, image_to_tile, size, _BACKGROUND)
    crop = draw_landmarks(crop, transform_points(image_to_tile, truth), scheme, GREEN)
    return draw_landmarks(crop, transform_points(image_to_tile, prediction), scheme, RED)


def _fixed_point(landmarks: np.ndarray, side: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    finite = np.isfinite(landmarks).all(axis=-1)
    # far beyond the picture a line's direction no longer matters, an overflow of the integer does
    limited = np.where(finite[:, None], landmarks, 0.0).clip(-50 * side, 50 * side)
    fixed = np.rint(limited * 2**_SHIFT).astype(int)
    return [(int(x), int(y)) for x, y in fixed], finite


def _text_scale(width: int) -> float:
    return max(0.4, width / 560)


def _caption_height(width: int, lines: int) -> int:
    return 0 if lines == 0 else round(_text_scale(width) * (34 * lines + 12))


def _caption(lines: Sequence[str], width: int, height: int) -> np.ndarray:
    strip = np.empty((height, width, 3), dtype=np.uint8)
    strip[:] = _BACKGROUND
    scale = _text_scale(width)
    for i, line in enumerate(lines):
        bottom = round(scale * (34 * i + 28))
        text = _shorten(line, scale, width - round(12 * scale))
        cv2.putText(strip, text, (round(6 * scale), bottom), _FONT, scale, WHITE, 1, cv2.LINE_AA)
    return strip


def _shorten(text: str, scale: float, width: int) -> str:
    def fits(candidate: str) -> bool:
        return cv2.getTextSize(candidate, _FONT, scale, 1)[0][0] <= width

    if fits(text):
        return text
    return next((short for i in range(1, len(text)) if fits(short := "..." + text[i:])), "...")


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(
            f"the image has shape {image.shape} and type {image.dtype}; (H, W, 3) uint8 RGB is needed. Convert it."
        )
