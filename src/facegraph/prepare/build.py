"""One benchmark, as its publisher ships it, into one prepared store."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from facegraph.data.archives import unpacked
from facegraph.data.entries import Benchmark, FaceEntry
from facegraph.data.store.layout import CropPolicy, StoreInfo
from facegraph.data.store.lock import locked
from facegraph.data.store.partial import whole_store
from facegraph.data.store.writer import DEFAULT_CROP, Progress, StoreContent, write_locked
from facegraph.errors import DataError


def prepare(
    benchmark: Benchmark,
    source: str | Path,
    out: str | Path,
    crop: CropPolicy = DEFAULT_CROP,
    workers: int = 1,
    strict: bool = False,
    restart: bool = False,
    keep_unpacked: bool = False,
    progress: Progress | None = None,
) -> StoreInfo:
    """Read a source folder and write its store; see store.writer.write_store for what holds while it writes.

    Args:
        source: folder as downloaded; nothing in it is changed. Archives in it are unpacked to <out>.unpacked.
        out: folder of the store, outside the source.
        keep_unpacked: leave <out>.unpacked; otherwise it is removed once the store is whole.
        progress: called with (stage, done, total); also while archives are unpacked and annotations are read.

    Raises:
        DataError: no such source, nothing of the benchmark in it, or any reason of write_store.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_places(source, out, benchmark)
    content = StoreContent(
        dataset=benchmark.name,
        scheme=benchmark.scheme,
        faces=(),
        attributes=benchmark.attributes,
        version=benchmark.version,
        official_counts=benchmark.official_counts,
        source=str(source),
    )
    with locked(out):
        whole_store(out, content.settings(crop))  # what is in the way is said before an hour of unpacking
        unpacking = out.with_name(f"{out.name}.unpacked")
        root = unpacked(source, unpacking, benchmark.archives, _in_megabytes(progress))
        reading = None if progress is None else partial(progress, "reading annotations")
        index = benchmark.index(root, workers, reading)
        content = replace(content, faces=relative_places(index.faces, root), problems=index.problems)
        info = write_locked(content, out, crop, workers, strict, restart, progress)
        if root != source and not keep_unpacked:
            shutil.rmtree(root, ignore_errors=True)
            if not any(unpacking.iterdir()):
                unpacking.rmdir()
    return info


def relative_places(faces: tuple[FaceEntry, ...], root: Path) -> tuple[FaceEntry, ...]:
    """Faces whose annotation's place is told from root on, so that a store is the same wherever its source lay."""
    return tuple(replace(face, where=face.where.removeprefix(f"{root}/")) for face in faces)


def _in_megabytes(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"unpacking {name}, MB", done // 10**6, total // 10**6)


def _check_places(source: Path, out: Path, benchmark: Benchmark) -> None:
    if not source.is_dir():
        near = next((p for p in source.absolute().parents if p.is_dir()), Path("/"))
        raise DataError(
            f"source {source} is no folder (the path exists up to {near}). Give the folder that holds the files of "
            f"{benchmark.name}: {benchmark.layout}"
        )
    if out.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"--out {out} lies inside the source {source}, in which nothing is written. Choose a folder beside it."
        )
