"""facegraph bench codec."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from facegraph.bench.codec import CodecBench, bench_codec
from facegraph.cli.guard import guarded
from facegraph.cli.output import show
from facegraph.errors import ConfigError
from facegraph.screen import Screen

Number = TypeVar("Number", int, float)


def codec(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Overrides of train.py, such as dataset=wflw codec.sigma=1.5 codec.decoder.beta=4,16"),
    ] = None,
    sizes: Annotated[str, typer.Option(help="Sides of the heatmaps, px, with commas between.")] = "32,64,128",
    noise: Annotated[str, typer.Option(help="Standard deviations of noise on each pixel of a map.")] = "0,0.05",
    input_size: Annotated[
        int | None, typer.Option(help="Side of the crop, px; that of the configuration (input_size=).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print json only.")] = False,
) -> None:
    """The error that heatmaps cost by themselves, for each decoder and size.

    The true landmarks of the test faces are made into heatmaps and read from them again; no network has a part in it.
    A setting of a decoder goes to those that have it, several values with commas between: codec.decoder.beta=4,16.
    One data set at a time: run it again for another.
    """

    def command() -> None:
        say = Screen(stderr=True).print
        found = bench_codec(
            overrides or [], _values(sizes, "sizes", int), _values(noise, "noise", float), input_size, say=say
        )
        show(as_json, found.to_dict, lambda console: _print(found, console))

    guarded(command)


def _values(text: str, option: str, kind: type[Number]) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        needed = {int: "whole numbers with commas between: 32,64", float: "numbers with commas between: 0,0.05"}[kind]
        raise ConfigError(f"--{option} is '{text}'; it takes {needed}.") from None


def _print(found: CodecBench, console: Console) -> None:
    console.print(
        f"{found.dataset}: {found.faces} test faces, {found.landmarks} landmarks, crops of {found.input_size} px, "
        f"{100 * found.outside:.2f} % of the landmarks outside their crop"
    )
    table = Table(
        title=f"NME of the codec alone, % of {found.normaliser}; worst face in brackets", title_justify="left"
    )
    table.add_column("decoder")
    columns = list(dict.fromkeys((cost.size, cost.noise) for cost in found.costs))
    for size, noise in columns:
        table.add_column(f"{size} px" + (f", noise {noise:g}" if noise else ""), justify="right")
    cells = {(c.codec, c.size, c.noise): f"{100 * c.nme:.3f} ({100 * c.worst:.2f})" for c in found.costs}
    for name in dict.fromkeys(cost.codec for cost in found.costs):
        table.add_row(name, *(cells[(name, *column)] for column in columns))
    console.print(table)
