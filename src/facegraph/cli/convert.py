"""facegraph convert: released weights of FAN and DPR as run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facegraph.cli.guard import guarded
from facegraph.files.plain_text import one_line
from facegraph.models.dpr.released import read_released as read_dpr
from facegraph.models.fan.released import read_released as read_fan
from facegraph.models.released import ReleasedWeights
from facegraph.records.overrides import for_shell
from facegraph.runs.configuration import read_config
from facegraph.runs.convert import convert as write_run

convert = typer.Typer(no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Folder to write; eval.py run=<folder> scores it.")]


@convert.callback()
def _convert() -> None:
    """Turn weights that authors released into a run folder."""


@convert.command()
def dpr(
    source: Annotated[Path, typer.Option(help="Folder with 98_points_global_reinit.pth.tar and ..._regress.pth.tar.")],
    out: Out,
) -> None:
    """DPR's released global stage (98 points, MIT licence)."""
    guarded(lambda: _report(read_dpr(source), source, out))


@convert.command()
def fan(
    source: Annotated[Path, typer.Option(help="A public state dict such as 2dfan2.pth, 2dfan2_alt.pth, 2dfan4.pth.")],
    out: Out,
    pool: Annotated[
        str | None, typer.Option(help="max or avg, which weights do not show; default: avg for 4 stacks, else max.")
    ] = None,
) -> None:
    """FAN's published weights; says which tensors matched."""
    guarded(lambda: _report(read_fan(source, pool), source, out))


def _report(released: ReleasedWeights, source: Path, out: Path) -> None:
    folder = write_run(released, source, out)
    for note in released.notes:
        print(one_line(note))
    print(f"wrote {folder}\nNext:  {_next_command(folder)}")


def _next_command(folder: Path) -> str:
    """For a shell in any folder from which eval.py is found."""
    root = read_config(folder).dataset.root
    values = {"run": str(folder.absolute()), "dataset.root": str(root)}
    return " ".join(["python eval.py", *(for_shell(name, value) for name, value in values.items())])
