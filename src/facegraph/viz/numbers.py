"""Numbers beside landmarks, placed so that they can be read, and colours that tell left from right.

Convention: images are (H, W, 3) uint8 RGB, points (x, y) in their px with integers at pixel centres. Left and right
are those of the picture of an upright face, not of the person in it.
"""

from __future__ import annotations

import cv2
import numpy as np

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.viz.faces import draw_landmarks

LEFT, MIDDLE, RIGHT = (70, 200, 255), (120, 240, 110), (255, 150, 40)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK, _GREY = (10, 10, 12), (90, 92, 100)


def landmark_sides(scheme: LandmarkScheme, mean_shape: np.ndarray) -> np.ndarray:
    """(N,) int: -1 for landmarks of the left half of the picture, 1 for the right, 0 for those that mirror themselves.

    Args:
        mean_shape: (N, 2) of upright faces, any unit; it says which of a mirror pair is the left one.
    """
    flip = np.array(scheme.flip)
    x = mean_shape[:, 0]
    return np.sign(x - x[flip]).astype(int)


def side_colours(sides: np.ndarray) -> np.ndarray:
    """(N, 3) RGB of landmark_sides: LEFT, MIDDLE or RIGHT."""
    return np.array([LEFT, MIDDLE, RIGHT])[sides + 1]


def draw_numbers(
    image: np.ndarray,
    landmarks: np.ndarray,
    scheme: LandmarkScheme,
    colours: np.ndarray,
    text_height: float | None = None,
) -> np.ndarray:
    """Draw contours, dots and, outwards of each, its index.

    Args:
        image: (H, W, 3) uint8 RGB, left untouched; 98 numbers need 640 px or more.
        landmarks: (N, 2) px, finite.
        colours: (N, 3) RGB.
        text_height: of a digit in px; by default 1/62 of the image's shorter side, at least 8.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: image, landmarks or colours do not have the shapes above.
    """
    if np.shape(colours) != (scheme.num_landmarks, 3):
        raise DataError(f"colours have shape {np.shape(colours)}; ({scheme.num_landmarks}, 3) are needed.")
    shadow = draw_landmarks(image, landmarks, scheme, _DARK, thickness=1.1)  # keeps light colours apart from skin
    canvas = draw_landmarks(shadow, landmarks, scheme, colours, thickness=0.75)
    height = max(8.0, min(image.shape[:2]) / 62) if text_height is None else text_height
    scale = height / cv2.getTextSize("0", _FONT, 1.0, 1)[0][1]
    texts = [str(i) for i in range(scheme.num_landmarks)]
    sizes = np.array([(cv2.getTextSize(text, _FONT, scale, 1)[0][0], height) for text in texts]) + 2.0
    centres = place_labels(landmarks, sizes, scheme, (image.shape[1], image.shape[0]))
    for i, centre in enumerate(centres):
        corner = (round(centre[0] - sizes[i][0] / 2) + 1, round(centre[1] + height / 2))
        cv2.putText(canvas, texts[i], corner, _FONT, scale, _DARK, 3, cv2.LINE_AA)
        cv2.putText(canvas, texts[i], corner, _FONT, scale, tuple(map(float, colours[i])), 1, cv2.LINE_AA)
    return canvas


def draw_pairs(image: np.ndarray, landmarks: np.ndarray, scheme: LandmarkScheme) -> np.ndarray:
    """A copy of image (H, W, 3) uint8 RGB with a grey line between each landmark (N, 2) px and its mirror landmark."""
    canvas = image.copy()
    for i, j in enumerate(scheme.flip):
        if i < j:
            cv2.line(canvas, _pixel(landmarks[i]), _pixel(landmarks[j]), _GREY, 1, cv2.LINE_AA)
    return canvas


def place_labels(
    landmarks: np.ndarray, sizes: np.ndarray, scheme: LandmarkScheme, extent: tuple[int, int]
) -> np.ndarray:
    """(N, 2) centres of labels beside landmarks (N, 2): outwards of a closed contour, else of the face.

    Args:
        sizes: (N, 2) width and height of the labels, px.
        extent: width and height of the picture, which they do not leave.
    """
    # on an ellipse as flat as the label, so that labels beside a dot lie as close to it as labels above it
    centres = landmarks + _outward(landmarks, scheme) * (sizes[:, 1:] / 2 + sizes / 2)
    return centres.clip(sizes / 2, np.array(extent) - 1 - sizes / 2)


def _outward(landmarks: np.ndarray, scheme: LandmarkScheme) -> np.ndarray:
    """(N, 2) unit vectors: away from the middle of the contour where it is closed, else away from the face's middle."""
    middle = np.repeat(landmarks.mean(axis=0, keepdims=True), len(landmarks), axis=0)
    for contour in scheme.contours:
        if contour.closed:
            middle[list(contour.indices)] = landmarks[list(contour.indices)].mean(axis=0)
    away = landmarks - middle
    return away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
