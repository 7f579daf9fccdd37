"""Tasks of a store on several processes, a few in flight at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from facegraph.data.processes import process_pool
from facegraph.data.store.shards import ShardRecord, ShardTask, write_shard


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
    with process_pool(workers) as pool:
        while True:
            for _, task in zip(range(2 * workers - len(pending)), remaining, strict=False):
                pending.add(pool.submit(write_shard, task))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
