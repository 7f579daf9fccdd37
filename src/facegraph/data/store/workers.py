"""Tasks of a store on several processes, a few in flight at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from facegraph.data.processes import process_pool
from facegraph.data.store.shards import ShardRecord, ShardTask, write_shard
from facegraph.errors import DataError


def write_shards(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardRecord]:
    """Write the shards of all tasks; records come as they are finished. workers: 1 stays in this process.

    Raises:
        DataError: a process was killed from outside. OSError: the disk is full or the like.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from map(write_shard, tasks)
        return
    workers = min(workers, len(tasks))
    pending: set[Future[ShardRecord]] = set()
    remaining = iter(tasks)
    try:
        with process_pool(workers, [__name__, *_modules(tasks)]) as pool:
            while True:
                for _, task in zip(range(2 * workers - len(pending)), remaining, strict=False):
                    pending.add(pool.submit(write_shard, task))
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes was killed from outside, perhaps for want of memory. Run the same command "
            "again, with a smaller --workers if need be: it goes on with what is missing."
        ) from error


def _modules(tasks: Sequence[ShardTask]) -> set[str]:
    """Where the kinds of photographs are defined."""
    return {type(face.image).__module__ for task in tasks for _, face in task.faces}
