"""facegraph bench: measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from facegraph.bench.data import DataBench, bench_data
from facegraph.bench.models import ROWS, ModelBench, bench_models
from facegraph.bench.quit import PRECISION, QuitBench, bench_quit
from facegraph.bench.synthetic import bench_synthetic
from facegraph.bench.targets import FLOOR, Target
from facegraph.bench.threads import ThreadBench, bench_threads
from facegraph.cli.codec import codec
from facegraph.cli.guard import guarded
from facegraph.cli.output import show
from facegraph.compose import compose
from facegraph.entry import offer_data_of_run
from facegraph.errors import ConfigError
from facegraph.evaluation import open_run
from facegraph.reports.quitting import quit_table, real_table
from facegraph.screen import Screen

bench = typer.Typer(no_args_is_help=True)
bench.command()(codec)

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
        note = Screen(stderr=True)
        found = bench_data(store, source, faces, input_size, _numbers(workers), jpeg, say=note.print)
        show(as_json, found.to_dict, lambda console: _print(found, console))

    guarded(command)


@bench.command()
def synthetic(
    faces: Annotated[int, typer.Option(help="Faces to draw.")] = 200,
    image_size: Annotated[int, typer.Option(help="Side of the image, px.")] = 128,
) -> None:
    """Synthetic faces drawn per second of one core's time."""
    guarded(lambda: print(f"{bench_synthetic(faces, image_size):.0f} faces/s per core at {image_size} px"))


