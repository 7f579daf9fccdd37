"""facegraph inspect: look at the faces of a prepared store and at what a network sees of them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from facegraph.cli.guard import guarded
from facegraph.curation.inspection.report import PAGE, inspect_store
from facegraph.curation.inspection.view import StoreView
from facegraph.data.store.reader import FaceStore
from facegraph.errors import ConfigError
from facegraph.machine.screen import Screen
from facegraph.runs.compose import compose, make

_PREFERRED = "train"


def inspect(
    store: Annotated[Path, typer.Argument(help="Folder that facegraph prepare wrote.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of box and augment as for train.py, such as box.margin=1.5."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New or empty folder; default: outputs/inspect/<data set>/<date>_<time>.")
    ] = None,
    count: Annotated[int, typer.Option(help="Faces on a sheet.")] = 24,
    split: Annotated[str | None, typer.Option(help="Whose faces; default: train, or the store's first split.")] = None,
    augment: Annotated[str, typer.Option(help="Option of conf/augment: paper, fan, musica, light, none.")] = "paper",
    box: Annotated[
        str, typer.Option(help="Option of conf/box: landmarks, official, official-or-landmarks, detector-jittered.")
    ] = "landmarks",
    input_size: Annotated[int, typer.Option(help="Side of the network's input, px.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the faces shown and of the augmentation.")] = 0,
) -> None:
    """Contact sheets, figures and one HTML page: annotations, crops, augmentation, odd shapes, poses, boxes."""
    recipe = [f"augment={augment}", f"box={box}", *(overrides or [])]
    guarded(lambda: _inspect(FaceStore(store), recipe, out, count, split, input_size, seed))


def _inspect(
    store: FaceStore, recipe: list[str], out: Path | None, count: int, split: str | None, input_size: int, seed: int
) -> None:
    for override in recipe[2:]:
        if not override.lstrip("+~").startswith(("augment.", "box.")):
            raise ConfigError(
                f"'{override}' changes nothing that is shown here; settings of augment and box do, such as "
                "box.margin=1.5. The options themselves are chosen by --augment and --box."
            )
    cfg = compose(recipe)
    splits = list(dict.fromkeys(store.frame["split"]))
    chosen = split or (_PREFERRED if _PREFERRED in splits or not splits else splits[0])
    view = StoreView(store, chosen, make(cfg.box), make(cfg.augment), input_size, seed)
    console = Screen(stderr=True)
    with console.status("drawing"):
        folder = inspect_store(
            view,
            count,
            out,
            _command(view, recipe, count),
            " ".join(recipe),
            lambda part: console.print(f"  {part}", markup=False),
        )
    print(folder / PAGE)


def _command(view: StoreView, recipe: list[str], count: int) -> str:
    """The command that shows the same again, with nothing left to defaults."""
    options = {"split": view.split, "count": count, "input-size": view.input_size, "seed": view.seed}
    words = [f"--{choice}" for choice in recipe[:2]] + [f"--{name}={value}" for name, value in options.items()]
    return shlex.join(["facegraph", "inspect", str(view.store.path), *recipe[2:], *words])
