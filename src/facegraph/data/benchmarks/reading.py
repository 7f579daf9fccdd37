"""Reading tens of thousands of small annotation files, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from facegraph.data.processes import process_pool
from facegraph.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")

_REPORT_EVERY = 200
POOL_FROM = 10_000
"""Fewer files than this are read by one process in the seconds that others take to start."""


def read_each(
    read: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result | DataError]:
    """read(task) for every task, in order; the DataError of a task that raised one takes its place.

    Args:
        read: a function of a module, so that other processes find it.
        tasks: picklable.
        workers: processes, from POOL_FROM tasks on.
        progress: called with (done, all) now and then.

    Raises:
        DataError: a process was killed from outside.
    """
    total = len(tasks)
    results: list[Result | DataError] = []
    attempt = partial(_attempt, read)
    if workers <= 1 or total < POOL_FROM:
        _collect(map(attempt, tasks), results, total, progress)
        return results
    with process_pool(workers) as pool:
        _collect(pool.map(attempt, tasks, chunksize=_REPORT_EVERY), results, total, progress)
    return results


def _collect(
    outcomes: Iterable[Result | DataError],
    results: list[Result | DataError],
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    for outcome in outcomes:
        results.append(outcome)
        if progress is not None and (len(results) % _REPORT_EVERY == 0 or len(results) == total):
            progress(len(results), total)


def _attempt(read: Callable[[Task], Result], task: Task) -> Result | DataError:
    try:
        return read(task)
    except DataError as error:
        return error
