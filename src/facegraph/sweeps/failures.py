"""Kinds of failure told apart, so that a summary says what to do about each."""

from __future__ import annotations

import signal

from facegraph.errors import ConfigError, DataError, FacegraphError, NonFiniteLossError, ProcessError, RunError
from facegraph.sweeps.status import Failure

OUT_OF_MEMORY, NOT_FINITE, DATA, SETTINGS, FOLDER, KILLED, INTERRUPTED, OTHER = (
    "out of memory",
    "not finite",
    "data",
    "settings",
    "folder",
    "killed",
    "interrupted",
    "error",
)
KINDS = (OUT_OF_MEMORY, NOT_FINITE, DATA, SETTINGS, FOLDER, KILLED, INTERRUPTED, OTHER)

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (NonFiniteLossError, NOT_FINITE),
    (DataError, DATA),
    (ConfigError, SETTINGS),
    (RunError, FOLDER),
    (ProcessError, KILLED),
    (MemoryError, OUT_OF_MEMORY),
    (KeyboardInterrupt, INTERRUPTED),
)
# torch reports a full GPU by a class of its own and a full main memory by text
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate")


def failure_of(error: BaseException) -> Failure:
    """What ended a job, from its exception."""
    message = str(error).rsplit("facegraph.errors.", 1)[-1].strip() or type(error).__name__
    if not isinstance(error, FacegraphError | MemoryError | KeyboardInterrupt):
        text = message.lower()
        if type(error).__name__ == "OutOfMemoryError" or any(words in text for words in _MEMORY_WORDS):
            advice = "Lower data.batch_size or input_size, or run fewer jobs per device."
            return Failure(OUT_OF_MEMORY, f"{message.splitlines()[0]} {advice}")
        message = f"{type(error).__name__}: {message}"
    kind = next((kind for known, kind in _BY_TYPE if isinstance(error, known)), OTHER)
    if type(error).__name__ == "SIGTERMException":  # how Lightning hands on a request to end
        kind, message = INTERRUPTED, "asked to end by SIGTERM; run the sweep again to go on with it."
    return Failure(kind, message)


def failure_of_exit(code: int) -> Failure:
    """What ended a process that left no message, from its exit code (negative: the signal)."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " The system ends processes so when memory runs out; see the kernel's log." if name == "SIGKILL" else ""
        return Failure(KILLED, f"the process was ended by {name}.{hint} Run the sweep again to go on with it.")
    return Failure(OTHER, f"the process ended with exit code {code} and left no message; read its log.")
