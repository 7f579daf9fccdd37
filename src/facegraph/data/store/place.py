"""Where a store is written: one writer at a time, in <out>.partial, which takes its name once it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facegraph.data.store.layout import IMAGE_FOLDER, INFO_FILE, PROBLEMS_FILE, TABLE_FILE
from facegraph.errors import DataError
from facegraph.files.locking import HeldError, held


def resolve_out(out: str | Path) -> Path:
    """The place that --out names, links followed: a store is built beside it and must be renamed on one disk.

    Raises:
        DataError: no name, a link to nowhere, or the root of a disk.
    """
    out = Path(out)
    if out.name in ("", ".."):
        raise DataError(f"--out {out} names no folder of its own. Give the store a name, such as {out / 'store'}.")
    if os.path.islink(out) and not os.path.exists(out):
        raise DataError(
            f"--out {out} is a link to {os.readlink(out)}, which does not exist. Make that folder, or choose another "
            "--out."
        )
    place = Path(os.path.realpath(out))
    if os.path.ismount(place):
        raise DataError(f"--out {out} is the root of a disk, which cannot be renamed. Choose a folder in it.")
    return place


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold <out>.lock while a store is written there.

    Raises:
        DataError: another process holds it, or it cannot be made.
    """
    path = out.with_name(f"{out.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except HeldError as error:
            raise DataError(
                f"another prepare (process {error.holder}) is writing {out}. Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise DataError(
                f"{path} cannot be made: {error.strerror or error}. Choose an --out in a folder where you may write."
            ) from error
        yield


def partial_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def open_partial(out: Path) -> Path:
    """An empty folder to build in; what a killed run left there is removed.

    Raises:
        DataError: a folder that no prepare made.
    """
    folder = partial_folder(out)
    if folder.exists():
        if not _is_ours(folder):
            raise DataError(f"{folder} exists and was not made by prepare. Move it away, or choose another --out.")
        shutil.rmtree(folder)
    (folder / IMAGE_FOLDER).mkdir(parents=True)
    return folder


def _is_ours(folder: Path) -> bool:
    """Whether nothing lies in a folder but what a writer puts there."""
    if not folder.is_dir():
        return False
    names = {child.name for child in folder.iterdir()} - {IMAGE_FOLDER}
    images = folder / IMAGE_FOLDER
    shards = images.iterdir() if images.is_dir() else ()
    return names <= {TABLE_FILE, PROBLEMS_FILE, INFO_FILE} and all(shard.suffix == ".bin" for shard in shards)


def publish(folder: Path, out: Path) -> None:
    """Give a finished folder its name, after its content reached the disk: a rename may survive a power cut alone."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)
    os.rename(folder, out)
    _sync(out.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
