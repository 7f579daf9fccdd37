"""Numbers beside landmarks, placed so that they can be read, and colours that tell left from right.

Convention: images are (H, W, 3) uint8 RGB, points (x, y) in their px with integers at pixel centres. Left and right
are those of the picture of an upright face, not of the person in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.viz import draw_landmarks

LEFT, MIDDLE, RIGHT = (70, 200, 255), (120, 240, 110), (255, 150, 40)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK, _GREY = (10, 10, 12), (90, 92, 100)
_ANGLES, _REACHES, _ROUNDS = 24, (0.95, 1.3, 1.8, 2.5, 3.4, 4.6), 4  # reaches in heights of a label
# what a place of a label costs: each px^2 of another label, each dot under it, each contour line it lies on or its
# leader crosses, each height of distance, and turning away from the outside of its contour
_ON_LABEL, _ON_DOT, _ON_LINE, _FAR, _INWARD, _OUTSIDE = 0.5, 6.0, 2.5, 1.0, 1.0, 50.0


def landmark_sides(scheme: LandmarkScheme, mean_shape: np.ndarray) -> np.ndarray:
    """(N,) int: -1 for landmarks of the left half of the picture, 1 for the right, 0 for those that mirror themselves.

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
    """Draw contours, dots and the index of every landmark; a thin line leads to a number that found no room beside it.

    Args:
        image: (H, W, 3) uint8 RGB, left untouched; 98 numbers need 640 px or more.
        landmarks: (N, 2) px, finite. colours: (N, 3) RGB.
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
        colour = tuple(float(c) for c in colours[i])
        gap = centre - landmarks[i]
        edge = centre - gap * min(1.0, 0.5 * height / max(np.abs(gap).max(), 1e-9))
        if np.linalg.norm(gap) > 1.4 * height:
            cv2.line(canvas, _pixel(landmarks[i]), _pixel(edge), colour, 1, cv2.LINE_AA)
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
    """(N, 2) centres of labels beside landmarks (N, 2), so that they cover few dots, lines and each other.

    Every label tries places around its landmark, outwards of its contour first; all labels are moved in turn, a few
    rounds, to where they cost least given the others.

    sizes: (N, 2) width and height of the labels, px. extent: width and height of the picture.
    """
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    height = float(sizes[:, 1].max())
    # on an ellipse as flat as the label, so that labels beside a dot lie as close to it as labels above it
    offsets = np.stack([directions * reach for reach in _REACHES])[None] * height
    offsets = offsets + directions[None, None] * (sizes[:, None, None] - height) / 2
    places = landmarks[:, None] + offsets.reshape(len(landmarks), -1, 2)
    layout = _Layout(landmarks, sizes, _segments(landmarks, scheme), np.array(extent, dtype=float))
    outward = _outward(landmarks, scheme)
    away = 1 - (directions[None] * outward[:, None]).sum(axis=-1)  # (N, angles)
    reach_cost = np.repeat(np.array(_REACHES), _ANGLES)
    fixed = np.stack([layout.fixed_cost(i, places[i]) for i in range(len(landmarks))])
    fixed += _FAR * reach_cost + _INWARD * np.tile(away, len(_REACHES))
    chosen = fixed.argmin(axis=-1)
    rows = np.arange(len(landmarks))
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for i in range(len(landmarks)):
            centres = places[rows, chosen]
            chosen[i] = (fixed[i] + layout.label_cost(i, places[i], centres)).argmin()
        if (before == chosen).all():
            break
    return places[rows, chosen]


@dataclass(frozen=True)
class _Layout:
    """Dots (N, 2), label sizes (N, 2), contour segments (E, 2, 2) and the picture's extent (2,)."""

    dots: np.ndarray
    sizes: np.ndarray
    segments: np.ndarray
    extent: np.ndarray

    def fixed_cost(self, i: int, places: np.ndarray) -> np.ndarray:
        """(K,) of the places (K, 2) of label i, whatever the other labels do."""
        half = self.sizes[i] / 2 + 1
        outside = ((places < half) | (places > self.extent - 1 - half)).any(axis=-1)
        on_dot = (np.abs(places[:, None] - self.dots) < half + 2).all(axis=-1).sum(axis=-1)
        # lines are met where the leader crosses them, and where the label's diagonals do
        ends = [(np.broadcast_to(self.dots[i], places.shape) * 0.999 + places * 0.001, places)]
        ends += [(places - half * sign, places + half * sign) for sign in (np.array([1, 1]), np.array([1, -1]))]
        met = sum(_crossings(a, b, self.segments) for a, b in ends)
        return _OUTSIDE * outside + _ON_DOT * on_dot + _ON_LINE * met

    def label_cost(self, i: int, places: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """(K,) of the places of label i among the other labels at centres (N, 2): overlap, and crossing leaders."""
        room = (self.sizes + self.sizes[i]) / 2 - np.abs(places[:, None] - centres)
        overlap = room.clip(0).prod(axis=-1)
        overlap[:, i] = 0
        others = np.arange(len(centres)) != i
        leaders = np.stack([self.dots, centres], axis=1)[others]
        crossed = _crossings(np.broadcast_to(self.dots[i], places.shape), places, leaders)
        return _ON_LABEL * overlap.sum(axis=-1) + _ON_LINE * crossed


def _crossings(starts: np.ndarray, ends: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(K,) how many segments (E, 2, 2) each line from starts (K, 2) to ends (K, 2) crosses, touching not counted."""
    if not len(segments):
        return np.zeros(len(starts))

    def side(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
        return (b[..., 0] - a[..., 0]) * (p[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (p[..., 0] - a[..., 0])

    a, b, c, d = starts[:, None], ends[:, None], segments[None, :, 0], segments[None, :, 1]
    return ((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum(axis=-1)


def _segments(landmarks: np.ndarray, scheme: LandmarkScheme) -> np.ndarray:
    pairs = [
        pair
        for contour in scheme.contours
        for pair in pairwise([*contour.indices, contour.indices[0]] if contour.closed else contour.indices)
    ]
    return landmarks[np.array(pairs, dtype=int).reshape(-1, 2)]


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
