"""One process at a time: a lock file that ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_SECONDS = 0.02
_UNKNOWN = "unknown"


class HeldError(Exception):
    """Another process holds the lock.

    Args:
        holder: its number, or 'unknown'.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder


@contextmanager
def held(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which names this process.

    The kernel's lock on the file decides: a file that a killed process left behind hinders nobody.

    Args:
        patience: seconds to try for, where somebody may only be looking at it.

    Raises:
        HeldError: another process holds it. OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, patience)
    try:
        with suppress(OSError):  # on a full disk the lock holds without its name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """The number of the process that holds the lock now, or 'unknown'; None: nobody does.

    Makes no file and no folder. A file that cannot be looked at counts as held by nobody.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # shared, so that two who look do not see each other
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _name(path)
    except OSError:
        return None
    finally:
        os.close(descriptor)  # ends the lock


def may_live(process: str) -> bool:
    """Whether a process of this machine lives, by its number; also where that is not known."""
    if not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _acquire(path: Path, patience: float) -> int:
    deadline = time.monotonic() + patience
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # removed between the two looks by a process that ended: try again
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise HeldError(_name(path)) from error
            time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _name(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip() or _UNKNOWN
    return _UNKNOWN
