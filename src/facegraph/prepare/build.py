"""One benchmark, as its publisher ships it, into one prepared store."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import facegraph
from facegraph.data.archives import find_state, unpack_archives
from facegraph.data.benchmarks.source_tree import check_outside, check_source
from facegraph.data.entries import Benchmark, FaceEntry, to_storable
from facegraph.data.missing import LEAVE_OUT
from facegraph.data.store.layout import PLAN_FILE, CropPolicy, StoreInfo
from facegraph.data.store.lock import locked
from facegraph.data.store.partial import find_whole, resolve_out
from facegraph.data.store.plan import ORIGIN, read_plan
from facegraph.data.store.writer import DEFAULT_CROP, Progress, StoreContent, accept_whole, write_locked
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
    missing: str = LEAVE_OUT,
    progress: Progress | None = None,
) -> StoreInfo:
    """Read a source folder and write its store; see store.writer.write_store for what holds while it writes.

    Args:
        source: folder as downloaded; nothing in it is changed. Archives in it are unpacked to <out>.unpacked.
        out: folder of the store, outside the source. One that was made from the same archives is left as is at once.
        keep_unpacked: leave <out>.unpacked; otherwise it is removed once the store is whole.
        missing: what becomes of faces that lack landmarks: missing.LEAVE_OUT, counted and named, or MASK, kept.
        progress: called with (stage, done, total); also while archives are unpacked and annotations are read.

    Raises:
        DataError: no such source, nothing of the benchmark in it, or any reason of write_store.
    """
    source, out = Path(source).expanduser(), resolve_out(Path(out).expanduser())
    check_source(source, benchmark.layout)
    check_outside(out, source)
    content = StoreContent(
        dataset=benchmark.name,
        scheme=benchmark.scheme,
        faces=(),
        attributes=benchmark.attributes,
        version=benchmark.version,
        official_counts=benchmark.official_counts,
        optional_splits=benchmark.optional_splits,
        source=str(source),
        origin=_origin(source, benchmark),
        missing=missing,
    )
    with locked(out):
        info = find_whole(out, content.settings(crop))  # what is in the way is said before an hour of unpacking
        if info is not None and content.origin and (read_plan(out / PLAN_FILE) or {}).get(ORIGIN) == content.origin:
            return accept_whole(content, info, out, strict)
        with _leftover_told(unpacking := out.with_name(f"{out.name}.unpacked")):
            root = unpack_archives(source, unpacking, benchmark.archives, _in_megabytes(progress))
            index = benchmark.index(root, workers, progress and partial(progress, "reading annotations"))
            faces = relative_places(index.faces, root)
            content = replace(content, faces=faces, problems=index.problems, root=str(root))
            info = write_locked(content, out, crop, workers, strict, restart, progress)
        if root != source and not keep_unpacked:
            _remove_unpacked(root)
    return info


@contextmanager
def _leftover_told(unpacking: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if not any(path.is_file() for path in unpacking.rglob("*")):
            raise
        raise DataError(f"{error} What was unpacked stays in {unpacking} for the next run.") from error


def _remove_unpacked(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    if not any(root.parent.iterdir()):
        root.parent.rmdir()


def _origin(source: Path, benchmark: Benchmark) -> str:
    """Texts that are equal only if archives, options of the benchmark and readers are; "" if it is not archives."""
    state = find_state(source, benchmark.archives)
    options = zlib.crc32(repr(sorted(vars(benchmark).items())).encode())
    return "" if state is None else f"{state}, options {options:08x}, facegraph {facegraph.__version__}"


def relative_places(faces: tuple[FaceEntry, ...], root: Path) -> tuple[FaceEntry, ...]:
    """Faces whose annotation's place is told from root on, so that a store is the same wherever its source lay."""
    prefix = to_storable(f"{root}/")
    return tuple(replace(face, where=face.where.removeprefix(prefix)) for face in faces)


def _in_megabytes(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"unpacking {name}, MB", done // 10**6, total // 10**6)
