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
from facegraph.curation.archives import find_state, unpack_archives
from facegraph.data.benchmarks.source_tree import check_outside, check_source
from facegraph.data.entries import Benchmark, FaceEntry, FileImage, to_storable
from facegraph.data.exif import MarkedFace, check_some_fit, decide_upright
from facegraph.data.images import ImageHeader, check_image
from facegraph.data.missing import LEAVE_OUT
from facegraph.data.store.layout import EXIF_APPLIED, EXIF_IGNORED, PLAN_FILE, CropPolicy, StoreInfo
from facegraph.data.store.lock import locked
from facegraph.data.store.partial import find_whole, resolve_out
from facegraph.data.store.plan import EXIF, ORIGIN, read_plan
from facegraph.data.store.writer import DEFAULT_CROP, Progress, StoreContent, accept_whole, write_locked
from facegraph.errors import DataError

_TOLD_EVERY = 100


def prepare(
    benchmark: Benchmark,
    source: str | Path,
    out: str | Path,
    crop: CropPolicy = DEFAULT_CROP,
    workers: int = 1,
    strict: bool = False,
    restart: bool = False,
    keep_unpacked: bool = False,
    decide_exif: bool = False,
    missing: str = LEAVE_OUT,
    progress: Progress | None = None,
) -> StoreInfo:
    """Read a source folder and write its store; see store.writer.write_store for what holds while it writes.

    Args:
        source: folder as downloaded; nothing in it is changed. Archives in it are unpacked to <out>.unpacked.
        out: folder of the store, outside the source. One that was made from the same archives is left as is at once.
        keep_unpacked: leave <out>.unpacked; otherwise it is removed once the store is whole.
        missing: what becomes of faces that lack landmarks: missing.LEAVE_OUT, counted and named, or MASK, kept.
        decide_exif: in place of crop.exif, let the sizes that the annotations state decide, see data.exif.
        progress: called with (stage, done, total); also while archives are unpacked and annotations are read.

    Raises:
        DataError: no such source, nothing of the benchmark in it, sizes that do not decide, or any reason of
            write_store.
    """
    source, out = Path(source).expanduser(), resolve_out(Path(out).expanduser())
    check_source(source, benchmark.layout)
    check_outside(out, source)
    content = _without_faces(benchmark, source, missing)
    with locked(out):
        settings = content.settings(crop)
        if decide_exif:
            del settings[EXIF]
        info = find_whole(out, settings)  # what is in the way is said before an hour of unpacking
        if info is not None and content.origin and (read_plan(out / PLAN_FILE) or {}).get(ORIGIN) == content.origin:
            return accept_whole(content, info, out, strict)
        with _leftover_told(unpacking := out.with_name(f"{out.name}.unpacked")):
            root = unpack_archives(source, unpacking, benchmark.archives, _in_megabytes(progress))
            index = benchmark.index(root, workers, progress and partial(progress, "reading annotations"))
            faces = relative_places(index.faces, root)
            content = replace(content, faces=faces, problems=index.problems, root=str(root))
            if decide_exif:
                crop = replace(crop, exif=_fitting_exif(content, progress))
            info = write_locked(content, out, crop, workers, strict, restart, progress)
        if root != source and not keep_unpacked:
            _remove_unpacked(root)
    return info


def _without_faces(benchmark: Benchmark, source: Path, missing: str) -> StoreContent:
    return StoreContent(
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


def _fitting_exif(content: StoreContent, progress: Progress | None) -> str:
    headers: dict[Path, ImageHeader | None] = {}
    marked = []
    for done, face in enumerate(content.faces, start=1):
        image = face.image
        if isinstance(image, FileImage) and image.path not in headers:
            headers[image.path] = _header(image)
        if isinstance(image, FileImage) and (header := headers[image.path]) is not None:
            marked.append(MarkedFace(image.name, header, face.marked_size, face.landmarks))
        if progress is not None and (done % _TOLD_EVERY == 0 or done == len(content.faces)):
            progress("reading headers", done, len(content.faces))
    upright = decide_upright(marked, content.source, "--exif ")
    check_some_fit(marked, upright, content.source)
    return EXIF_APPLIED if upright else EXIF_IGNORED


def _header(image: FileImage) -> ImageHeader | None:
    try:
        return check_image(image.path, image.where)
    except DataError:  # named among the problems once it is to be cut out
        return None


def _in_megabytes(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"unpacking {name}, MB", done // 10**6, total // 10**6)
