"""A job never outlives the launcher that started it, however that ends.

The launcher keeps the writing end of a pipe that nothing is ever written to, and every job inherits the reading end.
The kernel closes the launcher's end when the launcher is gone, even by SIGKILL, and the job's read returns at once.
Against asking for the parent's number again and again: no delay, and no mistake where numbers are used again or a
process between the two ends first. Against prctl(PR_SET_PDEATHSIG): works on every Unix, needs no code between fork and
exec, and does not depend on the thread that started the job. All processes of a job end, because it is a process group.
"""

from __future__ import annotations

import os
import signal
import stat
import threading

VARIABLE = "FACEGRAPH_LAUNCHER_PIPE"


def end_with_parent() -> None:
    """Watch from now on whether the launcher of this job lives; if not, kill the job's whole process group.

    To be called as early as a job can, since a launcher that is gone already is noticed only here. Does nothing in a
    process that no pool started, in the further processes of a job (its first one ends them too), and the second time.
    """
    text = os.environ.pop(
        VARIABLE, None
    )  # a number of an open file means nothing in the processes that this one starts
    if text is None or not text.isdigit() or os.getpid() != os.getpgrp():
        return
    pipe = int(text)
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            return
    except OSError:
        return
    os.set_inheritable(pipe, False)
    threading.Thread(target=_wait_and_kill, args=(pipe,), name="end_with_parent", daemon=True).start()


def _wait_and_kill(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
