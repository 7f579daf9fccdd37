"""One writer at a time for a place on the disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facegraph.errors import DataError


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold <out>.lock, which names this process.

    The kernel's lock on the file decides and ends with the process, however it ends: a file that a killed process left
    behind hinders nobody.

    Raises:
        DataError: another process holds it, or it cannot be made.
    """
    path = out.with_name(f"{out.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path, out)
    except OSError as error:
        raise DataError(
            f"{path} cannot be made: {error.strerror or error}. Choose an --out in a folder where you may write."
        ) from error
    try:
        with suppress(OSError):  # on a full disk the lock holds without its name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, out: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # removed between the two looks by a process that ended: try again
        except BlockingIOError as error:
            holder = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
            os.close(descriptor)
            raise DataError(
                f"another prepare (process {holder or 'unknown'}) is writing {out}. Wait for it, or choose another "
                "--out."
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
