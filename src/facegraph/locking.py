"""One process at a time: a lock file that ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock. holder: its number, or 'unknown'."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, which names this process.

    The kernel's lock on the file decides: a file that a killed process left behind hinders nobody.

    Raises:
        HeldError: another process holds it. OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path)
    try:
        with suppress(OSError):  # on a full disk the lock holds without its name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now."""
    try:
        with held(path):
            return False
    except HeldError:
        return True
    except OSError:
        return False


def _acquire(path: Path) -> int:
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
            raise HeldError(holder or "unknown") from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
