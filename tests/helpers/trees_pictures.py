"""Photographs with drawn faces whose landmarks are known, saved well or badly, for the trees of trees.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.landmarks import SCHEMES, LandmarkScheme

_QUALITY = 92
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Photo:
    """pixels: (H, W, 3) uint8 RGB. landmarks: (F, N, 2) float64 px of these pixels, one row per face."""

    pixels: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class TreeFace:
    """image: path of the photograph as the annotation names it. split: as published. landmarks: (N, 2), 0-based px."""

    image: str
    split: str
    landmarks: np.ndarray
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tree:
    """root: the folder to hand to --source. faces: the truth, in the order of the annotations."""

    root: Path
    faces: list[TreeFace] = field(default_factory=list)

    def split(self, name: str) -> list[TreeFace]:
        return [face for face in self.faces if face.split == name]


@lru_cache(maxsize=16)
def _drawn(scheme: str, split: str, count: int, side: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Count face pictures (side, side, 3) of a split and their landmarks (count, N, 2)."""
    dataset = SyntheticDataset(SCHEMES[scheme], train_size=count, test_size=count, image_size=side, seed=seed)
    source = {"train": dataset.train, "test": dataset.test}[split]()
    return [source.image(i) for i in range(count)], source.table.landmarks


def photos(
    scheme: LandmarkScheme,
    split: str,
    count: int,
    *,
    faces: int = 1,
    side: int = 48,
    distinct: int = 100,
    seed: int = 0,
) -> list[Photo]:
    """Count photographs with some faces side by side before a blurred background, the same ones at every call.

    split: "train" or "test"; their faces differ. side: of the square around a face, px. distinct: faces that are drawn;
    more than these repeat before other backgrounds, so that full-size trees cost seconds. seed: another one draws
    other faces.
    """
    drawn, points = _drawn(scheme.name, split, min(distinct, count * faces), side, seed)
    rng = np.random.default_rng([count, faces, side, len(split), seed])
    made = []
    for number in range(count):
        height, width = side + 24, faces * (side + 8) + 16
        coarse = rng.integers(30, 225, (4, 2 + 2 * faces, 3)).astype(np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        landmarks = []
        for face in range(faces):
            chosen = (number * faces + face) % len(drawn)
            x, y = 8 + face * (side + 8) + int(rng.integers(0, 8)), int(rng.integers(4, 20))
            pixels[y : y + side, x : x + side] = drawn[chosen]
            landmarks.append(points[chosen] + [x, y])
        made.append(Photo(pixels, np.stack(landmarks)))
    return made


def _encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _jpeg(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(_encoded(pixels))


def _png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _png16(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)[1].tobytes())


def _grey(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).convert("L").save(path, format="JPEG", quality=_QUALITY)


def _cmyk(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).convert("CMYK").save(path, format="JPEG", quality=_QUALITY)


def _exif_rotated(path: Path, pixels: np.ndarray) -> None:
    """The pixels as they are, with a tag that asks viewers to turn them by 90 degrees."""
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = 6
    Image.fromarray(pixels).save(path, format="JPEG", quality=_QUALITY, exif=exif)


def _truncated(path: Path, pixels: np.ndarray) -> None:
    whole = _encoded(pixels)
    path.write_bytes(whole[: len(whole) // 2])


def _empty(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(b"")


def _missing(path: Path, pixels: np.ndarray) -> None:
    """No file at all."""


SAVERS: Mapping[str, Callable[[Path, np.ndarray], None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "png16": _png16,
    "grey": _grey,
    "cmyk": _cmyk,
    "exif": _exif_rotated,
    "truncated": _truncated,
    "empty": _empty,
    "missing": _missing,
}
"""Ways to save a photograph; truncated, empty and missing ones cannot be read. EXIF-rotated ones keep their pixels."""


def save_photo(path: Path, pixels: np.ndarray, kind: str = "jpeg") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SAVERS[kind](path, pixels)


def extension(kind: str, number: int, mixed_case: bool) -> str:
    """File extension of photograph number: PNG kinds get .png; every third is written in capitals if mixed_case."""
    ending = ".png" if kind.startswith("png") else ".jpg"
    return ending.upper() if mixed_case and number % 3 == 2 else ending
