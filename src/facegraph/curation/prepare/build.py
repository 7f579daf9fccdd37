"""One benchmark, as its publisher ships it, into one prepared store."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from facegraph.curation.archives import unpack_archives
from facegraph.data.benchmarks.gathering import Benchmark
from facegraph.data.benchmarks.source_tree import check_outside, check_source
from facegraph.data.entries import FaceEntry, FileImage, to_storable
from facegraph.data.exif import MarkedFace, check_some_fit, decide_upright
from facegraph.data.faults import LEAVE_OUT
from facegraph.data.images import ImageHeader, check_image
from facegraph.data.store.layout import EXIF_APPLIED, EXIF_IGNORED, CropPolicy, StoreInfo
from facegraph.data.store.place import locked, resolve_out
from facegraph.data.store.writer import DEFAULT_CROP, EXIF, Progress, StoreContent, find_store, write_locked
from facegraph.errors import DataError

_TOLD_EVERY = 100


def prepare(
    benchmark: Benchmark,
    source: str | Path,
    out: str | Path,
    crop: CropPolicy = DEFAULT_CROP,
    workers: int = 1,
    strict: bool = False,
    keep_unpacked: bool = False,
    decide_exif: bool = False,
    missing: str = LEAVE_OUT,
    progress: Progress | None = None,
) -> StoreInfo:
    """Read a source folder and write its store; see store.writer.write_store for what holds while it writes.

    Args:
        benchmark: the data set.
        source: folder as downloaded; nothing in it is changed. Archives in it are unpacked to <out>.unpacked.
        out: folder of the store, outside the source. A store of the same settings is left as it is.
        crop: how faces are cut out.
        workers: processes; 1 works in this one.
        strict: a problem, or a count that is not official, is an error.
        keep_unpacked: leave <out>.unpacked; otherwise it is removed, whether the store was made or not.
        decide_exif: in place of crop.exif, let the sizes that the annotations state decide, see data.exif.
        missing: what becomes of faces that lack landmarks: faults.LEAVE_OUT, counted and named, or MASK, kept.
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
        # what is in the way is said before an hour of unpacking
        info = find_store(content, out, crop, strict, undecided=(EXIF,) if decide_exif else ())
        if info is not None:
            return info
        root, unpacked = source, out.with_name(f"{out.name}.unpacked")
        try:
            root = unpack_archives(source, unpacked, benchmark.archives, _in_megabytes(progress))
            index = benchmark.index(root, workers, progress and partial(progress, "reading annotations"))
            faces = relative_places(index.faces, root)
            content = replace(content, faces=faces, problems=index.problems, root=str(root))
            if decide_exif:
                crop = replace(crop, exif=_fitting_exif(content, progress))
            return write_locked(content, out, crop, workers, strict, progress)
        finally:
            if root != source and not keep_unpacked:
                shutil.rmtree(root, ignore_errors=True)
                if not any(unpacked.iterdir()):
                    unpacked.rmdir()


def _without_faces(benchmark: Benchmark, source: Path, missing: str) -> StoreContent:
    told = ("name", "version", "scheme", "attributes", "official_counts")  # told elsewhere, or a consequence
    return StoreContent(
        dataset=benchmark.name,
        scheme=benchmark.scheme,
        faces=(),
        attributes=benchmark.attributes,
        version=benchmark.version,
        official_counts=benchmark.official_counts,
        optional_splits=benchmark.optional_splits,
        source=str(source),
        missing=missing,
        options={name: str(value) for name, value in sorted(vars(benchmark).items()) if name not in told},
    )


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
