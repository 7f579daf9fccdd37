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
from facegraph.bench.threads import Target, ThreadBench, bench_threads
from facegraph.cli.guard import guarded
from facegraph.cli.output import show
from facegraph.errors import ConfigError
from facegraph.machine.screen import Screen
from facegraph.models.dpr.study.frames import FrameErrors, bench_frames
from facegraph.models.musica.study.bench import PRECISION, QuitBench, bench_quit
from facegraph.models.musica.study.quitting import quit_table, real_table
from facegraph.records.overrides import literal
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run
from facegraph.runs.evaluate import OpenedRun, open_run

bench = typer.Typer(no_args_is_help=True)

_VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "-"}


@bench.callback()
def _bench() -> None:
    """Measure speed and memory on this machine."""


@bench.command()
def data(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of train.py: dataset=... augment=paper input_size=256")
    ] = None,
    workers: Annotated[str, typer.Option(help="Numbers of loader processes, with commas between.")] = "0,1,2",
    seconds: Annotated[float, typer.Option(help="Time for each number, s.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """Faces per second that a training's loader hands out, without a network, by loader processes."""

    def command() -> None:
        found = bench_data(overrides or [], _numbers(workers), seconds, say=Screen(stderr=True).print)
        show(as_json, found.to_dict, lambda console: _print_data(found, console))

    guarded(command)


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


@bench.command()
def frames(
    run: Annotated[Path, typer.Argument(help="Output folder of a finished training of model=dpr.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of eval.py: checkpoint=best dataset=...")
    ] = None,
    faces: Annotated[int, typer.Option(help="At most so many faces of a split.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """Where a DPR loses: stage by stage, with predicted and true frames, by batch norm's running means and a batch's.

    On training faces as augmented, validation and test faces, in float32.
    """

    def command() -> None:
        found = bench_frames(_opened(run, overrides), faces, say=Screen(stderr=True).print)
        show(as_json, lambda: [row.to_dict() for row in found], lambda console: _print_frames(found, console))

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
        found = bench_quit(_opened(run, overrides), values, faces, out, say=Screen(stderr=True).print)
        show(as_json, found.to_dict, lambda console: _print_quit(found, console))

    guarded(command)


def _opened(run: Path, overrides: Sequence[str] | None) -> OpenedRun:
    """A run to be measured, as eval.py opens it."""
    offer_data_of_run(run)
    cfg = compose(["num_workers=0", *(overrides or [])], "eval")
    cfg.run = literal(str(run))
    if cfg.precision not in (None, PRECISION):
        raise ConfigError(f"precision={cfg.precision} cannot be had; this is measured in {PRECISION}: leave it out.")
    return open_run(cfg)


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


def _print_data(found: DataBench, console: Console) -> None:
    console.print(
        f"{found.dataset}: {found.faces} training faces, {found.input_size} px, batches of {found.batch_size}; "
        f"{found.machine}",
        markup=False,
    )
    table = Table(title="faces/s by the clock, bytes as sent to the device", title_justify="left")
    table.add_column("loader")
    for column in ("median", "best fifth"):
        table.add_column(column, justify="right")
    for speed in found.speeds:
        name = (
            "in the training process"
            if speed.workers == 0
            else f"{speed.workers} process{'es' if speed.workers > 1 else ''}"
        )
        table.add_row(name, f"{speed.middle:.0f}", f"{speed.best:.0f}")
    console.print(table)


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


def _print_models(found: ModelBench, console: Console) -> None:
    cores = "one core" if found.threads == 1 else f"{found.threads} threads"
    console.print(
        f"{cores}: torch.set_num_threads({found.threads}), not bound to a core; float32, inference mode, random "
        f"weights, without loading; {found.machine}"
    )
    sizes = Table("network", title="networks", title_justify="left")
    times = Table("network", title="medians in processor time and by the clock", title_justify="left")
    for column in ("input, px", "points", "parameters", "multiply-adds"):
        sizes.add_column(column, justify="right")
    for column in ("batch", "ms", "ms by the clock", "faces/s"):
        times.add_column(column, justify="right")
    for speed in found.speeds:
        counted = f"{speed.params / 1e6:.2f} M", f"{speed.macs / 1e6:,.1f} M"
        sizes.add_row(speed.label, str(speed.input_size), str(speed.landmarks), *counted)
        for size in found.batches:
            taken = (
                f"{speed.milliseconds(size):.1f}",
                f"{1000 * speed.clock[size]:.1f}",
                f"{speed.per_second(size):.1f}",
            )
            times.add_row(speed.label, str(size), *taken)
    console.print(sizes)
    console.print(times)
    for speed in found.speeds:
        if speed.note:
            console.print(f"{speed.label}: {speed.note}.", markup=False)


def _print_frames(found: Sequence[FrameErrors], console: Console) -> None:
    title = "NME after each stage in per cent; training faces as augmented; off: frames, in per cent of their side"
    table = Table("split", "statistics", "frames", title=title, title_justify="left")
    for column in ("faces", *(f"stage {i + 1}" for i in range(len(found[0].stages))), "off"):
        table.add_column(column, justify="right")
    for row in found:
        errors = (f"{100 * error:.2f}" for error in row.stages)
        off = "-" if row.frames == "true" else f"{100 * row.reinit:.2f}"
        table.add_row(row.split, row.statistics, row.frames, str(row.faces), *errors, off)
    console.print(table)


def _print_quit(found: QuitBench, console: Console) -> None:
    console.print(
        f"{_faces_of(found)}, checkpoint {found.checkpoint}, NME by {found.normaliser}; multiply-adds counted; "
        f"{found.conditions()}",
        markup=False,
    )
    console.print(quit_table(found.points, found.fixed))
    console.print(real_table(found.real))
    known = found.calibration
    ranks = ", ".join(f"{value:.3f}" for value in known.rank_correlation)
    areas = ", ".join(f"{area:.3f} at {100 * limit:g} %" for limit, area in known.auroc.items())
    console.print(
        f"predicted error against NME: rank correlation after each iteration {ranks}; AUROC of failures {areas}"
    )
    console.print(f"Everything is in {found.folder}.", markup=False, highlight=False, soft_wrap=True)


def _faces_of(found: QuitBench) -> str:
    if found.validation_dataset in (None, found.dataset):
        return f"{found.test_faces} test and {found.validation_faces} validation faces of {found.dataset}"
    return (
        f"{found.test_faces} test faces of {found.dataset} and {found.validation_faces} validation faces of "
        f"{found.validation_dataset}"
    )
