"""Pictures that ask to be shown turned, in every format that can, with points marked on the upright picture."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from tests.helpers.faces import draw_dots, quad_landmarks

ORIENTATION_TAG = 0x0112
FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 100, "subsampling": 0}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {"big_tiff": True}),
    ".avif": ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
}
"""Ending -> what Pillow calls a format that carries an orientation, and how to save in it with little loss."""
_BACK = {6: 8, 8: 6}


def smooth_picture(width: int = 60, height: int = 40, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 whose eight turned forms all differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def exif_bytes(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def save_with(path: Path, stored: np.ndarray | Image.Image, orientation: int) -> Path:
    """Write pixels as they are, and the orientation beside them."""
    image = stored if isinstance(stored, Image.Image) else Image.fromarray(stored)
    name, options = FORMATS[path.suffix]
    image.save(path, name, exif=exif_bytes(orientation), **options)
    return path


def shown_by_pillow(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 upright picture; from bytes, since Pillow does not turn TIFFs that it maps into memory."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def stored_for(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that Pillow shows as this picture under an orientation."""
    image = Image.fromarray(upright)
    image.getexif()[ORIENTATION_TAG] = _BACK.get(orientation, orientation)
    return np.asarray(ImageOps.exif_transpose(image))


def write_turned_faces(
    root: Path, orientations: Sequence[int], ending: str = ".png", size: str | None = "upright", coco: bool = False
) -> list[np.ndarray]:
    """A folder of faces of scheme QUAD, marked on upright pictures of 90 x 64 px, the last of them of split test.

    Args:
        orientations: of one picture each.
        size: what annotations state: that of the "upright" picture, of the "stored" one, or None.
        coco: write annotations/train.json and test.json, else annotations.csv.

    Returns:
        The upright pictures.
    """
    (root / "images").mkdir(parents=True)
    rows, uprights = [], []
    for number, (orientation, points) in enumerate(zip(orientations, quad_landmarks(len(orientations)), strict=True)):
        upright = draw_dots(points, 90, 64, sigma=1.5)
        stored = stored_for(upright, orientation)
        name = f"face_{number}{ending}"
        save_with(root / "images" / name, stored, orientation)
        height, width = (upright if size == "upright" else stored).shape[:2]
        rows.append({"image": name, "split": "test" if number == len(orientations) - 1 else "train"})
        rows[-1] |= {
            f"{axis}{i}": value for i, point in enumerate(points) for axis, value in zip("xy", point, strict=True)
        }
        rows[-1] |= {} if size is None else {"width": width, "height": height}
        uprights.append(upright)
    if coco:
        _write_coco(root, rows)
    else:
        pd.DataFrame(rows).to_csv(root / "annotations.csv", index=False)
    return uprights


def _write_coco(root: Path, rows: Sequence[dict[str, object]]) -> None:
    (root / "annotations").mkdir()
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        sizes = [{key: row[key] for key in ("width", "height") if key in row} for row in chosen]
        keypoints = [[value for i in range(4) for value in (row[f"x{i}"], row[f"y{i}"], 2)] for row in chosen]
        content = {
            "images": [{"id": k, "file_name": row["image"], **sizes[k]} for k, row in enumerate(chosen)],
            "annotations": [
                {"id": k, "image_id": k, "category_id": 1, "keypoints": points} for k, points in enumerate(keypoints)
            ],
            "categories": [{"id": 1, "name": "face"}],
        }
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
