"""Faces on disk as entries, and small prepared stores of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.data.store.writer import StoreContent, write_store
from tests.helpers.faces import QUAD, draw_dots, quad_landmarks

SMALL_CROP = CropPolicy(side=64)


def quad_entries(root: Path, count: int, tests: int = 0, faces_per_photo: int = 1, side: int = 64) -> list[FaceEntry]:
    """Entries of scheme QUAD with photographs of dots under root, faces of one photograph side by side.

    Attribute "odd" holds for every second face; value "number" is the place in the list; the last faces are of split
    test. Landmarks of even faces are marked as hidden in part, the others have no such marks.
    """
    root.mkdir(parents=True, exist_ok=True)
    landmarks = quad_landmarks(count, side=side)
    entries = []
    for first in range(0, count, faces_per_photo):
        members = range(first, min(first + faces_per_photo, count))
        points = {i: landmarks[i] + [side * (i - first), 0] for i in members}
        name = f"photo_{first // faces_per_photo:04d}.png"
        image = draw_dots(np.concatenate(list(points.values())), side * faces_per_photo, side, sigma=1.5)
        cv2.imwrite(str(root / name), image)
        for i in members:
            entries.append(
                FaceEntry(
                    id=f"{name}#{i - first}",
                    image=FileImage(root / name, name, f"list.txt, line {i + 1}"),
                    photo=name,
                    split="train" if i < count - tests else "test",
                    landmarks=points[i],
                    where=f"list.txt, line {i + 1}",
                    attributes={"odd": i % 2 == 1},
                    values={"number": float(i)},
                    hidden=np.array([True, False, False, False]) if i % 2 == 0 else None,
                )
            )
    return entries


def quad_content(root: Path, count: int, tests: int = 0, faces_per_photo: int = 1) -> StoreContent:
    return StoreContent(
        "quad", QUAD, quad_entries(root, count, tests, faces_per_photo), attributes=("odd",), version="1"
    )


def quad_store(root: Path, count: int = 12, tests: int = 4, crop: CropPolicy = SMALL_CROP) -> FaceStore:
    """A store under root/store of faces whose photographs lie in root/photos."""
    write_store(quad_content(root / "photos", count, tests), root / "store", crop)
    return FaceStore(root / "store")
