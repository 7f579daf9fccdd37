"""Processes that start in a fraction of a second and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.synchronize import Barrier
from types import FrameType

import cv2

from facegraph.errors import DataError

_PRELOAD = ("facegraph.data.benchmarks.lp300w", "facegraph.data.benchmarks.ibug300w", "facegraph.data.store.shards")
"""What any pool needs. One list, because processes of all pools start from one server, which reads it once."""
_LONGEST_START = 60.0


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool for functions and objects of facegraph's modules; what is not yet running when it closes is dropped.

    Not forked: a fork of a process with threads (progress bar, OpenCV, torch) may hang. The main script is not run
    again in the processes, as multiprocessing does by default: the facegraph command loads torch and Lightning, which
    takes 8 s and 1 GB, the functions of a store 0.2 s and 50 MB. Classes of the main script itself therefore cannot be
    handed to them.

    Args:
        workers: processes.

    Raises:
        DataError: a process was killed from outside.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOAD))
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(context.Barrier(workers),)
    )
    try:
        with _interrupts_held(), _main_script_hidden():
            # A process is started when a task finds none that is idle, so none of these tasks may end before the last
            # process is started: a later start would run the main script.
            for _ in range(workers):
                executor.submit(_await_others)
        yield executor
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes was killed from outside, perhaps for want of memory. Run the same command "
            "again, with a smaller --workers if need be."
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes after this, and never to processes that are started meanwhile.

    It would end them with a traceback while they load numpy, before they have got to `_start`; and this one between two
    of them, which would then find no lock of its own.
    """
    resource_tracker.ensure_running()  # as it starts it lets signals through
    pressed: list[tuple[int, FrameType | None]] = []
    in_main = threading.current_thread() is threading.main_thread()  # the one that Python hands signals to
    # the block is inherited; here it does not hold, for another thread may take the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda *arguments: pressed.append(arguments)) if in_main else None
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if pressed and callable(handler):
            handler(*pressed[0])


@contextmanager
def _main_script_hidden() -> Iterator[None]:
    """Processes that are started meanwhile find no main script to run."""
    main = sys.modules["__main__"]
    hidden: dict[str, object] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


_all_started: Barrier | None = None


def _await_others() -> None:
    if _all_started is not None:
        with suppress(threading.BrokenBarrierError):
            _all_started.wait(_LONGEST_START)


def _start(all_started: Barrier) -> None:
    global _all_started
    _all_started = all_started
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C too and lets running tasks finish
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
