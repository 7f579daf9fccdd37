"""Original photographs to measure on: drawn ones in a temporary folder, or those that a store was made from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.images import read_image
from facegraph.data.source import FaceTable
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.writer import StoreContent, write_store
from facegraph.data.synthetic import SyntheticDataset
from facegraph.errors import DataError
from facegraph.landmarks import WFLW98

WIDTH, HEIGHT = 1024, 768
_DRAWN_AT = 256
_FACE_SIDE = 512
_DIFFERENT = 128
_GRAIN = 8.0
_QUALITY = 90


class PhotographSource:
    """The faces of a table cut out of their original photographs, decoded anew each time.

    paths: one image file per row.
    """

    def __init__(self, table: FaceTable, paths: Sequence[Path]) -> None:
        self._table = table
        self._paths = [str(path) for path in paths]

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        return read_image(Path(self._paths[index]), self._table.ids[index])

    def image_to_stored(self, index: int) -> np.ndarray:
        return np.eye(3)


def draw_photographs(folder: Path, faces: int) -> StoreContent:
    """Write JPEGs of 1024 x 768 px with one drawn face of 98 landmarks each; the faces as a store is made of them.

    At most 128 different pictures are drawn and written under several names: each file is read and decoded on its own,
    and what is in it does not matter to the time. The grain is chosen so that decoding takes as long per pixel as for
    photographs of WFLW (3.1 ms per megapixel for both where it was measured).
    """
    source = SyntheticDataset(WFLW98, train_size=min(faces, _DIFFERENT), test_size=1, image_size=_DRAWN_AT).train()
    scale = _FACE_SIDE / _DRAWN_AT
    x, y = (WIDTH - _FACE_SIDE) // 2, (HEIGHT - _FACE_SIDE) // 2
    landmarks = scale * (source.table.landmarks + 0.5) - 0.5 + np.array([x, y])
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda i: _jpeg(source.image(i), x, y, i), range(len(source.table))))
    entries = []
    for number in range(faces):
        name = f"{number:06d}.jpg"
        (folder / name).write_bytes(pictures[number % len(pictures)])
        image = FileImage(folder / name, name, f"{folder}: {name}")
        entries.append(FaceEntry(name, image, name, "train", landmarks[number % len(pictures)], image.where))
    return StoreContent("drawn photographs", WFLW98, entries, source=str(folder))


def _jpeg(face: np.ndarray, x: int, y: int, seed: int) -> bytes:
    picture = cv2.resize(face, (_FACE_SIDE, _FACE_SIDE), interpolation=cv2.INTER_CUBIC)
    picture = cv2.copyMakeBorder(picture, y, y, x, x, cv2.BORDER_REFLECT)
    grain = np.random.default_rng(seed).normal(0, _GRAIN, (HEIGHT, WIDTH, 1))
    noisy = np.clip(picture + cv2.GaussianBlur(grain, (0, 0), 0.8)[..., None], 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise DataError("OpenCV cannot write JPEG here; install a build of opencv-python-headless that can.")
    return data.tobytes()


def make_store(content: StoreContent, out: Path, image_format: str, workers: int) -> Path:
    """A prepared store of 512 px crops, twice the box; image_format: "raw" or "jpeg"."""
    quality = 95 if image_format == "jpeg" else 0
    write_store(content, out, CropPolicy(image_format=image_format, quality=quality), workers=workers)
    return out


def find_photographs(names: Sequence[str], folder: Path) -> list[Path]:
    """The image file of each name, anywhere under a folder.

    Raises:
        DataError: one that is not there.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts = path.relative_to(folder).parts
            for start in range(len(parts)):
                found.setdefault("/".join(parts[start:]), path)
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} photographs are not under {folder}, first '{missing[0]}'. "
            "Give --source the folder that the store was prepared from, unpacked."
        )
    return [found[name] for name in names]
