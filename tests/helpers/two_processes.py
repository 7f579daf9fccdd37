"""A function in two processes that exchange tensors by gloo, as the ranks of a training on two devices do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

WORLD = 2


def on_two_processes(function: Callable[[int], Any], folder: Path, timeout: float = 200) -> list[Any]:
    """What `function(rank)`, tensors in lists and dicts, returns on each rank; it must be importable by name.

    Raises:
        RuntimeError: a rank failed or took longer than timeout seconds; its traceback is on stderr.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # both ranks begin with its imports done, which take seconds
    ranks = [
        context.Process(target=_rank, args=(function, rank, folder, torch.get_num_threads())) for rank in range(WORLD)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout)
    for process in ranks:
        if process.is_alive():
            process.kill()
            process.join()
    codes = [process.exitcode for process in ranks]
    if codes != [0] * WORLD:
        raise RuntimeError(f"{function.__name__} ended with the exit codes {codes}")
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(WORLD)]


def _rank(function: Callable[[int], Any], rank: int, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=200))
    try:
        torch.save(function(rank), folder / f"rank_{rank}.pt")
    finally:
        dist.destroy_process_group()
