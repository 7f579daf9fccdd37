"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def beside(path: Path) -> Path:
    """Where a process writes what is to be renamed to path: a name that no other process of this machine writes to.

    Not tempfile: its files are private to the user, results are to be read by the group.
    """
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def remove_parts(folder: Path) -> None:
    """Remove what processes left `beside` the files of a folder when they were killed; for who alone writes there."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes to path through a file beside it and a rename; parent folders are made.

    The bytes are on the disk before the name is: what a power cut leaves is the old file or the new one. The caller
    decides whether an existing file may be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = beside(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_once(path: Path, content: bytes) -> None:
    """As `write_atomically`, of a file that must not be there: of several processes at once one writes it.

    Raises:
        FileExistsError: it is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = beside(path)
    try:
        part.write_bytes(content)
        try:
            os.link(part, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with path.open("xb") as file:  # a file system without links: exclusive too, but a kill may cut it off
                file.write(content)
    finally:
        part.unlink(missing_ok=True)
