"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes to path through a file beside it and a rename; parent folders are made.

    The caller decides whether an existing file may be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not tempfile: its files are private to the user, results are to be read by the group
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
