"""Processes that start in a fraction of a second and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import cv2


@contextmanager
def process_pool(workers: int, preload: Sequence[str]) -> Iterator[ProcessPoolExecutor]:
    """A pool for functions and objects of facegraph's modules; what is not yet running when it closes is dropped.

    Not forked: a fork of a process with threads (progress bar, OpenCV, torch) may hang. The main script is not run
    again in the processes, as multiprocessing does by default: the facegraph command loads torch and Lightning, which
    takes 8 s and 1 GB, the functions of a store 0.2 s and 50 MB. Classes of the main script itself therefore cannot be
    handed to them.

    Args:
        workers: processes. preload: modules that the processes need, imported once for all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)
    try:
        with _main_script_hidden():
            for _ in range(workers):  # a process is started when a task waits for one
                executor.submit(_nothing)
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


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


def _nothing() -> None:
    """A task that only has a process started."""


def _start() -> None:
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C too and lets running tasks finish
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
