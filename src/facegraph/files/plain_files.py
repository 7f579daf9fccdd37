"""What a file must be before it is opened."""

from __future__ import annotations

import stat
from pathlib import Path


def check_file(path: Path, max_bytes: int | None = None) -> None:
    """Raise unless a path is a file of a bounded size: opening a pipe would wait for whoever writes into it.

    Raises:
        OSError: not there, or a folder, pipe or device. ValueError: larger than max_bytes.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is no file but a {_kind(found.st_mode)}")
    if max_bytes is not None and found.st_size > max_bytes:
        raise ValueError(f"{path} has {found.st_size} bytes; files of this kind have at most {max_bytes}")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
