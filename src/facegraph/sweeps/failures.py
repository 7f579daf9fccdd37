"""Kinds of failure told apart, so that a summary says what to do about each."""

from __future__ import annotations

import errno
import signal

from facegraph.errors import ConfigError, DataError, FacegraphError, NonFiniteError, ProcessError, RunError
from facegraph.sweeps.status import Failure

OUT_OF_MEMORY, DISK_FULL, NOT_FINITE, DATA, SETTINGS, FOLDER, KILLED, INTERRUPTED, OTHER = (
    "out of memory",
    "disk full",
    "not finite",
    "data",
    "settings",
    "folder",
    "killed",
    "interrupted",
    "error",
)

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (NonFiniteError, NOT_FINITE),
    (DataError, DATA),
    (ConfigError, SETTINGS),
    (RunError, FOLDER),
    (ProcessError, KILLED),
    (MemoryError, OUT_OF_MEMORY),
)
_DISK = (errno.ENOSPC, errno.EDQUOT)
_DISK_WORDS = ("no space left on device", "disk quota exceeded")
# how torch calls what loaders share, on a disk in memory
_SHARED_FILE = "file </torch_"
# torch reports a full GPU by a class of its own; a full main memory, cuBLAS and loaders that were killed by text
_MEMORY_WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("out of shared memory", "insufficient shared memory", "signal: bus error", _SHARED_FILE),
        "Lower data.num_workers, or give the container more shared memory (docker run --shm-size).",
    ),
    (
        ("is killed by signal: killed",),
        "The system ends loaders so when memory runs out. Lower data.num_workers, or run fewer jobs at once.",
    ),
    (
        (
            "out of memory",
            "outofmemoryerror",
            "can't allocate memory",
            "cannot allocate memory",
            "failed to allocate",
            "status_alloc_failed",
        ),
        "Lower data.batch_size or input_size, or run fewer jobs per device.",
    ),
)
# asked to end by somebody: nothing to mend
_REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def request_of(error: BaseException) -> signal.Signals | None:
    """The signal by which somebody asked a training to end, from what Lightning makes of it; None for other errors."""
    if type(error).__name__ == "SIGTERMException":
        return signal.SIGTERM
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        return signal.SIGINT
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def failure_of(error: BaseException) -> Failure:
    """What ended a job, from its exception."""
    message = str(error).rsplit("facegraph.errors.", 1)[-1].strip() or type(error).__name__
    asked = request_of(error)
    if asked is not None:
        return Failure(INTERRUPTED, f"asked to end by {asked.name}; run the sweep again to go on with it.")
    if _is_full_disk(error):
        return Failure(DISK_FULL, f"{message.removesuffix('.')}. Make room, then run the sweep again to go on with it.")
    kind = next((kind for known, kind in _BY_TYPE if isinstance(error, known)), OTHER)
    if isinstance(error, FacegraphError | MemoryError):
        return Failure(kind, message)
    text = f"{type(error).__name__} {message} {error.__cause__ or ''}".lower()
    for words, advice in _MEMORY_WORDS:
        if any(word in text for word in words):
            return Failure(OUT_OF_MEMORY, f"{Failure(OUT_OF_MEMORY, message).headline} {advice}")
    return Failure(kind, f"{type(error).__name__}: {message}")


def failure_of_exit(code: int) -> Failure:
    """What ended a process that left no message, from its exit code (negative: the signal)."""
    if code < 0:
        kind = INTERRUPTED if -code in _REQUESTS else KILLED
        return Failure(kind, f"the process was ended by {signal_of_exit(code)} Run the sweep again to go on with it.")
    return Failure(OTHER, f"the process ended with exit code {code} and left no message; read its log.")


def signal_of_exit(code: int, then: str = "") -> str:
    """Name of the signal of a negative exit code, what follows from it, and what it usually means.

    >>> signal_of_exit(-15, ", so the whole run ends")
    'SIGTERM, so the whole run ends.'
    """
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " The system ends processes so when memory runs out; see the kernel's log." if name == "SIGKILL" else ""
    return f"{name}{then}.{hint}"


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK:
        return True
    text = str(error).lower()
    return _SHARED_FILE not in text and any(words in text for words in _DISK_WORDS)