@bench.command()
def models(
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides of train.py for every network.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; they are not bound to cores.")] = 1,
    batch: Annotated[str, typer.Option(help="Batch sizes, with commas between.")] = "1,8",
    seconds: Annotated[float, typer.Option(help="Time for each network and batch size, s.")] = 5.0,
    only: Annotated[str | None, typer.Option(help=f"Of {', '.join(row.name for row in ROWS)}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """Faces per second of every system's network on one core, with its parameters and multiply-adds.

    In turns, in float32, with random weights on random images at each published size. What a network warps and decodes
    itself is measured; loading, cutting out and normalising faces is not.
    """

    def command() -> None:
        names = None if only is None else [name.strip() for name in only.split(",")]
        say = Screen(stderr=True).print
        found = bench_models(names, overrides or [], threads, _numbers(batch, "--batch"), seconds, say=say)
        show(as_json, found.to_dict, lambda console: _print_models(found, console))

    guarded(command)


@bench.command()
def threads(
    rounds: Annotated[int, typer.Option(help="Trainings alone, with each choice of threads.")] = 3,
    seconds: Annotated[float, typer.Option(help="Time for which steps are counted in each training, s.")] = 8.0,
    limit: Annotated[float, typer.Option(help="Longest time for a training, with its start, s.")] = 90.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """What a step of the quick start takes alone, beside as many busy processes as cores, and in two trainings at once.

    In turns with the threads and the waiting that facegraph chooses, and as OpenMP has them by itself. For a machine on
    which nothing else runs; about five minutes.
    """

    def command() -> None:
        found = bench_threads(rounds, seconds, limit, say=Screen(stderr=True).print)
        show(as_json, found.to_dict, lambda console: _print_threads(found, console))

    guarded(command)


@bench.command("quit")
def quit_(
    run: Annotated[Path, typer.Argument(help="Output folder of a finished training of model=musica.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of eval.py: checkpoint=best dataset=...")
    ] = None,
    thresholds: Annotated[str | None, typer.Option(help="Predicted errors as fractions, with commas between.")] = None,
    faces: Annotated[int | None, typer.Option(help="So many test and validation faces, evenly spread.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; <run>/quit.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """What a MuSiCa loses and saves when faces quit early, and how well its predicted error is calibrated.

    All test and validation faces run to the end once; the result of every threshold follows from that, and a few are
    really run and timed. By default thresholds are quantiles of what is predicted for the run's own validation faces.
    Measured in float32 and without mirror images, whatever the run's own test does.
    """

    def command() -> None:
        values = None if thresholds is None else _fractions(thresholds)
        offer_data_of_run([f"run={run}"])
        cfg = compose(["num_workers=0", *(overrides or [])], "eval")
        cfg.run = str(run)
        if cfg.precision not in (None, PRECISION):
            raise ConfigError(
                f"precision={cfg.precision} cannot be had; quitting is measured in {PRECISION}: leave it out."
            )
        found = bench_quit(open_run(cfg), values, faces, out, say=Screen(stderr=True).print)
        show(as_json, found.to_dict, lambda console: _print_quit(found, console))

    guarded(command)


def _fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--thresholds is '{text}'; numbers with commas between are needed: 0.04,0.05") from None


def _numbers(text: str, option: str = "--workers") -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} is '{text}'; whole numbers with commas between are needed: 0,1,2") from None


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
    _print_targets(found.targets, console)


def _print_targets(targets: Sequence[Target], console: Console) -> None:
    table = Table("target", "wanted", "found", "", title="targets", title_justify="left")
    for target in targets:
        table.add_row(target.name, target.wanted, target.found, _VERDICTS[target.met])
    console.print(table)


def _print_threads(found: ThreadBench, console: Console) -> None:
    table = Table("quick start", "threads and waiting", title=f"ms a step, {found.cores} cores", title_justify="left")
    for column in ("least", "median", "trainings"):
        table.add_column(column, justify="right")
    for (situation, choice), values in found.seconds.items():
        times = (f"{1000 * value:.0f}" for value in (min(values), median(values)))
        table.add_row(situation, choice, *times, str(len(values)))
    console.print(table)
    _print_targets(found.targets(), console)


def _print_memory(found: DataBench, console: Console) -> None:
    table = Table("faces", title="memory of a worker, MiB (proportional set size)", title_justify="left")
    for column in ("crops", "annotations", "own", "mapped files", "total"):
        table.add_column(column, justify="right")
    for memory in found.memory:
        parts = (memory.pixels, memory.annotations, memory.own, memory.files, memory.total)
        table.add_row(str(memory.faces), *(f"{part / 2**20:.1f}" for part in parts))
    console.print(table)


def _print_models(found: ModelBench, console: Console) -> None:
    cores = "one core" if found.threads == 1 else f"{found.threads} threads"
    console.print(
        f"{cores}: torch.set_num_threads({found.threads}), not bound to a core; float32, inference mode, random "
        f"weights, without loading; {found.machine}"
    )
    table = Table(title="networks, medians of processor time; by the clock in brackets", title_justify="left")
    table.add_column("network")
    for column in ("input", "points", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for size in found.batches:
        table.add_column(f"ms, batch of {size}", justify="right")
        table.add_column("faces/s", justify="right")
    for speed in found.speeds:
        times = []
        for size in found.batches:
            times.append(f"{speed.milliseconds(size):.1f} ({1000 * speed.clock[size]:.1f})")
            times.append(f"{speed.per_second(size):.1f}")
        sizes = f"{speed.input_size} px", str(speed.landmarks)
        table.add_row(speed.label, *sizes, f"{speed.params / 1e6:.2f} M", f"{speed.macs / 1e6:,.1f} M", *times)
    console.print(table)
    for speed in found.speeds:
        if speed.note:
            console.print(f"{speed.label}: {speed.note}.")


def _print_quit(found: QuitBench, console: Console) -> None:
    console.print(
        f"{_faces_of(found)}, checkpoint {found.checkpoint}, NME by {found.normaliser}; multiply-adds counted; "
        f"{found.conditions()}"
    )
    console.print(quit_table(found.points, found.fixed))
    console.print(real_table(found.real))
    known = found.calibration
    ranks = ", ".join(f"{value:.3f}" for value in known.rank_correlation)
    areas = ", ".join(f"{area:.3f} at {100 * limit:g} %" for limit, area in known.auroc.items())
    console.print(
        f"predicted error against NME: rank correlation after each iteration {ranks}; AUROC of failures {areas}"
    )
    console.print(f"Everything is in [bold]{found.folder}[/bold].", highlight=False)


def _faces_of(found: QuitBench) -> str:
    if found.validation_dataset in (None, found.dataset):
        return f"{found.test_faces} test and {found.validation_faces} validation faces of {found.dataset}"
    return (
        f"{found.test_faces} test faces of {found.dataset} and {found.validation_faces} validation faces of "
        f"{found.validation_dataset}"
    )
