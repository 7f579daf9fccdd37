"""facegraph bench: measurements."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from facegraph.bench.data import DataBench, bench_data
from facegraph.bench.synthetic import bench_synthetic
from facegraph.bench.targets import FLOOR
from facegraph.cli.guard import guarded
from facegraph.errors import ConfigError

bench = typer.Typer(no_args_is_help=True)

_VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "-"}


@bench.callback()
def _bench() -> None:
    """Measure speed and memory on this machine."""


@bench.command()
def data(
    store: Annotated[Path | None, typer.Option(help="Prepared store; by default faces are drawn and prepared.")] = None,
    source: Annotated[Path | None, typer.Option(help="Folder of the photographs that the store was made from.")] = None,
    faces: Annotated[int, typer.Option(help="Faces to measure on; about 1 MB of temporary files each.")] = 2000,
    input_size: Annotated[int, typer.Option(help="Side of the crop, px.")] = 256,
    workers: Annotated[str, typer.Option(help="Numbers of loader processes, with commas between.")] = "0,1,2",
    jpeg: Annotated[bool, typer.Option("--jpeg", help="Measure a store of JPEG crops too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """Faces per second from the disk to the network, and what bounds them.

    In turns, on one core, with augment=paper: a training's batches, normalised, from a prepared store and from the
    original photographs; the same changes as albumentations has them; and cv2.warpAffine alone.
    Then the real loader alone with worker processes, its batches as bytes, as they are sent to the device; and the
    memory of such a process.
    """

    def command() -> None:
        note = Console(stderr=True)
        found = bench_data(store, source, faces, input_size, _numbers(workers), jpeg, say=note.print)
        if as_json:
            json.dump(found.to_dict(), sys.stdout, indent=2)
            print()
        else:
            _print(found, Console())

    guarded(command)


@bench.command()
def synthetic(
    faces: Annotated[int, typer.Option(help="Faces to draw.")] = 200,
    image_size: Annotated[int, typer.Option(help="Side of the image, px.")] = 128,
) -> None:
    """Synthetic faces drawn per second of one core's time."""
    guarded(lambda: print(f"{bench_synthetic(faces, image_size):.0f} faces/s per core at {image_size} px"))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--workers is '{text}'; whole numbers with commas between are needed: 0,1,2") from None


def _print(found: DataBench, console: Console) -> None:
    console.print(
        f"{found.faces} faces, {found.landmarks} landmarks, {found.input_size} px, augment=paper; {found.machine}"
    )
    speeds = Table(title="faces per second of one core", title_justify="left")
    speeds.add_column("part", no_wrap=True)
    for column in ("median", "best tenth", "wall clock", "of bare warp"):
        speeds.add_column(column, justify="right")
    floor = found.speeds.get(FLOOR)
    for speed in found.speeds.values():
        share = "-" if floor is None else f"{100 * speed.per_core / floor.per_core:.0f} %"
        speeds.add_row(speed.name, f"{speed.per_core:.0f}", f"{speed.best:.0f}", f"{speed.clock:.0f}", share)
    console.print(speeds)
    loaders = Table(
        "loader", "faces/s, wall clock", title="the loader alone, bytes as sent to the device", title_justify="left"
    )
    for number, rate in found.workers.items():
        loaders.add_row("in the training process" if number == 0 else f"{number} workers", f"{rate:.0f}")
    console.print(loaders)
    if found.memory:
        _print_memory(found, console)
    targets = Table("target", "wanted", "found", "", title="targets", title_justify="left")
    for target in found.targets:
        targets.add_row(target.name, target.wanted, target.found, _VERDICTS[target.met])
    console.print(targets)


def _print_memory(found: DataBench, console: Console) -> None:
    table = Table("faces", title="memory of a worker, MiB (proportional set size)", title_justify="left")
    for column in ("crops", "annotations", "own", "mapped files", "total"):
        table.add_column(column, justify="right")
    for memory in found.memory:
        parts = (memory.pixels, memory.annotations, memory.own, memory.files, memory.total)
        table.add_row(str(memory.faces), *(f"{part / 2**20:.1f}" for part in parts))
    console.print(table)
