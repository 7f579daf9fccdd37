"""The same faces from several places: a prepared store, one of JPEG crops, and their original photographs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facegraph.bench.photographs import PhotographSource, draw_photographs, find_photographs, make_store
from facegraph.data.source import FaceSource
from facegraph.data.store.layout import JPEG, RAW
from facegraph.data.store.reader import FaceStore
from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme

_BYTES_PER_FACE = 1_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchFaces:
    """The same faces from up to three places, in the same order."""

    scheme: LandmarkScheme
    store: FaceSource
    raw: bool
    jpeg: FaceSource | None
    photographs: FaceSource | None


def open_faces(store: Path, source: Path | None, faces: int) -> BenchFaces:
    """The first faces of the largest split of a store.

    source: folder of its photographs; None takes the one that the store names, if they are there.

    Raises:
        DataError: no whole store, or a photograph that is not under source.
    """
    opened = FaceStore(store)
    rows = opened.rows(str(opened.frame["split"].value_counts().idxmax()))[:faces]
    stored = opened.source(rows)
    folder = source if source is not None else Path(opened.info.source)
    photographs = None
    if source is not None or (opened.info.source and folder.is_dir()):
        try:
            paths = find_photographs(list(opened.frame["image"].iloc[rows]), folder)
            photographs = PhotographSource(stored.table, paths)
        except DataError:
            if source is not None:  # the store's own word may be out of date, the user's may not
                raise
    return BenchFaces(opened.info.scheme, stored, opened.info.crop.image_format == RAW, None, photographs)


def draw_faces(folder: Path, faces: int, jpeg: bool, say: Say) -> BenchFaces:
    """Drawn photographs and what is prepared from them, below folder.

    Raises:
        DataError: no room.
    """
    free = shutil.disk_usage(folder).free
    needed = faces * _BYTES_PER_FACE + 2**28
    if free < needed:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free, {faces} faces need {needed / 1e9:.1f}. Use fewer --faces, or set "
            "TMPDIR to a folder with more room."
        )
    say(f"drawing photographs of {faces} faces")
    content = draw_photographs(folder / "photographs", faces)
    # starting a process takes as long as cutting out a hundred faces
    cores = min(os.cpu_count() or 1, 1 + faces // 200)
    say("preparing a store of raw crops")
    raw = FaceStore(make_store(content, folder / "raw", RAW, cores))
    rows = raw.rows("train")
    jpeg_source = None
    if jpeg:
        say("preparing a store of JPEG crops")
        jpeg_source = FaceStore(make_store(content, folder / "jpeg", JPEG, cores)).source(rows)
    stored = raw.source(rows)
    paths = find_photographs(list(raw.frame["image"].iloc[rows]), folder / "photographs")
    return BenchFaces(content.scheme, stored, True, jpeg_source, PhotographSource(stored.table, paths))
